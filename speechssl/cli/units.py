"""Speech to discrete units: one command from a folder, Kaldi data dir, wav.scp, manifest or files to a folder of units.

    speechssl units recordings/ -o units-out
    speechssl units data/train -o exp/units --encoder hubert-base-ls960 --kmeans hubert-base-ls960-L9-km500
    speechssl units data/train -o exp/units --encoder hubert.pt --layer 9 --kmeans km500.bin --format text,jsonl
    speechssl units talk.wav -o -                        prints `id u u u`
    speechssl units data/train -o exp/normalized --model exp/normalizer/normalizer
                                                         as a reference speaker would say it (recipes.unit_normalizer)

Units of a normaliser are merged as they come and belong to no frames (units.json: "reduced"): --dedup is refused, no
durations are written, and what wants a unit for each frame refuses them. They bear the hash of the reference's unit
model, so its vocoders speak them (speechssl resynth --durations predicted) and translators learn them.

A run that was stopped or killed goes on where it was when the same command is given again. Every utterance that could
not be used is in failures.tsv with its reason.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 stopped early, or nothing could be used.
"""

import argparse
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

from speechssl.cli import _extraction
from speechssl.errors import ConfigError

if TYPE_CHECKING:
    from speechssl.data.corpus import Corpus
    from speechssl.extract.job import ModelSpec

SUMMARY = "speech to discrete units"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, -o, the model, the formats, how to run."""
    _extraction.add_input(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="output folder, or - to print units")
    parser.add_argument(
        "--model", metavar="DIR", help="unit model or unit normaliser: a folder, or a built-in one (default: default)"
    )
    parser.add_argument("--encoder", metavar="E", help="encoder: name, folder or file; instead of --model, or for it")
    parser.add_argument("--layer", type=int, metavar="L", help="layer of --encoder")
    parser.add_argument(
        "--kmeans", metavar="FILE", help="its k-means: .npy, joblib, faiss index ..., or the name of a released one"
    )
    _extraction.add_formats(parser)
    parser.add_argument("--offline", action="store_true", help="never use the network")
    _extraction.add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Run the job, or print units."""
    from speechssl.extract.job import ModelSpec

    model = "default" if args.model is None and args.encoder is None else args.model
    spec = ModelSpec(model, args.encoder, args.layer, args.kmeans, args.offline)
    corpus = _extraction.open_input(args)
    return _print(corpus, spec, args) if args.output == "-" else _write(corpus, spec, args)


def _write(corpus: "Corpus", spec: "ModelSpec", args: argparse.Namespace) -> int:
    from speechssl.extract.run import run_units

    report = run_units(
        corpus,
        args.output,
        spec,
        outputs=_extraction.outputs(args),
        **_extraction.running(args),
    )
    return _extraction.finish(report, args)


def _print(corpus: "Corpus", spec: "ModelSpec", args: argparse.Namespace) -> int:
    """Units on stdout as text or jsonl, reasons of failures on stderr; computed in this process."""
    import dataclasses
    from pathlib import Path

    from speechssl.extract.merge import Output
    from speechssl.extract.run import run_units

    files = {"text": "units", "jsonl": "units.jsonl"}
    if args.format not in files or args.shard != "0/1":
        raise ConfigError("-o - prints one format, text or jsonl, of the whole input")
    options = dataclasses.replace(_extraction.options(args), workers=0, quiet=True)
    with tempfile.TemporaryDirectory(prefix="speechssl-") as folder:
        report = run_units(
            corpus,
            folder,
            spec,
            outputs=[Output(args.format, args.dedup)],
            precision=args.precision,
            kernel=None if args.kernel == "auto" else args.kernel,
            device=args.device,
            long_audio=_extraction.long_audio(args),
            options=options,
        )
        if report.finished:
            with Path(folder, files[args.format]).open(encoding="utf-8", newline="\n") as units:
                shutil.copyfileobj(units, sys.stdout)
            failures = Path(folder, "failures.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
            sys.stderr.writelines(f"skipped: {line}\n" for line in failures)
    return report.exit_code

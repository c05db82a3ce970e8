"""Speech to a unit model: learns k-means centroids of one encoder layer, or wraps released ones.

    speechssl kmeans recordings/ -o model --encoder hubert-base-ls960 --layer 9 -k 500
    speechssl kmeans data/train -o model --encoder mfcc -k 100 --restarts 3 --full
    speechssl kmeans --features features-out -o model --encoder hubert-base-ls960 --layer 9 -k 500
    speechssl kmeans data/train -o model --encoder hubert-base-ls960 --layer 9 -k 32 --quantizer product --codebooks 2
    speechssl kmeans data/train -o model --encoder hubert-base-ls960 --layer 9 --quantizer fsq --levels 8,5,5,5
    speechssl kmeans --from-file km500.bin -o model --encoder hubert-base-ls960 --layer 9

Frames come straight from the encoder; a sample of at most --max-frames of them, chosen by hash of utterance id and
frame number, is held in memory. --full goes on with exact passes over all frames (each encodes everything again: store
features first where the encoder is slow); ended and started again, it goes on after the last finished pass. Under
torchrun, several processes on one machine or many share the work; the result is the same (docs/kmeans.md).
--quantizer product splits the channels among several codebooks, residual lets each quantize what those before it left;
a unit then is what they say together, one of K^G numbers. fsq learns no centroids: the frames' largest principal
components are rounded to a grid of --levels, 8,5,5,5 for 1,000 units.
--from-file reads scikit-learn joblib files, faiss indexes, .npy, .npz, .pt, .safetensors; nothing in them is run.
MODEL is what `speechssl units --model` takes; MODEL/kmeans.json is the report.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 nothing written.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechssl.cli import _extraction
from speechssl.cli._folder import new_folder
from speechssl.cli._kmeans import Part, ProgressFile, identity_of, part_of, text
from speechssl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from speechssl.data.corpus import Corpus
    from speechssl.encoders.pretrained import Pretrained
    from speechssl.extract.job import Job, ModelSpec
    from speechssl.extract.stream import FeatureStream
    from speechssl.quantizers import Quantizer
    from speechssl.quantizers.fsq_fit import FSQReport
    from speechssl.quantizers.joint_fit import JointReport
    from speechssl.quantizers.kmeans_fit import Features, FitReport
    from speechssl.quantizers.kmeans_parallel import Processes

SUMMARY = "learn a k-means unit model, or wrap a released one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT or --features or --from-file, -o, the encoder, how to fit, how to run."""
    _extraction.add_input(parser, optional=True)
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="folder of the unit model to write")
    parser.add_argument("--features", metavar="DIR", help="stored features instead of INPUT: of `speechssl features`, "
                        "feats.scp, .ark, .npy with .len")  # fmt: skip
    parser.add_argument(
        "--from-file", metavar="FILE", help="centroids instead of INPUT: a released k-means, file or name"
    )
    parser.add_argument("--encoder", metavar="E", required=True, help="encoder: name, folder or file")
    parser.add_argument("--layer", type=int, metavar="L", help="layer k is what block k returns")
    fit = parser.add_argument_group("fit")
    fit.add_argument("-k", "--num-units", type=int, metavar="K", help="number of units")
    fit.add_argument("--seed", type=int, default=0, metavar="N")
    fit.add_argument("--restarts", type=int, default=1, metavar="N", help="runs from other seeds; the best is kept")
    fit.add_argument("--iterations", type=int, default=50, metavar="N", help="at most, of each run (default 50)")
    fit.add_argument("--tolerance", type=float, default=1e-4, metavar="X",
                     help="stop when inertia falls by a smaller share (default 1e-4)")  # fmt: skip
    fit.add_argument("--max-frames", type=int, default=1_000_000, metavar="N",
                     help="frames held in memory, 4 bytes x channels x 2 each (default 1000000)")  # fmt: skip
    fit.add_argument("--quantizer", choices=("kmeans", "product", "residual", "fsq"), default="kmeans",
                     help="one codebook (default), or several of K entries each, or a grid")  # fmt: skip
    fit.add_argument("--codebooks", type=int, metavar="G", help="of product and residual (default 2)")
    fit.add_argument("--levels", metavar="L,L,...", help="of fsq: of each direction, 3 or more")
    fit.add_argument("--full", action="store_true", help="then exact passes over all frames")
    card = parser.add_argument_group("card")
    card.add_argument("--name", default="", help="of the unit model, for people")
    card.add_argument("--licence", default="", help="of the unit model")
    card.add_argument("--no-embed-encoder", action="store_true", help="only name the encoder, do not copy its weights")
    running = parser.add_argument_group("running")
    running.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    running.add_argument("--precision", choices=("fp32", "bf16", "int8"), default="fp32", help="of the encoder")
    running.add_argument("--window", type=float, default=60.0, metavar="S", help="as of `speechssl units`")
    running.add_argument("--overlap", type=float, default=5.0, metavar="S", help="as of `speechssl units`")
    running.add_argument("--workers", type=int, metavar="N",
                         help="processes that encode (default: one per core; one for a GPU)")  # fmt: skip
    running.add_argument("--process-timeout", type=float, default=1800.0, metavar="S",
                         help="of several processes: give up when another one does nothing for so long (default 1800)")  # fmt: skip  # noqa: E501
    running.add_argument("--offline", action="store_true", help="never use the network")
    running.add_argument("--overwrite", action="store_true", help="replace MODEL if it is there")
    running.add_argument("--json", action="store_true", help="print the report as JSON")
    running.add_argument("--quiet", action="store_true", help="no progress lines")


def run(args: argparse.Namespace) -> int:
    """Fit or wrap, write the folder, print the report."""
    from speechssl.convert import kmeans_by_name
    from speechssl.extract.job import ModelSpec
    from speechssl.quantizers import kmeans_parallel

    _check(args)
    args.layer = kmeans_by_name.layer_of(args.from_file, args.layer)
    spec = ModelSpec(None, args.encoder, args.layer, None, args.offline)
    with kmeans_parallel.joined(timeout_s=args.process_timeout) as processes:
        writes = processes.rank == 0
        with new_folder(Path(args.output), args.overwrite) if writes else nullcontext() as folder:
            pretrained, layer, _ = spec.load("features")
            if args.from_file:
                report = _wrap(args, pretrained, layer, folder) if folder else {}
            else:
                report = _learn(args, spec, pretrained, layer, folder, processes)
        processes.gather_json(None)  # nobody is done before the model is there
    skipped = report.get("skipped", {})
    if writes:
        _progress_file(args, {}).remove()
        report = {"output": args.output, **report}
        print(json.dumps(report, indent=2, ensure_ascii=False) if args.json else text(report))
        for name, reason in list(skipped.items())[: None if args.json else 20]:
            print(f"skipped: {name}\t{reason[0]}\t{reason[1]}", file=sys.stderr)
    return 1 if skipped and writes else 0  # one voice: torchrun ends all where one leaves with 1


def _check(args: argparse.Namespace) -> None:
    sources = [bool(args.input), args.features is not None, args.from_file is not None]
    if sum(sources) != 1:
        raise ConfigError("give one of INPUT, --features DIR and --from-file FILE")
    if (args.quantizer == "fsq") != (args.levels is not None):
        raise ConfigError("--quantizer fsq and --levels L,L,... (such as 8,5,5,5) go together")
    if args.quantizer == "fsq" and args.num_units is not None:
        raise ConfigError("--num-units has no effect on fsq: its units follow from --levels")
    if args.from_file is None and args.num_units is None and args.quantizer != "fsq":
        raise ConfigError("say how many units: --num-units K")
    if args.quantizer in ("kmeans", "fsq") and args.codebooks is not None:
        raise ConfigError(f"--codebooks has no effect on {args.quantizer}: choose --quantizer product or residual")
    if args.quantizer != "kmeans" and (args.full or args.from_file):
        raise ConfigError(f"--quantizer {args.quantizer} learns from a sample: leave --full and --from-file out")
    if args.workers is not None and args.workers < 0:
        raise ConfigError(f"--workers {args.workers}: 0 or more")
    if not args.process_timeout > 0:
        raise ConfigError(f"--process-timeout {args.process_timeout:g}: more than 0")


def _wrap(args: argparse.Namespace, pretrained: "Pretrained", layer: int, folder: Path) -> dict[str, Any]:
    from speechssl.convert import kmeans_by_name
    from speechssl.convert.kmeans_files import load_kmeans

    path = kmeans_by_name.find(args.from_file, offline=args.offline)
    kmeans = load_kmeans(path)
    if args.num_units not in (None, kmeans.size):
        raise ConfigError(f"--num-units {args.num_units}: {path} holds {kmeans.size} centroids")
    with path.open("rb") as file:
        source = {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    report = {"num_units": kmeans.size, "dim": kmeans.dim, "source": source}
    _save(args, pretrained, layer, kmeans, {"kmeans": source}, report, folder)
    return report


def _learn(
    args: argparse.Namespace,
    spec: "ModelSpec",
    pretrained: "Pretrained",
    layer: int,
    folder: Path | None,
    processes: "Processes",
) -> dict[str, Any]:
    from speechssl.extract.plan import check_manifest
    from speechssl.extract.stored_features import open_features

    if args.features:
        features, job = open_features(args.features)
        _check_job(args, job, pretrained, layer)
        part = part_of(features, processes.rank, processes.size) if processes.size > 1 else features
        quantizer, fitted = _fit(args, part, pretrained, layer, identity_of(args.features), processes)
        source: dict[str, Any] = {"features": Path(args.features).name}
        report = dataclasses.asdict(fitted) | {"source": source}
    else:
        corpus = _extraction.open_input(args)
        mine = Part(corpus.utterances, processes.rank, processes.size) if processes.size > 1 else corpus.utterances
        rows = check_manifest(corpus.utterances, []) if args.full else None
        with _stream(args, spec, dataclasses.replace(corpus, utterances=mine)) as stream:
            try:
                quantizer, fitted = _fit(args, stream, pretrained, layer, rows, processes)
            except DataError as error:  # too few frames, perhaps because of these
                skipped = list(stream.failures.items())
                lines = [f"\n  skipped: {name}\t{code}\t{message}" for name, (code, message) in skipped[:5]]
                more = [f"\n  and {len(skipped) - 5} more"] if len(skipped) > 5 else []
                raise DataError("".join([str(error), *lines, *more])) from error
        everywhere = processes.gather_json([stream.seconds, stream.failures])
        source = {"corpus": corpus.source, "utterances": len(corpus), "precision": args.precision}
        report = dataclasses.asdict(fitted) | {
            "source": source,
            "audio_seconds": round(sum(seconds for seconds, _ in everywhere), 3),
            "skipped": {name: tuple(reason) for _, failures in everywhere for name, reason in failures.items()},
            "problems": list(corpus.problems),
        }
    if folder:
        _save(args, pretrained, layer, quantizer, {args.quantizer: _training(fitted), **source}, report, folder)
    return report


def _fit(
    args: argparse.Namespace,
    features: "Features",
    pretrained: "Pretrained",
    layer: int,
    corpus: object,
    processes: "Processes",
) -> "tuple[Quantizer, FitReport | JointReport | FSQReport]":
    """corpus: whatever tells this one from others."""
    from speechssl import __version__
    from speechssl.encoders import layer_dim
    from speechssl.quantizers.fsq_fit import fit_fsq
    from speechssl.quantizers.joint_fit import fit_joint
    from speechssl.quantizers.kmeans_fit import fit

    settings = {
        "num_units": args.num_units,
        "seed": args.seed,
        "max_frames": args.max_frames,
        "restarts": args.restarts,
        "iterations": args.iterations,
        "tolerance": args.tolerance,
    }
    decides = {
        "fit": settings, "encoder": pretrained.sha256, "layer": layer, "corpus": corpus, "speechssl": __version__,
        "how": [args.precision, args.device, args.window, args.overlap],
    }  # fmt: skip
    checked = _with_dim(features, layer_dim(pretrained.encoder, layer))

    def log(line: str) -> None:
        if not args.quiet and not processes.rank:
            print(line, file=sys.stderr)

    if args.quantizer != "kmeans":
        if processes.size > 1:
            raise ConfigError(f"--quantizer {args.quantizer} is learned by one process: leave torchrun out")
        if args.quantizer == "fsq":
            return fit_fsq(checked, levels=_levels(args.levels), seed=args.seed, max_frames=args.max_frames)
        num_codebooks = 2 if args.codebooks is None else args.codebooks
        return fit_joint(args.quantizer, checked, num_codebooks=num_codebooks, device=args.device, log=log, **settings)
    return fit(
        checked,
        **settings,
        mode="full" if args.full else "sample",
        device=args.device,
        log=log,
        processes=processes,
        progress=_progress_file(args, decides),
    )


def _levels(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--levels {text}: integers with commas between them, such as 8,5,5,5") from None


def _progress_file(args: argparse.Namespace, decides: dict[str, Any]) -> ProgressFile:
    return ProgressFile(Path(args.output), decides)


def _training(fitted: "FitReport | JointReport | FSQReport") -> dict[str, Any]:
    """What the card says of the fit: nothing that differs between two runs of the same command."""
    from speechssl import __version__

    keep = ("mode", "seed", "frames_seen", "frames_sampled", "inertia", "empty_units", "perplexity", "settings")
    return {key: getattr(fitted, key) for key in keep} | {"speechssl": __version__}


def _check_job(args: argparse.Namespace, job: "Job | None", pretrained: "Pretrained", layer: int) -> None:
    """Features of another encoder or layer would give a model that does not fit its own card."""
    if job is not None and (job.model.encoder.sha256, job.model.layer) != (pretrained.sha256, layer):
        raise ConfigError(
            f"{args.features}: features of layer {job.model.layer} of {job.model.encoder.id} (sha256 "
            f"{job.model.encoder.sha256[:12]}…), not of layer {layer} of {args.encoder} ({pretrained.sha256[:12]}…)"
        )


def _with_dim(features: "Features", dim: int) -> "Features":
    def checked() -> Iterator[tuple[str, Any]]:
        for name, frames in features():
            if frames.ndim != 2 or frames.shape[1] != dim:
                raise ConfigError(f"{name}: features {list(frames.shape)} do not fit an encoder of {dim} channels")
            yield name, frames

    return checked


def _stream(args: argparse.Namespace, spec: "ModelSpec", corpus: "Corpus") -> "FeatureStream":
    from speechssl.extract.progress import Progress
    from speechssl.extract.run import default_workers
    from speechssl.extract.stream import FeatureStream

    workers = default_workers(args.device) if args.workers is None else args.workers
    progress = [Progress(len(corpus), 0, args.quiet)]

    def advance(rows: int, seconds: float) -> None:
        shown = progress[0]
        shown.add(rows, seconds)
        shown.show(0, 0.0)
        if shown.rows == shown.total:  # the next pass begins anew
            shown.end()
            progress[0] = Progress(len(corpus), 0, args.quiet)

    return FeatureStream(
        corpus,
        spec,
        workers=min(workers, len(corpus)),
        device=args.device,
        precision=args.precision,
        long_audio=_extraction.long_audio(args),
        allow_pipes=args.allow_pipes,
        allow_remote=args.allow_remote,
        progress=advance,
    )


def _save(
    args: argparse.Namespace,
    pretrained: "Pretrained",
    layer: int,
    quantizer: "Quantizer",
    training: dict[str, Any],
    report: dict[str, Any],
    folder: Path,
) -> None:
    from speechssl.units.card import UnitModelCard
    from speechssl.units.model import UnitModel

    model = UnitModel(pretrained, layer, quantizer, UnitModelCard(args.name, args.licence, training))
    model.save(folder, embed_encoder=not args.no_embed_encoder)
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (folder / "kmeans.json").write_text(text, encoding="utf-8")

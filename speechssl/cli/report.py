"""A page to look at: a unit model on a corpus, units that can be seen and played, or the curves of trainings.

    speechssl report my-model --corpus data/dev --phones phones.tsv --changes "noise=20,10,5 pitch=1,3" -o page.html
    speechssl report default --units units-out --scores layers.json abx.json noise=10:edits.json -o page.html
    speechssl report units-out -o page.html
    speechssl report units-out --input data/dev --labels phones.ctm -o page.html
    speechssl report recordings/ --model my-model -o page.html
    speechssl report exp/hubert exp/wavlm -o page.html

Of a unit model: its scores on a corpus (with --phones PNMI, purities, boundaries), some utterances, phones against
units, how often units occur and how long they last; scores of layers, ABX and edits from files of `speechssl score`;
with --changes how much units change in noise, in rooms, higher, faster. Units are extracted, or read with --units.
From an output folder of `speechssl units`, or straight from audio: a player, waveform, mel spectrogram and unit
timeline per utterance, usage and durations of units, bitrate and perplexity, the model's card, what was skipped.
From folders of training runs (with a log.jsonl): curves of loss, accuracy and all other figures, the runs over one
another, what was said meanwhile, which settings differ. The page is one file that needs no network.

exit code: 0 page written; 1 written, but some utterances were skipped; 2 no page, or nothing could be used.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from speechssl.errors import ConfigError

if TYPE_CHECKING:
    from speechssl.metrics.alignments import Alignments
    from speechssl.report.page import Page
    from speechssl.units.vocoder import Vocoder

SUMMARY = "a page on a unit model, or that shows and plays units, or shows trainings"
_FIRST = 12  # utterances drawn of OUT or AUDIO
_OF_MODELS: dict[str, object] = {
    "units": None,
    "scores": [],
    "speakers": None,
    "changes": None,
}  # options, and their values if not given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to show, where the sound is, what to write."""
    parser.add_argument("input", nargs="+", metavar="MODEL|OUT|AUDIO|RUN",
                        help="unit model (a folder, or default), output of `speechssl units`, any audio input, or "
                        "folders of training runs")  # fmt: skip
    parser.add_argument("-o", "--output", required=True, metavar="HTML", help="the page to write")
    parser.add_argument("--corpus", "--input", dest="recordings", metavar="CORPUS",
                        help="of MODEL: what to extract units of, any audio input; of OUT: where its recordings are "
                        "now")  # fmt: skip
    parser.add_argument("--phones", "--labels", metavar="FILE",
                        help="phones with times, to draw and to score: TSV, CTM, TextGrid folder ...")  # fmt: skip
    parser.add_argument("--phone-shift", type=float, default=0.0, metavar="S",
                        help="move every phone by so many seconds, negative: earlier (default 0)")  # fmt: skip
    parser.add_argument("--phone-rate", type=float, default=100.0, metavar="HZ",
                        help="rate at which phones are compared; that of per-frame labels (default 100)")  # fmt: skip
    parser.add_argument("--num", type=int, metavar="N",
                        help="utterances to draw: of OUT and AUDIO the first (default 12), of MODEL some, the "
                        "same each time (default 6)")  # fmt: skip
    parser.add_argument("--id", action="append", default=[], metavar="ID", help="draw this utterance; may be repeated")
    parser.add_argument("--utterances", dest="id", action="extend", nargs="+", metavar="ID", help="draw these")
    parser.add_argument("--model", metavar="DIR", help="unit model of OUT or AUDIO (default: the built-in one)")
    model = parser.add_argument_group("of MODEL only")
    model.add_argument("--units", metavar="OUT", help="its units: nothing is extracted")
    model.add_argument("--speakers", metavar="FILE", help="lines `utterance speaker`, where CORPUS does not say them")
    model.add_argument("--scores", nargs="+", default=[], metavar="FILE",
                       help="what `speechssl score layers|abx|edits -o FILE` wrote; of edits as noise=20:FILE, "
                       "pitch=2:FILE ...")  # fmt: skip
    model.add_argument("--changes", metavar="LIST",
                       help='changes to measure edits of: "noise=20,10 pitch=1,3 stretch=1.1,1.3 reverb=0.2,0.4" (dB, '
                       "semitones, times as fast, s)")  # fmt: skip
    model.add_argument("--num-changed", type=int, default=20, metavar="N", help="recordings to change (default 20)")
    parser.add_argument("--vocoder", metavar="DIR",
                        help="of OUT and AUDIO: a unit vocoder, or default; it speaks what is drawn")  # fmt: skip
    parser.add_argument("--title", default="", help="heading of the page")
    parser.add_argument("--workers", type=int, metavar="N", help="processes for audio input (default: one per core)")
    parser.add_argument("--allow-pipes", action="store_true", help="run commands that stand in wav.scp")
    parser.add_argument("--offline", action="store_true", help="never use the network")


def run(args: argparse.Namespace) -> int:
    """Gather and write."""
    from speechssl.cli import _gather, _model_report
    from speechssl.extract import atomic
    from speechssl.report import training
    from speechssl.report.page import render

    if args.num is not None and args.num < 1:
        raise ConfigError(f"--num {args.num}: at least 1")
    if args.vocoder and (_model_report.is_model(args.input[0]) or training.is_run(Path(args.input[0]))):
        raise ConfigError(f"--vocoder goes with units or audio; {args.input[0]} is neither")
    if len(args.input) == 1 and _model_report.is_model(args.input[0]):
        return _model_report.run(args)
    if given := [name for name, default in _OF_MODELS.items() if getattr(args, name) != default]:
        raise ConfigError(f"--{given[0]} goes with a unit model; {args.input[0]} is none")
    if all(training.is_run(Path(spec)) for spec in args.input):
        return _of_runs(args)
    if len(args.input) == 1 and _gather.is_output(Path(args.input[0])):
        page = _of_output(args)
    elif args.recordings:
        raise ConfigError(f"--input goes with an output folder of `speechssl units`; {args.input[0]} is none")
    else:
        page = _of_audio(args)
    text = render(page)
    atomic.write_output(Path(args.output), text)
    counted = page.statistics.counts.utterances
    print(f"{args.output}: {counted} utterances, {len(page.failures)} skipped, {len(text) / 1e6:.1f} MB")
    return 0 if not page.failures else 1 if counted else 2


def _of_runs(args: argparse.Namespace) -> int:
    from speechssl.extract import atomic
    from speechssl.report import training
    from speechssl.report.document import plural

    folders = [Path(spec) for spec in args.input]
    runs = [training.read_run(folder) for folder in folders]
    for run, name in zip(runs, training.name_apart(folders), strict=True):
        run.name = name
    text = training.render(runs, args.title or f"Training: {', '.join(run.name for run in runs[:4])}")
    atomic.write_output(Path(args.output), text)
    torn = sum(run.unreadable for run in runs)
    left_out = f", {torn} lines of logs could not be read" if torn else ""
    print(f"{args.output}: {plural(len(runs), 'training run')}{left_out}, {len(text) / 1e6:.1f} MB")
    return 0


def _of_output(args: argparse.Namespace) -> "Page":
    from speechssl.cli._gather import Texts, from_output
    from speechssl.data.corpus import open_corpus

    folder = Path(args.input[0])
    corpus = open_corpus(args.recordings, allow_pipes=args.allow_pipes) if args.recordings else None
    texts = Texts(args.title or "Units of a corpus", f"From {folder}")
    return from_output(folder, texts, corpus=corpus, model=args.model, num=args.num or _FIRST, only=args.id,
                       alignments=_alignments(args), shift_s=args.phone_shift, vocoder=_vocoder(args),
                       allow_pipes=args.allow_pipes)  # fmt: skip


def _of_audio(args: argparse.Namespace) -> "Page":
    from speechssl.cli._gather import Texts, from_output
    from speechssl.data.corpus import open_corpus
    from speechssl.extract.job import ModelSpec
    from speechssl.extract.merge import Output
    from speechssl.extract.run import Options, run_units

    corpus = open_corpus(args.input[0] if len(args.input) == 1 else args.input, allow_pipes=args.allow_pipes)
    texts = Texts(args.title or "Units of recordings", f"From {corpus.source}")
    options = Options(workers=args.workers, allow_pipes=args.allow_pipes)
    model = args.model or "default"
    with tempfile.TemporaryDirectory(prefix="speechssl-") as folder:
        run_units(corpus, folder, ModelSpec(model, offline=args.offline), outputs=[Output("jsonl", True)],
                  options=options)  # fmt: skip
        page = from_output(Path(folder), texts, corpus=corpus, model=model, num=args.num or _FIRST, only=args.id,
                           alignments=_alignments(args), shift_s=args.phone_shift, vocoder=_vocoder(args),
                           allow_pipes=args.allow_pipes)  # fmt: skip
    return dataclasses.replace(page, sidecar={k: v for k, v in page.sidecar.items() if k != "outputs"})


def _vocoder(args: argparse.Namespace) -> "Vocoder | None":
    from speechssl.units import vocoder

    return vocoder.load(args.vocoder).accelerate() if args.vocoder else None


def _alignments(args: argparse.Namespace) -> "Alignments | None":
    from speechssl.metrics.alignments import read_alignments

    return read_alignments(args.phones, rate_hz=args.phone_rate) if args.phones else None

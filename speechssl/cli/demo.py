"""Units of real speech in one command: gets recordings, extracts units with the built-in model, draws a page.

    speechssl demo --output demo-out
    speechssl demo --output demo-out --audio my/recordings

Without --audio the recordings come from a small Debian package (downloaded, not installed; no root needed), or, where
there is no network or no apt, from sentences that are synthesised on the spot, and are called synthetic.
OUT/report.html is the page, OUT/speech the recordings, OUT/units the units. On the page the built-in vocoder, a German
voice, speaks every recording again from its units alone.

exit code: 0 all done; 1 done, but some recordings were skipped; 2 nothing could be used.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechssl.errors import ConfigError

if TYPE_CHECKING:
    from speechssl.cli._gather import Texts
    from speechssl.data.corpus import Corpus
    from speechssl.units.units import Units
    from speechssl.units.vocoder import Vocoder

SUMMARY = "units of real speech and a page that shows them, in one command"
_SHOWN = 16  # units of an utterance on the terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the recordings come from, where the results go."""
    parser.add_argument(
        "-o", "--output", default="demo-out", metavar="DIR", help="folder of results (default demo-out)"
    )
    parser.add_argument("--audio", nargs="+", metavar="PATH", help="a folder, manifest or audio files of your own")
    parser.add_argument("--num", type=int, default=12, metavar="N", help="use at most N recordings (default 12)")
    parser.add_argument("--model", default="default", metavar="DIR", help="unit model (default: the built-in one)")
    parser.add_argument("--vocoder", metavar="DIR", help="speaks the units (default: the built-in one, where it fits)")
    parser.add_argument("--offline", action="store_true", help="never use the network: synthetic sentences")


def run(args: argparse.Namespace) -> int:
    """Recordings, units, page."""
    import dataclasses

    from speechssl.cli._gather import Texts
    from speechssl.data.corpus import open_corpus

    if args.num < 1:
        raise ConfigError(f"--num {args.num}: at least 1")
    folder = Path(args.output)
    if args.audio:
        corpus = open_corpus(args.audio[0] if len(args.audio) == 1 else args.audio)
        texts = Texts("Units of your recordings", f"From {corpus.source}")
    else:
        corpus, texts = _find_speech(folder / "speech", args)
    if len(corpus.utterances) > args.num:
        left = f"the first {args.num} of {len(corpus.utterances)} recordings (--num)"
        corpus = dataclasses.replace(corpus, utterances=corpus.utterances[: args.num])
        texts = dataclasses.replace(texts, subtitle=f"{texts.subtitle}: {left}")
        print(f"taking {left}; `speechssl units` does them all")
    return _extract(corpus, texts, folder, args)


def _find_speech(folder: Path, args: argparse.Namespace) -> "tuple[Corpus, Texts]":
    from speechssl.cli._gather import Texts
    from speechssl.data.corpus import open_corpus
    from speechssl.report.speech import find_speech

    source = find_speech(folder, count=min(args.num, 6), offline=args.offline, say=lambda line: print(line, flush=True))
    for line in source.about:
        print(line)
    banner = "Synthetic speech, not recordings" if source.synthetic else ""
    title = "Units of synthetic sentences" if source.synthetic else "Units of real speech"
    return open_corpus(folder / "manifest.jsonl"), Texts(title, source.title, banner, source.about)


def _extract(corpus: "Corpus", texts: "Texts", folder: Path, args: argparse.Namespace) -> int:
    import torch  # noqa: F401  before the clock of the extraction starts

    from speechssl.cli._gather import from_output
    from speechssl.extract import atomic
    from speechssl.extract.job import ModelSpec
    from speechssl.extract.merge import Output
    from speechssl.extract.run import Options, run_units
    from speechssl.metrics.alignments import read_alignments
    from speechssl.report.page import render

    labels = folder / "speech" / "phones.tsv"
    alignments = read_alignments(labels) if texts.banner and labels.exists() else None
    options = Options(workers=0, overwrite=True, quiet=True)  # a few recordings: quicker than starting processes
    report = run_units(corpus, folder / "units", ModelSpec(args.model, offline=args.offline),
                       outputs=[Output("jsonl", True)], options=options)  # fmt: skip
    page = from_output(folder / "units", texts, corpus=corpus, model=args.model, num=args.num, alignments=alignments,
                       vocoder=_vocoder(args), seen=_print_units)  # fmt: skip
    for failure in page.failures:
        print(f"skipped {printable(failure.id)}: {failure.code}: {printable(failure.message)}")
    path = folder / "report.html"
    atomic.write_output(path, render(page))
    scores = page.statistics.counts.scores()
    if report.ok:
        print(f"{report.ok} recordings, {report.hours:.4f} h of audio; {scores.bitrate:.0f} bit/s, "
              f"{scores.active_codes} of {scores.num_units} units in use")  # fmt: skip
        print(f"real-time factor {1 / report.speed:.4f}: {report.speed:.0f} x faster than the recordings last")
    print(f"open in a browser: {path}")
    return report.exit_code


def _vocoder(args: argparse.Namespace) -> "Vocoder | None":
    """The one that was asked for, or the built-in one for units of the built-in model."""
    from speechssl.units import vocoder

    if args.vocoder is None and args.model != "default":
        return None
    return vocoder.load(args.vocoder or "default").accelerate()


def _print_units(key: str, units: "Units") -> None:
    runs = units.dedup()
    more = " …" if len(runs) > _SHOWN else ""
    print(f"{printable(key)}  {units.seconds:.2f} s  {' '.join(map(str, runs.ids[:_SHOWN].tolist()))}{more}")


def printable(text: str) -> str:
    """Text without characters that could command a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)

"""A page to listen: the same utterances by several systems side by side, each with a player and its spectrogram.

    speechssl gallery real=data/test units=exp/kept faster=exp/faster -o gallery.html
    speechssl gallery source=data/a target=data/b converted=exp/a-as-b -o gallery.html --id prompt-1 --id prompt-7

Each NAME=CORPUS is anything that `speechssl units` takes, such as an output of `speechssl resynth`. Utterances are
those of the first, by their ids; a system that lacks one is said to. The page is one file that needs no network.

exit code: 0 page written; 1 written, but some sounds are missing or cannot be read; 2 no page.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechssl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from speechssl.data.utterance import Utterance
    from speechssl.report.gallery import Sound

SUMMARY = "a page to listen to the same utterances by several systems"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Systems, utterances, the page."""
    parser.add_argument("systems", nargs="+", metavar="NAME=CORPUS", help="a name, and where its recordings are")
    parser.add_argument("-o", "--output", required=True, metavar="HTML", help="the page to write")
    parser.add_argument("--num", type=int, default=12, metavar="N", help="utterances, the first (default 12)")
    parser.add_argument("--id", action="append", default=[], metavar="ID", help="this utterance; may be repeated")
    parser.add_argument("--title", default="Gallery", help="heading of the page")


def run(args: argparse.Namespace) -> int:
    """Read and write."""
    from speechssl.data.corpus import open_corpus
    from speechssl.extract import atomic
    from speechssl.report.gallery import Row, render

    if args.num < 1:
        raise ConfigError(f"--num {args.num}: at least 1")
    corpora: dict[str, dict[str, Utterance]] = {}
    for spec in args.systems:
        name, equals, place = spec.partition("=")
        if not name or not equals or name in corpora:
            raise ConfigError(f"{spec}: expected NAME=CORPUS, every name once")
        corpora[name] = {utterance.id: utterance for utterance in open_corpus(place).utterances}
    first = next(iter(corpora.values()))
    if unknown := [key for key in args.id if key not in first]:
        raise DataError(f"{args.systems[0]}: no utterance {unknown[0]!r}")
    missing: list[str] = []
    rows = []
    for key in args.id or list(first)[: args.num]:
        sounds = {}
        for name, utterances in corpora.items():
            found = _sound(utterances.get(key))
            if isinstance(found, str):
                missing.append(f"{name}: {key}: {found}")
            else:
                sounds[name] = found
        rows.append(Row(key, sounds, first[key].text or ""))
    atomic.write_output(Path(args.output), render(rows, list(corpora), title=args.title, notes=missing))
    print(f"{args.output}: {len(rows)} utterances by {len(corpora)} systems, {len(missing)} sounds are missing")
    return 1 if missing else 0


def _sound(utterance: "Utterance | None") -> "Sound | str":
    """It, or why there is none."""
    from speechssl.data.corpus import read_utterance
    from speechssl.errors import AudioError
    from speechssl.report.gallery import Sound

    if utterance is None:
        return "not there"
    try:
        audio = read_utterance(utterance, sample_rate=16_000)
    except AudioError as error:
        return f"{error.code}: {error}"
    return Sound(audio.samples, audio.sample_rate)

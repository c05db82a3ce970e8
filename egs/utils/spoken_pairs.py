"""Pseudo-parallel speech: sentences with a text in both languages and a recording in one, the other said by espeak-ng.

Scripts of recipes find this file beside the others of egs/utils. What is in valid or test of the real pairs, in either
language, is never said. A pair is kept where the length of one side over that of the other is what it is in the real
pairs of training, up to so many deviations. OUT/{source,target} are Kaldi data dirs of the real pairs of training and
these, whose ids begin with "said-"; OUT/report.json says what became of each.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kaldi_dir import write_dir
from parts import plain
from said import Said
from speech_pairs import RATE, SIDES, as_wav

from speechssl.audio import read
from speechssl.data.pseudo_labels import usual


@dataclass(frozen=True)
class Half:
    """A sentence in two languages that one of them only has a recording of."""

    id: str
    recorded: int  # 0: the source
    path: Path
    texts: tuple[str, str]


Find = Callable[[Path, str, str], list[Half]]


def main(find: Find, description: str | None) -> int:
    """A corpus's script prepare_spoken.py; 2 where nothing is left."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--pairs", type=Path, required=True, help="what prepare_pairs.py made")
    parser.add_argument("--train", type=Path, required=True, help="the data dirs source and target to put these to")
    parser.add_argument("--deviations", type=float, default=3.0, help="of log length ratios that are kept")
    parser.add_argument("--limit", type=int, default=0, help="at most so many (0: all)")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    halves = sorted(find(args.corpus, args.source, args.target), key=lambda half: half.id)
    known, held = _table(args.train), held_out(args.pairs)
    reasons = {half.id: "held_out" for half in halves if held & {plain(text) for text in half.texts}}
    halves = [half for half in halves if half.id not in reasons]
    halves = halves[: args.limit] if args.limit else halves
    languages = (args.source, args.target)
    pairs = {half.id: made for half in halves if (made := _spoken(half, languages, args.out / "audio", reasons))}
    limits = usual([_ratio(paths) for paths in known.values()], args.deviations, f"{len(known)} pairs of training")
    for name, paths in list(pairs.items()):
        reasons[name] = "kept" if limits[0] <= _ratio(paths) <= limits[1] else "ratio"
        if reasons[name] != "kept":
            del pairs[name]
    counts = {"kept": 0, **Counter(reasons.values())}
    told = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    print(f"  {len(reasons)} sentences recorded in one language: {told} (target over source {limits[0]:.2f} to "
          f"{limits[1]:.2f})")  # fmt: skip
    if not pairs:
        print(f"{args.corpus}: no sentence to be said is left", file=sys.stderr)
        return 2
    texts = {half.id: tuple(map(plain, half.texts)) for half in halves}
    for side, name in enumerate(SIDES):
        _write(args.out / name, args.train / name, side, pairs, texts)
    report = {**counts, "target_over_source": limits, "reasons": reasons}
    (args.out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def held_out(pairs: Path) -> set[str]:
    """Plain texts of valid and test, in both languages."""
    return {
        text for part in ("valid", "test") for side in SIDES for text in _lines(pairs / part / side / "text").values()
    }


def _spoken(half: Half, languages: tuple[str, str], audio: Path, reasons: dict[str, str]) -> tuple[Path, Path] | None:
    """Recordings of source and target; None, and a reason, where one cannot be."""
    other = 1 - half.recorded
    found = as_wav(half.path, audio / f"real-{half.id}.wav")
    if isinstance(found, str):
        reasons[half.id] = "unreadable"
        return None
    said = as_wav(Said(half.texts[other], languages[other]), audio / f"said-{half.id}.wav")
    if isinstance(said, str):
        reasons[half.id] = "not_said"
        return None
    return (found, said) if half.recorded == 0 else (said, found)


def _write(out: Path, train: Path, side: int, pairs: dict[str, tuple[Path, Path]], texts: dict[str, tuple[str, ...]]
           ) -> None:  # fmt: skip
    """One side of the real pairs and of these."""
    wavs = {name: Path(path) for name, path in _lines(train / "wav.scp").items()}
    speakers, tables = _lines(train / "utt2spk"), {"text": _lines(train / "text")}
    if side == 0:
        tables["translation"] = _lines(train / "translation")
    for name, paths in pairs.items():
        own = f"said-{name}"
        wavs[own], speakers[own] = paths[side], "said"
        for place, table in enumerate(tables.values()):
            table[own] = texts[name][side if place == 0 else 1]
    write_dir(out, wavs, speakers, **tables)


def _table(train: Path) -> dict[str, tuple[Path, Path]]:
    source, target = (_lines(train / side / "wav.scp") for side in SIDES)
    return {name: (Path(path), Path(target[name])) for name, path in source.items() if name in target}


def _ratio(paths: tuple[Path, Path]) -> float:
    source, target = (len(read(path, sample_rate=RATE).samples) for path in paths)
    return target / max(1, source)


def _lines(path: Path) -> dict[str, str]:
    rows = (line.partition(" ") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: rest for name, _, rest in rows}

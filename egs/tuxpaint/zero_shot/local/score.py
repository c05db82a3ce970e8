#!/usr/bin/env python3
"""Errors of what decode.sh wrote with recogniser NAME, as JSON and as Markdown tables in percent.

score.py NAME DATA EXP OUT.json

EXP/texts/NAME/LANGUAGE/SYSTEM against DATA/phones/LANGUAGE/test/text; word_lm against DATA/captions (lower case, no
punctuation). SYSTEM.s0, SYSTEM.s1 …: seeds, of which the mean is taken. 95 % bootstrap intervals over utterances, 1000
draws; differences to the map by features on the same draws. Without a text, all phones of an utterance are deleted.
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from speechssl.data.lines import read_unique, write_lines
from speechssl.metrics.bootstrap import Quotient, bootstrap, compare
from speechssl.metrics.text_rules import TextRules
from speechssl.metrics.word_errors import EditCounts, count_edits

SYSTEMS = {
    "greedy": "greedy, no map", "random": "random map", "random_kept": "random, shared phones kept",
    "id": "nearest by id", "id_kept": "nearest by id, shared phones kept", "features": "nearest by features",
    "inventory": "beam, inventory to outputs", "outputs": "beam, outputs to inventory",
    "phone_lm": "… with an n-gram of phones", "word_lm": "words (WER): lexicon, 3-gram",
}  # fmt: skip
DRAWS = {"num_draws": 1000, "level": 0.95, "seed": 0}


def main(name: str, data: str, exp: str, out: str) -> int:
    """Write and print."""
    left_out, found = name.split("+"), {}
    for folder in sorted(path for path in (Path(exp) / "texts" / name).iterdir() if path.is_dir()):
        known = folder.name in left_out
        found[folder.name] = errors_of(folder, Path(data), list(SYSTEMS) if known else ["greedy"])
    row = {"recognizer": name, "left_out": left_out, **DRAWS, "languages": found}
    write_lines(Path(out), [json.dumps(row, indent=1, ensure_ascii=False)])
    for language in left_out:
        print(f"\n{language} left out\n\n| | PER | sub. | del. | ins. | more than by features |")
        print("|---|---:|---:|---:|---:|---:|")
        for system, score in found[language].items():
            print(f"| {SYSTEMS[system]} | {' | '.join(cells(score))} |")
    heard = {language: scores["greedy"] for language, scores in found.items() if language not in left_out}
    print("\nheard in training\n\n| | PER | sub. | del. | ins. |\n|---|---:|---:|---:|---:|")
    for language, score in heard.items():
        print(f"| {language} | {' | '.join(cells(score)[:-1])} |")
    if heard:
        print(f"| mean | {100 * statistics.mean(score['rate'] for score in heard.values()):.1f} | | | |")
    return 0


def errors_of(folder: Path, data: Path, systems: list[str]) -> dict[str, dict]:
    """Scores of each system of a language."""
    files = defaultdict(list)
    for path in sorted(folder.iterdir()):
        files[path.name.split(".")[0]].append(path)
    phones = read_unique(data / "phones" / folder.name / "test" / "text")
    best = counts(files["features"], phones) if files["features"] else None
    scores = {}
    for system in systems:
        if not files[system]:
            continue
        if system == "word_lm":
            rules = TextRules("lower", "remove")
            captions = read_unique(data / "captions" / folder.name / "test" / "text")
            scores[system] = score(counts(files[system], {name: rules(captions[name]) for name in phones}), None)
        else:
            scores[system] = score(counts(files[system], phones), best)
    return scores


def counts(paths: list[Path], wanted: dict[str, str]) -> list[list[EditCounts]]:
    """Of each file and utterance."""
    written = [read_unique(path, empty_ok=True) for path in paths]
    return [
        [count_edits(text.split(), texts.get(name, "").split()) for name, text in wanted.items()] for texts in written
    ]


def score(own: list[list[EditCounts]], best: list[list[EditCounts]] | None) -> dict:
    """Sums over seeds, so that a rate is their mean; beside the one of the best system."""
    errors = np.array([[c.errors for c in row] for row in own], np.int64).sum(0)
    lengths = len(own) * np.array([c.reference for c in own[0]], np.int64)
    total = sum((c for row in own for c in row), EditCounts())
    found = bootstrap(Quotient(errors, lengths), **DRAWS)
    result = {"rate": total.rate, "low": found.low, "high": found.high, "seeds": len(own), "utterances": len(own[0]),
              "reference": total.reference // len(own),
              "substitutions": total.substitutions / total.reference, "deletions": total.deletions / total.reference,
              "insertions": total.insertions / total.reference,
              "rates": [sum(row, EditCounts()).rate for row in own]}  # fmt: skip
    if best is not None:
        others = len(own) * np.array([c.errors for c in best[0]], np.int64)
        apart = compare(Quotient(errors, lengths), Quotient(others, lengths), **DRAWS)
        result["difference"] = [apart.difference, apart.interval.low, apart.interval.high]
    return result


def cells(score: dict) -> list[str]:
    """Rate with its interval, kinds of errors, and the difference to the map by features."""
    kinds = [f"{100 * score[kind]:.1f}" for kind in ("substitutions", "deletions", "insertions")]
    apart = interval(*score["difference"]) if "difference" in score else ""
    return [interval(score["rate"], score["low"], score["high"]), *kinds, apart]


def interval(middle: float, low: float, high: float) -> str:
    """`12.3 [11.0, 13.6]`, of shares in percent."""
    return f"{100 * middle:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 5 else __doc__)

#!/usr/bin/env python3
"""A Markdown table from what `speechssl score utterances` and `score neighbours` wrote to SCORES/ROW.TASK.sSEED.json.

class_table.py SCORES "ROW ..." "TASK ..." "SEED ..."

A cell is the accuracy in percent, averaged over seeds, with the lowest and highest where they differ. TASK@GROUP: the
accuracy on one group of --by. Of folds: the mean over folds and, in parentheses, the lowest and the highest fold,
averaged over seeds. Below a row whose layers were also tried one by one (--each-layer): what each has alone, over all
utterances; `-` for groups. At the end: chance (always the most frequent label; `-` for groups, which may have one label
alone), and half the width of the widest 95 % interval (Wilson) of one run, `-` for folds, whose utterances are no
independent draws.
"""

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path


def main(scores: Path, rows: list[str], tasks: list[str], seeds: list[str]) -> int:
    """Print it."""
    print(f"| | {' | '.join(tasks)} |")
    print(f"|---|{'---:|' * len(tasks)}")
    found = {(row, task): read(scores, row, task, seeds) for row in rows for task in tasks}
    for row in rows:
        print(f"| {row} | {' | '.join(cell(found[row, task]) for task in tasks)} |")
        for layer in range(num_layers(found[row, task] for task in tasks)):
            print(f"| layer {layer} alone | {' | '.join(alone(found[row, task], layer) for task in tasks)} |")
    columns = {task: [one for row in rows for one in found[row, task]] for task in tasks}
    chance = ["-" if "@" in task else number(one["majority"] for one in columns[task]) for task in tasks]
    print(f"| chance | {' | '.join(chance)} |")
    print(f"| 95 %, at most ± | {' | '.join(interval(columns[task]) for task in tasks)} |")
    return 0


def read(scores: Path, row: str, task: str, seeds: list[str]) -> list[dict]:
    """The score of every seed."""
    name, _, group = task.partition("@")
    found = [json.loads((scores / f"{row}.{name}.s{seed}.json").read_text(encoding="utf-8")) for seed in seeds]
    return [one["by"][group] for one in found] if group else found


def cell(found: list[dict]) -> str:
    """What stands in the table of one row and task."""
    text = number(one.get("fold_mean", one["accuracy"]) for one in found)
    if "folds" not in found[0]:
        return text
    low, high = (statistics.fmean(f(one["folds"].values()) for one in found) for f in (min, max))
    return f"{text} ({100 * low:.1f} to {100 * high:.1f})"


def num_layers(scores: Iterable[list[dict]]) -> int:
    """How many were tried one by one; 0 where there is only one."""
    most = max((len(one.get("each_layer", ())) for own in scores for one in own), default=0)
    return most if most > 1 else 0


def alone(found: list[dict], layer: int) -> str:
    """What stands in the table of a layer alone."""
    if not all(layer < len(one.get("each_layer", ())) for one in found):
        return "-"
    return number(one["each_layer"][layer] for one in found)


def number(shares) -> str:  # type: ignore[no-untyped-def]
    """Percent: mean, and lowest and highest where they differ."""
    values = list(shares)
    low, mean, high = (f"{100 * f(values):.1f}" for f in (min, statistics.fmean, max))
    return mean if low == high else f"{mean} [{low}, {high}]"


def interval(found: list[dict]) -> str:
    """Half the widest interval."""
    if "folds" in found[0]:
        return "-"
    return f"{100 * max((one['interval'][1] - one['interval'][0]) / 2 for one in found):.1f}"


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), *(argument.split() for argument in sys.argv[2:])))

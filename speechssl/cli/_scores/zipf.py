"""How often which units and strings of units come. `speechssl score zipf UNITS`.

UNITS is an output folder of `speechssl units`, or a file of units; runs of one unit are merged, unless --keep-runs is
given (as for the text of `speechssl pieces encode`, where a piece may follow itself). Printed for units and strings of
2, 3, ... units: tokens, types, those that come once (hapaxes), the fewest types that make up half of the tokens; the
entropy of a string and that of its last unit where the others are known, in bits; the exponent of Zipf's law over the
ranks that occur, by maximum likelihood, its standard error, and how far the law is from the counts (the largest
difference of both distribution functions).

--json and -o have counts by rank, too: all of units, and of strings some ranks evenly spaced in their logarithm.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechssl.metrics.ngrams import NgramCounts

SUMMARY = "how often which units and strings of units come: Zipf's exponent, entropies"
_RANKS = 200  # of strings, in the JSON object


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`UNITS`."""
    parser.add_argument("units", metavar="UNITS", help="output folder of `speechssl units`, or a file of units")
    parser.add_argument("--orders", type=int, default=3, metavar="N", help="strings of up to N units (default 3)")
    parser.add_argument("--keep-runs", action="store_true", help="units frame by frame, or pieces: merge no runs")
    parser.add_argument("--num-units", type=int, metavar="V", help="codebook size, for files that do not say")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Count, fit, print."""
    from speechssl.cli._scores._input import open_units
    from speechssl.cli._scores._output import deliver
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.ngrams import NgramCounts
    from speechssl.metrics.units import deduplicate

    if args.orders < 1:
        raise ConfigError(f"--orders {args.orders}: strings have at least one unit")
    num_units, _, utterances = open_units(Path(args.units), args.num_units, None, any_rate=True)
    orders = [NgramCounts(order, num_units) for order in range(1, args.orders + 1)]
    for _, units in utterances:
        kept = units if args.keep_runs else deduplicate(units)
        for counts in orders:
            counts.add(kept)
    if not orders[0].counts()[1].size:
        raise DataError(f"nothing to score: no units in {orders[0].utterances} utterances")
    row = {"utterances": orders[0].utterances, "num_units": num_units, "runs_merged": not args.keep_runs,
           "orders": [_row(counts, args.keep_runs) for counts in orders]}  # fmt: skip
    deliver(row, args, _lines(row), of=[args.units])
    return 0


def _row(counts: "NgramCounts", runs: bool) -> dict[str, Any]:
    import dataclasses

    import numpy as np

    from speechssl.cli._scores._output import defined
    from speechssl.metrics.zipf import fit_zipf

    ranked = np.sort(counts.counts()[1])[::-1]
    fit = fit_zipf(ranked)
    ranks = np.arange(len(ranked))
    if counts.order > 1 and len(ranked) > _RANKS:
        ranks = np.unique(np.geomspace(1, len(ranked), _RANKS).round().astype(np.int64)) - 1
    return {
        **defined(dataclasses.asdict(counts.scores(runs=runs))),
        **defined({"exponent": fit.exponent, "standard_error": fit.standard_error, "distance": fit.distance}),
        "ranks": (ranks + 1).tolist(), "counts": ranked[ranks].tolist(),
    }  # fmt: skip


def _lines(row: dict[str, Any]) -> list[str]:
    names = {"tokens": ("tokens", "d"), "types": ("types", "d"), "hapaxes": ("hapaxes", "d"),
             "type_token_ratio": ("types/tokens", ".6f"), "types_of_half": ("types of half", "d"),
             "entropy": ("entropy", ".4f"), "conditional_entropy": ("conditional", ".4f"),
             "exponent": ("exponent", ".4f"), "standard_error": ("its error", ".4f"),
             "distance": ("distance", ".4f")}  # fmt: skip
    lines = [f"{'units':14}" + "".join(f"{order['order']:>12}" for order in row["orders"])]
    for key, (name, form) in names.items():
        cells = ("undefined" if order[key] is None else format(order[key], form) for order in row["orders"])
        lines.append(f"{name:14}" + "".join(f"{cell:>12}" for cell in cells))
    merged = "runs of one unit merged" if row["runs_merged"] else "as they stand"
    lines.append(
        f"{row['orders'][0]['types']} of {row['num_units']} units, {merged}, in {row['utterances']} utterances"
    )
    return lines

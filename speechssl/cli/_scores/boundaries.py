"""Where units change against where phones do. `speechssl score boundaries UNITS --phones FILE`.

UNITS and FILE are those of `speechssl score units`. A boundary of the units is right if one of the phones' lies within
--tolerance, each matched once; the beginning and the end of a recording are no boundaries.
Printed: precision, recall, F1, over-segmentation (boundaries found over boundaries there, less 1), and the R-value,
which is 1 where all is right and falls where there are too many.
"""

import argparse
from pathlib import Path
from typing import Any

SUMMARY = "where units change against where phones do: F1, R-value"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`UNITS --phones FILE`."""
    from speechssl.cli._scores._input import add_phone_arguments

    parser.add_argument("units", metavar="UNITS", help="output folder of `speechssl units`, or a file of units")
    parser.add_argument("--tolerance", type=float, default=0.02, metavar="S", help="seconds (default 0.02)")
    add_phone_arguments(parser, required=True)


def run(args: argparse.Namespace) -> int:
    """Match, count, print."""
    from speechssl.cli._scores._output import deliver

    row = boundaries(args)
    deliver(row, args, _lines(row), of=[args.units])
    return 1 if (row["without_alignment"] or row["without_units"]) and not args.allow_missing else 0


def boundaries(args: argparse.Namespace) -> dict[str, Any]:
    """What is printed and stored; None for what is undefined."""
    import dataclasses

    from speechssl.cli._scores._input import open_units
    from speechssl.cli._scores._output import defined
    from speechssl.errors import DataError
    from speechssl.metrics.alignments import read_alignments
    from speechssl.metrics.boundaries import BoundaryCounts
    from speechssl.metrics.unit_report import check_clocks

    _, unit_rate, utterances = open_units(Path(args.units), args.num_units, args.unit_rate)
    alignments = read_alignments(args.phones, kind=args.phones_format, rate_hz=args.phone_rate, tier=args.tier)
    counts = BoundaryCounts(unit_rate=unit_rate, tolerance_s=args.tolerance, shift_s=args.phone_shift)
    seen, without, label_s = set(), [], 0.0
    for name, units in utterances:
        seen.add(name)
        if name not in alignments:
            without.append(name)
            continue
        times = alignments.boundaries(name)
        label_s += times[-1] if len(times) else 0.0
        counts.add(units, times)
    if not counts.utterances:
        raise DataError(f"nothing to score: {len(seen)} utterances with units, {len(alignments)} with an alignment, "
                        "none with both")  # fmt: skip
    check_clocks(counts.seconds, label_s, unit_rate, args.phone_rate, alignments.rate_hz is None)
    without_units = [name for name in alignments if name not in seen]
    return {
        **defined(dataclasses.asdict(counts.scores())),
        "phone_shift_s": args.phone_shift, "without_alignment": len(without), "without_units": len(without_units),
        "examples_without": [*without[:3], *without_units[:3]],
    }  # fmt: skip


def _lines(row: dict[str, Any]) -> list[str]:
    names = {"precision": "precision", "recall": "recall", "f1": "F1", "over_segmentation": "over-segmentation",
             "r_value": "R-value"}  # fmt: skip
    lines = [f"{text:18} {'undefined' if row[key] is None else format(row[key], '.4f')}" for key, text in names.items()]
    lines.append(f"{'boundaries':18} {row['found']} found, {row['reference']} there, {row['hits']} match within "
                 f"{row['tolerance_s']:g} s, in {row['utterances']} utterances")  # fmt: skip
    if row["examples_without"]:
        lines.append(f"{'not scored':18} {row['without_alignment']} utterances without an alignment, "
                     f"{row['without_units']} alignments without units, for example "
                     f"{', '.join(row['examples_without'])}")  # fmt: skip
    return lines

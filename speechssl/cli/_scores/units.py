"""Measure units. `speechssl score units UNITS --phones FILE` compares discrete units with phone alignments.

UNITS is an output folder of `speechssl units`, or a file of units: jsonl, or text `id unit unit ...`. FILE holds phone
alignments: jsonl or text with one label per frame, TSV `utt start_s end_s label`, Kaldi ctm, or a folder of TextGrids.
Printed: PNMI, phone purity, cluster purity (silence counts as a class), perplexity, active codes, bitrate = log2(V) x
rate of deduplicated units, entropy bitrate. Without --phones only what needs none.

Everything is measured over the utterances that have both units and an alignment. Others are counted and reported, and
the exit code is 1, unless --allow-missing says that this is expected.
"""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechssl.metrics.unit_report import UnitReport

SUMMARY = "discrete units, against phones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`UNITS [--phones FILE]`."""
    from speechssl.cli._scores._input import add_phone_arguments

    parser.add_argument("units", metavar="UNITS", help="output folder of `speechssl units`, or a file of units")
    add_phone_arguments(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    from pathlib import Path

    from speechssl.cli._scores._input import open_units
    from speechssl.cli._scores._output import deliver
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.alignments import read_alignments
    from speechssl.metrics.unit_report import score_corpus

    if args.phones is None and (args.phone_shift or args.tier or args.phones_format != "auto"):
        raise ConfigError("--phone-shift, --tier and --phones-format have no effect without --phones")
    num_units, unit_rate, utterances = open_units(Path(args.units), args.num_units, args.unit_rate)
    alignments = None
    if args.phones is not None:
        alignments = read_alignments(args.phones, kind=args.phones_format, rate_hz=args.phone_rate, tier=args.tier)
    report = score_corpus(utterances, alignments, num_units=num_units, unit_rate=unit_rate,
                          label_rate=args.phone_rate, label_shift_s=args.phone_shift)  # fmt: skip
    if not report.scores.utterances:
        found = f"{len(report.without_alignment)} utterances with units, {len(alignments or ())} with an alignment"
        raise DataError(f"nothing to score: {found}, none with both" if alignments else "nothing to score: no units")
    row = _row(report, args.phones is not None, args.phone_shift)
    deliver(row, args, _lines(row), of=[args.units])
    missing = report.without_alignment or report.without_units
    return 1 if missing and not args.allow_missing else 0


def _row(report: "UnitReport", with_phones: bool, shift_s: float) -> dict[str, Any]:
    """What is printed and stored; None for what is undefined, as JSON has no nan."""
    import dataclasses

    from speechssl.cli._scores._output import defined

    row = defined(dataclasses.asdict(report.scores))
    if with_phones:
        row |= {
            "phone_shift_s": shift_s,
            "without_alignment": len(report.without_alignment),
            "without_units": len(report.without_units),
            "examples_without": [*report.without_alignment[:3], *report.without_units[:3]],
            "largest_difference_s": round(report.largest_difference_s, 4),
            "largest_difference_in": report.largest_difference_in,
        }
    return row


def _lines(row: dict[str, Any]) -> list[str]:
    def number(key: str, decimals: int) -> str:
        return "undefined" if row[key] is None else f"{row[key]:.{decimals}f}"

    lines = [
        f"PNMI             {number('pnmi', 6)}",
        f"phone purity     {number('phone_purity', 6)}",
        f"cluster purity   {number('cluster_purity', 6)}",
        f"phone classes    {row['num_phones']}",
    ]
    lines = (lines if "without_units" in row else []) + [
        f"perplexity       {number('perplexity', 4)}",
        f"active codes     {row['active_codes']} of {row['num_units']}",
        f"bitrate          {number('bitrate', 6)} bit/s = log2({row['num_units']}) x {number('unit_rate', 4)} units/s",
        f"entropy bitrate  {number('entropy_bitrate', 6)} bit/s",
        f"over             {row['utterances']} utterances, {row['seconds']:.1f} s of units"
        + (f", {row['labelled_seconds']:.1f} s labelled" if "without_units" in row else ""),
    ]
    if row.get("without_alignment") or row.get("without_units"):
        lines.append(
            f"not scored       {row['without_alignment']} utterances without an alignment, {row['without_units']} "
            f"alignments without units, for example {', '.join(row['examples_without'])}"
        )
    if row.get("largest_difference_s"):
        lines.append(f"lengths          units and labels end up to {row['largest_difference_s']:.3f} s apart "
                     f"({row['largest_difference_in']})")  # fmt: skip
    return lines

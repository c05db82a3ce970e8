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

from speechssl.cli import (
    _score_abx,
    _score_attention,
    _score_boundaries,
    _score_durations,
    _score_edits,
    _score_layers,
    _score_neighbours,
    _score_probe,
    _score_sharing,
    _score_similarity,
    _score_utterances,
    _score_zipf,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from speechssl.metrics.unit_report import UnitReport

SUMMARY = (
    "measure units and features: PNMI, purities, bitrate, boundaries, durations, Zipf's law, edits, ABX, probes, "
    "neighbours, likeness of layers"
)
_OTHERS: dict[str, Any] = {  # kind: module
    "abx": _score_abx, "attention": _score_attention, "boundaries": _score_boundaries,
    "durations": _score_durations, "edits": _score_edits, "layers": _score_layers, "neighbours": _score_neighbours,
    "probe": _score_probe, "sharing": _score_sharing, "similarity": _score_similarity, "utterances": _score_utterances,
    "zipf": _score_zipf,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`units UNITS [--phones FILE]`; other kinds of scores become other subcommands."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    units = kinds.add_parser("units", help="discrete units, against phones", description=__doc__,
                             formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    units.add_argument("units", metavar="UNITS", help="output folder of `speechssl units`, or a file of units")
    add_phone_arguments(units, required=False)
    for name, module in _OTHERS.items():
        other = kinds.add_parser(name, help=module.SUMMARY, description=module.__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        module.add_arguments(other)


def add_phone_arguments(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """What says where phones are, how units are read, and where the score goes."""
    parser.add_argument("--phones", metavar="FILE", required=required, help="phone alignments of the same utterances")
    parser.add_argument("--phones-format", default="auto", metavar="NAME",
                        help="jsonl, frames, tsv, ctm or textgrid (default: from name and content)")  # fmt: skip
    parser.add_argument("--phone-rate", type=float, default=100.0, metavar="HZ",
                        help="rate at which labels are compared; that of per-frame labels (default 100)")  # fmt: skip
    parser.add_argument("--phone-shift", type=float, default=0.0, metavar="S",
                        help="move every label by so many seconds, negative: earlier (default 0)")  # fmt: skip
    parser.add_argument("--tier", default="", help="tier of the TextGrids (default: phones, or the only one)")
    parser.add_argument("--allow-missing", action="store_true",
                        help="utterances without an alignment, or without units, are expected")  # fmt: skip
    parser.add_argument("--num-units", type=int, metavar="V", help="codebook size, for files that do not say")
    parser.add_argument("--unit-rate", type=float, metavar="HZ", help="unit rate, for files that do not say")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    if args.kind in _OTHERS:
        return int(_OTHERS[args.kind].run(args))
    from pathlib import Path

    from speechssl.cli._score_output import deliver
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
    deliver(row, args, _lines(row))
    missing = report.without_alignment or report.without_units
    return 1 if missing and not args.allow_missing else 0


def open_units(
    path: Any, num_units: int | None, unit_rate: float | None, *, any_rate: bool = False
) -> "tuple[int, float, Iterator[tuple[str, np.ndarray]]]":
    """Codebook size, rate and units frame by frame of an output folder or a file; any_rate: nobody will ask for it."""
    from speechssl.errors import ConfigError, DataError
    from speechssl.extract import job as jobs
    from speechssl.extract.outputs import read_units
    from speechssl.metrics.unit_files import read_unit_file

    if not path.is_dir():
        size, rate, rows = read_unit_file(path, num_units=num_units, unit_rate=unit_rate, any_rate=any_rate)
        return size, rate, _each_once(path, rows)
    if num_units is not None or unit_rate is not None:
        raise ConfigError("--num-units and --unit-rate have no effect on an output folder, which knows both")
    model = jobs.load(path).model
    if not (path / "sha256sums").exists():
        raise DataError(f"{path}: not finished; give the same `speechssl units` command again to go on")
    return model.num_units or 0, model.rate_hz, ((name, units.frames()) for name, units in read_units(path))


def _each_once(path: Any, utterances: "Iterator[tuple[str, np.ndarray]]") -> "Iterator[tuple[str, np.ndarray]]":
    from speechssl.errors import DataError

    seen = set()
    for name, units in utterances:
        if name in seen:
            raise DataError(f"{path}: units of utterance {name!r} for the second time")
        seen.add(name)
        yield name, units


def _row(report: "UnitReport", with_phones: bool, shift_s: float) -> dict[str, Any]:
    """What is printed and stored; None for what is undefined, as JSON has no nan."""
    import dataclasses

    from speechssl.cli._score_output import defined

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

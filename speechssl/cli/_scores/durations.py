"""How long units last, and phones beside them. `speechssl score durations UNITS [--phones FILE]`.

UNITS and FILE are those of `speechssl score units`. A unit lasts as many frames as it comes in a row.
Printed: mean, standard deviation and quantiles in ms, the share of runs of a single frame, how many runs there are of
1, 2, ... frames; with --phones the same of the segments of the alignment, and units per phone, over the utterances that
have both. --json and -o have every unit and every label by itself, too. Silence counts as a phone where it has a label.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from speechssl.metrics.alignments import Alignments
    from speechssl.metrics.durations import Durations, RunLengths

SUMMARY = "how long units last, and phones beside them"
_SHOWN = 10  # lengths of the histogram


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`UNITS [--phones FILE]`."""
    from speechssl.cli._scores._input import add_phone_arguments

    parser.add_argument("units", metavar="UNITS", help="output folder of `speechssl units`, or a file of units")
    add_phone_arguments(parser, required=False, shift=False)


def run(args: argparse.Namespace) -> int:
    """Count, describe, print."""
    from speechssl.cli._scores._input import open_units
    from speechssl.cli._scores._output import deliver
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.alignments import read_alignments
    from speechssl.metrics.durations import RunLengths

    if args.phones is None and (args.tier or args.phones_format != "auto"):
        raise ConfigError("--tier and --phones-format have no effect without --phones")
    num_units, unit_rate, utterances = open_units(Path(args.units), args.num_units, args.unit_rate)
    alignments = None
    if args.phones is not None:
        alignments = read_alignments(args.phones, kind=args.phones_format, rate_hz=args.phone_rate, tier=args.tier)
    runs, names, without = RunLengths(num_units, unit_rate=unit_rate), [], []
    for name, units in utterances:
        if alignments is not None and name not in alignments:
            without.append(name)
            continue
        names.append(name)
        runs.add(units)
    if not names:
        raise DataError("nothing to score: no utterance has units" + (" and an alignment" if alignments else ""))
    row = _units(runs)
    if alignments is not None:
        seen = {*names, *without}
        row |= _phones(alignments, names, row["units"]["count"])
        row |= _missing(without, [name for name in alignments if name not in seen])
    deliver(row, args, _lines(row), of=[args.units])
    return 1 if (row.get("without_alignment") or row.get("without_units")) and not args.allow_missing else 0


def _units(runs: "RunLengths") -> dict[str, Any]:
    from speechssl.cli._scores._output import defined
    from speechssl.metrics.durations import one_frame_share

    def told(lengths: "np.ndarray", counts: "np.ndarray") -> dict[str, Any]:
        return {**_row(runs.describe(lengths, counts)), **defined({"one_frame": one_frame_share(lengths, counts)})}

    lengths, counts = runs.histogram()
    return {
        "unit_rate": runs.unit_rate,
        "utterances": runs.utterances,
        "units": told(lengths, counts),
        "frames": dict(zip(map(str, lengths.tolist()), counts.tolist(), strict=True)),
        "by_unit": {str(unit): told(*histogram) for unit, histogram in runs.units().items()},
    }


def _phones(alignments: "Alignments", names: list[str], num_runs: int) -> dict[str, Any]:
    """Segments without length stand in the alignment and are nowhere: they are counted, and left out."""
    import numpy as np

    from speechssl.metrics.durations import describe, phone_durations

    def told(values: "np.ndarray") -> dict[str, Any]:
        return _row(describe(np.sort(values), np.ones(len(values), np.int64)))

    by_label = phone_durations(alignments, names)
    every = np.concatenate([np.zeros(0), *by_label.values()])
    phones = told(every[every > 0])
    return {
        "phones": phones,
        "by_phone": {label: told(values[values > 0]) for label, values in sorted(by_label.items())},
        "phones_without_length": int((every <= 0).sum()),
        "units_per_phone": num_runs / phones["count"] if phones["count"] else None,
    }


def _missing(without: list[str], without_units: list[str]) -> dict[str, Any]:
    return {"without_alignment": len(without), "without_units": len(without_units),
            "examples_without": [*without[:3], *without_units[:3]]}  # fmt: skip


def _row(found: "Durations") -> dict[str, Any]:
    import dataclasses

    from speechssl.cli._scores._output import defined

    rounded = {key: value if isinstance(value, int) else round(value, 6)
               for key, value in dataclasses.asdict(found).items()}  # fmt: skip
    return defined(rounded)


def _lines(row: dict[str, Any]) -> list[str]:
    columns = [row["units"], *([row["phones"]] if "phones" in row else [])]
    names = {"count": "count", "mean_ms": "mean", "deviation_ms": "deviation", "p5_ms": "5 %", "p25_ms": "25 %",
             "median_ms": "median", "p75_ms": "75 %", "p95_ms": "95 %", "longest_ms": "longest"}  # fmt: skip
    lines = [f"{'ms':12}" + "".join(f"{name:>12}" for name in ("units", "phones")[: len(columns)])]
    for key, text in names.items():
        cells = ("undefined" if c[key] is None else c[key] if key == "count" else f"{c[key]:.1f}" for c in columns)
        lines.append(f"{text:12}" + "".join(f"{cell:>12}" for cell in cells))
    if row.get("units_per_phone") is not None:
        lines.append(f"{'units/phone':12}{row['units_per_phone']:12.4f}")
    lines += ["", f"{'frames':12}{'units':>12}{'share':>12}", *_histogram(row)]
    lines.append(f"over {row['utterances']} utterances, frames of {1000 / row['unit_rate']:g} ms")
    if row.get("phones_without_length"):
        lines.append(f"not counted: {row['phones_without_length']} phones without length")
    if row.get("without_alignment") or row.get("without_units"):
        lines.append(f"not scored: {row['without_alignment']} utterances without an alignment, {row['without_units']} "
                     f"alignments without units, for example {', '.join(row['examples_without'])}")  # fmt: skip
    return lines


def _histogram(row: dict[str, Any]) -> Iterator[str]:
    counts = {int(length): count for length, count in row["frames"].items()}
    total = row["units"]["count"]
    shown = {str(length): counts.get(length, 0) for length in range(1, min(_SHOWN, max(counts, default=0)) + 1)}
    if more := sum(count for length, count in counts.items() if length > _SHOWN):
        shown["more"] = more
    for name, count in shown.items():
        yield f"{name:12}{count:12}{100 * count / total:10.2f} %"

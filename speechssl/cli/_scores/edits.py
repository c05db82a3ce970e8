"""How much units change when the recording does. `speechssl score edits CLEAN CHANGED`.

Both are output folders of `speechssl units`, or files of units, by the same unit model: CLEAN of recordings, CHANGED of
the same ones stretched, shifted in pitch, reverberated or noisy, under the same ids; or of two speakers who say the
same, of whom CLEAN is the reference. Units of a normaliser are compared with those of its reference's unit model.
Printed: the unit edit distance of arXiv:2209.15483 (edits between deduplicated units over frames, averaged over
recordings; undefined where CLEAN is a normaliser's, whose units have no frames), and the unit error rate (all edits
over all deduplicated units) with an interval of the bootstrap over utterances.
"""

import argparse
from pathlib import Path
from typing import Any

from speechssl.cli._scores._intervals import add_drawing

SUMMARY = "how much units change when the recording does: unit edit distance"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`CLEAN CHANGED`."""
    parser.add_argument("clean", metavar="CLEAN", help="output folder of `speechssl units`, or a file of units")
    parser.add_argument("changed", metavar="CHANGED", help="the same of changed recordings")
    parser.add_argument("--allow-missing", action="store_true", help="utterances that one side lacks are expected")
    parser.add_argument("--num-units", type=int, metavar="V", help="codebook size, for files that do not say")
    add_drawing(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from speechssl.cli._scores._output import deliver

    row = edits(
        Path(args.clean), Path(args.changed), args.num_units, draws=args.draws, level=args.level, seed=args.seed
    )
    deliver(row, args, _lines(row), of=[args.clean, args.changed])
    return 1 if (row["clean_only"] or row["changed_only"]) and not args.allow_missing else 0


def edits(
    clean: Path, changed: Path, num_units: int | None, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """What is printed and stored; None for what is undefined."""
    import dataclasses
    import math

    from speechssl.cli._scores._input import open_units
    from speechssl.cli._scores._output import defined
    from speechssl.errors import DataError
    from speechssl.extract import job as jobs
    from speechssl.metrics.bootstrap import Quotient, bootstrap
    from speechssl.metrics.edits import EditCounts

    size, _, utterances = open_units(clean, num_units, None, any_rate=True, reduced=True)
    other_size, _, other_utterances = open_units(changed, num_units, None, any_rate=True, reduced=True)
    models = {jobs.load(path).model.unit_model for path in (clean, changed) if path.is_dir()}
    if size != other_size or len(models) > 1:
        raise DataError(f"{clean} and {changed} have units of different models: their numbers mean different things")
    units = dict(utterances)
    counts, compared, changed_only = EditCounts(), set(), []
    for name, other in other_utterances:
        if name in units:
            compared.add(name)
            counts.add(units[name], other)
        else:
            changed_only.append(name)
    if not counts.units:
        raise DataError(f"nothing to compare: {clean} has {len(units)} utterances, none with frames is in {changed}")
    scores = counts.scores()
    if clean.is_dir() and jobs.load(clean).model.reduced:
        scores = dataclasses.replace(scores, ued=math.nan)
    found = bootstrap(Quotient(counts.edits, counts.units), num_draws=draws, level=level, seed=seed)
    clean_only = [name for name in units if name not in compared]
    return {
        **defined({**dataclasses.asdict(scores), "low": found.low, "high": found.high}),
        "num_units": size, "clean_only": len(clean_only), "changed_only": len(changed_only),
        "examples_without": [*clean_only[:3], *changed_only[:3]],
    }  # fmt: skip


def _lines(row: dict[str, Any]) -> list[str]:
    ued = "undefined" if row["ued"] is None else f"{row['ued']:.4f} of the frames"
    lines = [
        f"unit edit distance  {ued}",
        f"unit error rate     {row['unit_error_rate']:.4f} [{row['low']:.4f}, {row['high']:.4f}]",
        f"over                {row['utterances']} utterances, {row['edits']} edits of {row['units']} units",
    ]
    if row["examples_without"]:
        lines.append(f"not compared        {row['clean_only']} in the first only, {row['changed_only']} in the second "
                     f"only, for example {', '.join(row['examples_without'])}")  # fmt: skip
    return lines

"""How much languages share a codebook. `speechssl score sharing UNITS --groups utt2lang`, XLSR's analysis.

UNITS is an output folder of `speechssl units`, or a file of units. FILE says each utterance's language, or whatever
else is to be compared (speakers, corpora): lines `utterance group`, as Kaldi's utt2lang and utt2spk.
Printed: for each group its frames and the codes that it uses; the similarity of each two, 1 less the Jensen-Shannon
divergence of their codes in bits (1: the same use of codes, 0: none in common); how many codes are used by one group
alone, by two, ...

Utterances without a group are counted and reported, and the exit code is 1, unless --allow-missing says that this is
expected.
"""

import argparse
from pathlib import Path
from typing import Any

SUMMARY = "how much languages, or other groups, share a codebook"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`UNITS --groups FILE`."""
    parser.add_argument("units", metavar="UNITS", help="output folder of `speechssl units`, or a file of units")
    parser.add_argument("--groups", metavar="FILE", required=True, help="lines `utterance group`: utt2lang, utt2spk")
    parser.add_argument("--allow-missing", action="store_true", help="utterances without a group are expected")
    parser.add_argument("--num-units", type=int, metavar="V", help="codebook size, for files that do not say")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Count, compare, print."""
    from speechssl.cli._scores._output import deliver

    row = sharing(Path(args.units), Path(args.groups), args.num_units)
    deliver(row, args, _lines(row), of=[args.units])
    return 1 if row["without_group"] and not args.allow_missing else 0


def sharing(path: Path, groups: Path, num_units: int | None) -> dict[str, Any]:
    """What is printed and stored."""
    from speechssl.cli._scores._input import open_units, read_groups
    from speechssl.errors import DataError
    from speechssl.metrics.code_sharing import CodeUsage

    group_of = read_groups(groups)
    size, _, utterances = open_units(path, num_units, None, any_rate=True)
    usage, without = CodeUsage((size,)), []
    for name, units in utterances:
        if name in group_of:
            usage.add(group_of[name], units)
        else:
            without.append(name)
    if not usage.languages:
        raise DataError(f"{groups}: has the group of none of the {len(without)} utterances with units")
    counts = [usage.counts[name] for name in usage.languages]
    return {
        "num_units": size,
        "groups": usage.languages,
        "frames": [int(row.sum()) for row in counts],
        "codes": [int((row > 0).sum()) for row in counts],
        "similarity": [[round(value, 6) for value in row] for row in usage.similarity().tolist()],
        "codes_by_users": usage.spread().tolist(),
        "without_group": len(without),
        "examples_without": without[:3],
    }


def _lines(row: dict[str, Any]) -> list[str]:
    names = row["groups"]
    width = max(8, *(len(name) for name in names))
    lines = [f"{'group':{width}}  {'frames':>10}  codes of {row['num_units']}"]
    for name, frames, codes in zip(names, row["frames"], row["codes"], strict=True):
        lines.append(f"{name:{width}}  {frames:10}  {codes}")
    lines += ["", "similarity", " " * width + "".join(f"  {name:>{width}}" for name in names)]
    for name, values in zip(names, row["similarity"], strict=True):
        lines.append(f"{name:{width}}" + "".join(f"  {value:{width}.4f}" for value in values))
    lines.append("")
    for count, codes in enumerate(row["codes_by_users"], start=1):
        lines.append(f"used by {count:3} group{'s' if count > 1 else ' '}  {codes} codes")
    if row["without_group"]:
        lines.append(f"not counted        {row['without_group']} utterances without a group, for example "
                     f"{', '.join(row['examples_without'])}")  # fmt: skip
    return lines

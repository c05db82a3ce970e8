"""BLEU and chrF of translations. `speechssl score bleu HYP REF`.

HYP and REF are files of lines `id word word ...` (`text` of speechssl translate or transcribe, Kaldi's `text`), or with
--units of lines `id 17 4 ...`, or output folders of `speechssl units`; runs of one unit are merged on both sides.
Computed by sacrebleu, whose signatures are printed along: texts with its tokenizer 13a, units as they are (unit-BLEU;
of units there is no chrF). Both sides are brought to Unicode's composed form, single spaces and what --case,
--punctuation and --numbers ask for. ASR-BLEU: HYP is what `speechssl transcribe` heard in translated speech. Intervals:
percentiles of a bootstrap over utterances.

Utterances that HYP lacks count as empty, and are reported; those that REF lacks are reported and not scored.
exit code: 0 all scored, 1 one side lacks some, unless --allow-missing; 2 nothing scored. Needs sacrebleu.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

SUMMARY = "BLEU and chrF of translated text or units, with signatures and confidence intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`HYP REF`."""
    parser.add_argument("hypotheses", metavar="HYP", help="what was translated: lines `id word word ...`, or units")
    parser.add_argument("references", metavar="REF", help="what is right: the same of the same utterances")
    parser.add_argument("--units", action="store_true", help="both are units")
    parser.add_argument("--case", choices=("keep", "lower"), default="keep", help="default: keep")
    parser.add_argument("--punctuation", choices=("keep", "remove", "all"), default="keep",
                        help="remove: all but apostrophes within words; all: those, too (default keep)")  # fmt: skip
    parser.add_argument("--numbers", choices=("keep", "english"), default="keep",
                        help="english: those in figures become English words (default keep)")  # fmt: skip
    parser.add_argument("--draws", type=int, default=1000, metavar="R", help="of the bootstrap (default 1000)")
    parser.add_argument("--allow-missing", action="store_true", help="utterances that one side lacks are expected")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from speechssl.cli._scores._output import deliver

    row = bleu(args)
    deliver(row, args, _lines(row))
    return 1 if (row["missing"] or row["extra"]) and not args.allow_missing else 0


def bleu(args: argparse.Namespace) -> dict[str, Any]:
    """What is printed and stored."""
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.text_rules import TextRules
    from speechssl.metrics.translation import score

    if args.draws < 2:
        raise ConfigError(f"--draws {args.draws}: an interval needs at least 2")
    if args.units and {args.case, args.punctuation, args.numbers} != {"keep"}:
        raise ConfigError("--case, --punctuation and --numbers have no effect on units")
    rules = TextRules(args.case, args.punctuation, args.numbers)
    sides = [_units(Path(path)) if args.units else _texts(Path(path), rules)
             for path in (args.hypotheses, args.references)]  # fmt: skip
    found, right = sides
    missing, extra = [n for n in right if n not in found], [n for n in found if n not in right]
    names = sorted(right)
    if len(missing) == len(names):
        raise DataError(f"nothing to score: no utterance of {args.references} is in {args.hypotheses} as well")
    scores = score([found.get(n, "") for n in names], [right[n] for n in names], units=args.units, draws=args.draws)
    return {**scores, "utterances": len(names), "empty": sum(not found.get(n) for n in names), "draws": args.draws,
            "missing": len(missing), "extra": len(extra), "examples_without": [*missing[:3], *extra[:3]],
            "rules": {"unicode": "NFC", **dataclasses.asdict(rules)}}  # fmt: skip


def _texts(path: Path, rules: Any) -> dict[str, str]:
    from speechssl.data.lines import read_unique

    return {name: rules(text) for name, text in read_unique(path, empty_ok=True).items()}


def _units(path: Path) -> dict[str, str]:
    from speechssl.data.sequences import read_units

    return {name: " ".join(map(str, units.tolist())) for name, units in read_units(path).of.items()}


def _lines(row: dict[str, Any]) -> list[str]:
    lines = []
    for name in ("bleu", "chrf"):
        if found := row.get(name):
            lines.append(f"{found['name']:5} {found['score']:.2f} [95 %: {found['low']:.2f}, {found['high']:.2f}]  "
                         f"{found['signature']}")  # fmt: skip
    if row["bleu"]["length_ratio"] is not None:
        lines.append(f"hypotheses over references in length: {row['bleu']['length_ratio']:.2f}")
    lines.append(f"{row['utterances']} utterances, {row['empty']} of them empty; both sides: "
                 + ", ".join(f"{key} {value}" for key, value in row["rules"].items()))  # fmt: skip
    if row["missing"] or row["extra"]:
        lines.append(f"without a hypothesis (counted as empty): {row['missing']}; without a reference (not scored): "
                     f"{row['extra']}; for example {', '.join(row['examples_without'])}")  # fmt: skip
    return lines

"""Word and character error rates of transcripts. `speechssl score wer HYP REF`.

HYP and REF are files of lines `id word word ...` (Kaldi's `text`). Both sides are brought to Unicode's composed form
(NFC) and single spaces, and to what --case and --punctuation ask for. Printed: WER and CER (spaces between words are
characters) with substitutions, deletions, insertions, a bootstrap interval over utterances (or --speakers), the
share of utterances with an error, the words of the worst utterances side by side; with --speakers rates of each; with
--other HYP2 the difference of both systems and its interval on the same draws.

Utterances that HYP lacks are reported and not scored, unless --count-missing says that all of their words are deleted.
Those that REF lacks, and ids that come twice in a file, are reported and not scored. An empty reference adds its
insertions to the errors. exit code: 0 all scored, 1 some not, unless --allow-missing; 2 nothing scored.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechssl.cli._scores._intervals import add_drawing, drawing

if TYPE_CHECKING:
    from speechssl.metrics.bootstrap import Quotient
    from speechssl.metrics.text_rules import TextRules
    from speechssl.metrics.word_errors import EditCounts

SUMMARY = "word and character error rates of transcripts, with confidence intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`HYP REF`."""
    parser.add_argument("hypotheses", metavar="HYP", help="what was recognised: lines `id word word ...`")
    parser.add_argument("references", metavar="REF", help="what was said: the same of the same utterances")
    parser.add_argument("--other", metavar="HYP2", help="what another system recognised, to compare")
    parser.add_argument("--speakers", metavar="FILE", help="lines `utterance speaker`: rates of each, too")
    parser.add_argument("--resample", choices=("utterances", "speakers"), default="utterances",
                        help="what the intervals draw (default utterances)")  # fmt: skip
    parser.add_argument("--case", choices=("keep", "lower"), default="keep", help="default: keep")
    parser.add_argument("--punctuation", choices=("keep", "remove"), default="keep",
                        help="remove: all but apostrophes within words (default keep)")  # fmt: skip
    add_drawing(parser)
    parser.add_argument("--worst", type=int, default=3, metavar="N",
                        help="utterances with the most errors to show (default 3)")  # fmt: skip
    parser.add_argument("--count-missing", action="store_true", help="utterances that HYP lacks are empty there")
    parser.add_argument("--allow-missing", action="store_true", help="utterances that one side lacks are expected")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from speechssl.cli._scores._output import deliver

    row, lines = wer(args)
    deliver(row, args, lines)
    return 1 if any(row["not_scored"].values()) and not args.allow_missing else 0


def wer(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """What is stored, and what is printed."""
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.text_rules import TextRules
    from speechssl.metrics.word_errors import align_words, count_edits

    if args.resample == "speakers" and not args.speakers:
        raise ConfigError("--resample speakers needs --speakers FILE")
    if args.worst < 0:
        raise ConfigError(f"--worst {args.worst}: a number of utterances")
    rules = TextRules(args.case, args.punctuation)
    texts, twice = _read(Path(args.references), rules)
    systems, missing = [], {"missing": [], "extra": [], "duplicate": twice}
    for path in (args.hypotheses, *([args.other] if args.other else [])):
        found, twice = _read(Path(path), rules)
        missing["duplicate"] += twice
        missing["extra"] += [name for name in found if name not in texts and name not in missing["duplicate"]]
        lacking = [name for name in texts if name not in found and name not in twice]
        if args.count_missing:
            found |= dict.fromkeys(lacking, "")
        else:
            missing["missing"] += lacking
        systems.append(found)
    names = [name for name in texts if all(name in system for system in systems)]
    if not names:
        raise DataError(f"nothing to score: no utterance of {args.references} is in {args.hypotheses} as well")
    speakers = _speakers(args.speakers, names)
    words = [[count_edits(texts[n].split(), system[n].split()) for n in names] for system in systems]
    characters = [[count_edits(texts[n], system[n]) for n in names] for system in systems]
    groups = speakers if args.resample == "speakers" else None
    row: dict[str, Any] = {
        "wer": _rate(words[0], args, groups), "cer": _rate(characters[0], args, groups),
        "utterances": len(names), "wrong_utterances": sum(c.errors > 0 for c in words[0]),
        "empty_references": sum(not texts[n] for n in names),
        "not_scored": {kind: len(set(found)) for kind, found in missing.items()},
        "examples": {kind: list(dict.fromkeys(found))[:3] for kind, found in missing.items()},
        "rules": {"unicode": "NFC", "case": args.case, "punctuation": args.punctuation},
        "draws": args.draws, "level": args.level, "seed": args.seed, "resampled": args.resample,
    }  # fmt: skip
    if args.other:
        row["other"] = {"wer": _rate(words[1], args, groups), "cer": _rate(characters[1], args, groups)}
        row["difference"] = {"wer": _difference(words, args, groups), "cer": _difference(characters, args, groups)}
    if speakers is not None:
        row["speakers"] = _by_speaker(speakers, words[0], characters[0])
    worst = sorted(range(len(names)), key=lambda i: (-words[0][i].errors, names[i]))[: args.worst]
    row["worst"] = [
        {"id": names[i], "errors": words[0][i].errors, "words": words[0][i].reference,
         "pairs": [list(pair) for pair in align_words(texts[names[i]].split(), systems[0][names[i]].split())]}
        for i in worst if words[0][i].errors
    ]  # fmt: skip
    return row, _lines(row)


def _read(path: Path, rules: "TextRules") -> tuple[dict[str, str], list[str]]:
    """Text of each utterance, and ids that come twice, which have none."""
    from speechssl.data.lines import read_table

    texts: dict[str, str] = {}
    twice: dict[str, None] = {}
    for _, name, text in read_table(path, empty_ok=True):
        if name in texts:
            twice[name] = None
        texts[name] = rules(text)
    return {name: text for name, text in texts.items() if name not in twice}, list(twice)


def _speakers(path: str | None, names: list[str]) -> list[str] | None:
    from speechssl.cli._scores._input import read_groups
    from speechssl.errors import DataError

    if not path:
        return None
    speaker_of = read_groups(Path(path))
    if lacking := [name for name in names if name not in speaker_of]:
        raise DataError(f"{path}: {len(lacking)} utterances without a speaker, for example {lacking[0]}")
    return [speaker_of[name] for name in names]


def _rate(counts: "list[EditCounts]", args: argparse.Namespace, groups: list[str] | None) -> dict[str, Any]:
    from speechssl.metrics.bootstrap import bootstrap

    found = bootstrap(_quotient(counts), **drawing(args), groups=groups)
    return _counts_row(counts) | _defined({"low": found.low, "high": found.high})


def _difference(
    systems: "list[list[EditCounts]]", args: argparse.Namespace, groups: list[str] | None
) -> dict[str, Any]:
    from speechssl.metrics.bootstrap import compare

    one, other = map(_quotient, systems)
    found = compare(one, other, **drawing(args), groups=groups)
    return _defined({"difference": found.difference, "low": found.interval.low, "high": found.interval.high,
                     "share_better": found.share_below})  # fmt: skip


def _quotient(counts: "list[EditCounts]") -> "Quotient":
    from speechssl.metrics.bootstrap import Quotient

    return Quotient([c.errors for c in counts], [c.reference for c in counts])


def _counts_row(counts: "list[EditCounts]") -> dict[str, Any]:
    from speechssl.metrics.word_errors import EditCounts

    total = sum(counts, EditCounts())
    return _defined({"rate": total.rate}) | {
        "errors": total.errors, "reference": total.reference, "substitutions": total.substitutions,
        "deletions": total.deletions, "insertions": total.insertions,
    }  # fmt: skip


def _by_speaker(
    speakers: list[str], words: "list[EditCounts]", characters: "list[EditCounts]"
) -> dict[str, dict[str, Any]]:
    rows = {}
    for speaker in sorted(set(speakers)):
        own = [i for i, name in enumerate(speakers) if name == speaker]
        rows[speaker] = {"utterances": len(own), "wer": _counts_row([words[i] for i in own]),
                         "cer": _counts_row([characters[i] for i in own])}  # fmt: skip
    return rows


def _defined(row: dict[str, Any]) -> dict[str, Any]:
    from speechssl.cli._scores._output import defined

    return defined(row)


def _lines(row: dict[str, Any]) -> list[str]:
    level = f"{100 * row['level']:g} %"
    lines = [_line(name.upper(), row[name], level) for name in ("wer", "cer")]
    lines.append(f"wrong   {row['wrong_utterances']} of {row['utterances']} utterances")
    if row["empty_references"]:
        lines.append(f"empty   references: {row['empty_references']}")
    if "other" in row:
        lines += [_line(f"other {name.upper()}", row["other"][name], level) for name in ("wer", "cer")]
        for name, found in row["difference"].items():
            texts = {key: _percent(found[key]) for key in ("difference", "low", "high", "share_better")}
            interval = f"[{texts['low']}, {texts['high']}]"
            lines.append(f"{name.upper()} - other  {texts['difference']} points {interval}, lower in "
                         f"{texts['share_better']} % of the draws")  # fmt: skip
    for speaker, found in row.get("speakers", {}).items():
        words, characters = (f"{_percent(found[kind]['rate']):>6}" for kind in ("wer", "cer"))
        size = f"{found['wer']['reference']} words in {found['utterances']} utterances"
        lines.append(f"  {speaker:20} WER {words} %  CER {characters} %  {size}")
    rules = row["rules"]
    lines.append(f"both sides: NFC, single spaces, case {rules['case']}, punctuation {rules['punctuation']}; "
                 f"{row['draws']} draws of {row['resampled']}, seed {row['seed']}")  # fmt: skip
    what = {"missing": "without a hypothesis", "extra": "without a reference", "duplicate": "twice in a file"}
    for kind, count in row["not_scored"].items():
        if count:
            lines.append(f"not scored: {count} {what[kind]}, for example {', '.join(row['examples'][kind])}")
    for found in row["worst"]:
        lines += [f"{found['id']}: {found['errors']} errors, {found['words']} words", *_sides(found["pairs"])]
    return lines


def _line(name: str, found: dict[str, Any], level: str) -> str:
    return (f"{name:7} {_percent(found['rate'])} % [{level}: {_percent(found['low'])}, {_percent(found['high'])}]  "
            f"{found['errors']} errors of {found['reference']}: {found['substitutions']} substitutions, "
            f"{found['deletions']} deletions, {found['insertions']} insertions")  # fmt: skip


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f}"


def _sides(pairs: list[list[str]]) -> list[str]:
    """Both texts, words that face each other in one column, `*` where there is none."""
    widths = [max(len(word) for word in pair) for pair in pairs]
    texts = (" ".join((word or "*" * width).ljust(width) for word, width in zip(side, widths, strict=True)).rstrip()
             for side in zip(*pairs, strict=True))  # fmt: skip
    return [f"  {name} {text}" for name, text in zip(("ref", "hyp"), texts, strict=True)]

"""What scores of utterances' labels have in common: options, numbers, lines, the file of answers."""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What was said of one utterance, and in which fold ("" where there is one test)."""

    utterance: str
    label: str
    said: str
    fold: str = ""


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """What is to be found, and where the answers go."""
    parser.add_argument(
        "--labels", metavar="FILE", required=True, help="lines `utterance label`: utt2spk, utt2lang ..."
    )
    parser.add_argument("--train-labels", metavar="FILE", help="the same of TRAIN (default: --labels)")
    parser.add_argument("--folds", metavar="FILE", help="lines `utterance group`: each group in turn is tested on "
                                                        "what all others teach; not with --train")  # fmt: skip
    parser.add_argument("--allow-missing", action="store_true", help="utterances without a label are expected")
    parser.add_argument("--by", metavar="FILE", help="lines `utterance group`: the accuracy on each group, too")
    parser.add_argument("--answers", metavar="FILE", help="write `utterance label answer` lines to FILE, tabs between")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def class_row(
    answers: Sequence[Answer], train_labels: Mapping[str, Sequence[str]], by: str | None = None
) -> dict[str, Any]:
    """Scores of all answers, and of each fold where there are several.

    train_labels: fold -> labels learned from. by: the file of --by. DataError where it has no group of an utterance.
    """
    from speechssl.metrics.classification import class_scores, confusion_matrix

    learned = {fold: set(own) for fold, own in train_labels.items()}
    names = sorted({name for answer in answers for name in (answer.label, answer.said)})
    number = {name: i for i, name in enumerate(names)}
    common = {fold: min(Counter(own).items(), key=lambda item: (-item[1], item[0]))[0]
              for fold, own in train_labels.items()}  # fmt: skip
    majority = sum(answer.label == common[answer.fold] for answer in answers) / max(1, len(answers))
    counts = confusion_matrix([number[a.label] for a in answers], [number[a.said] for a in answers], len(names))
    scores = class_scores(counts, majority=majority)
    row: dict[str, Any] = {
        "accuracy": scores.accuracy, "interval": list(scores.interval), "macro_f1": scores.macro_f1,
        "majority": scores.majority, "utterances": scores.utterances,
        "train_utterances": {fold: len(own) for fold, own in train_labels.items()},
        "never_learned": sum(answer.label not in learned[answer.fold] for answer in answers),
        "labels": names, "confusion": counts.tolist(), **({} if by is None else {"by": _by_group(answers, common, by)}),
    }  # fmt: skip
    if list(train_labels) == [""]:
        return row | {"train_utterances": row["train_utterances"][""]}
    right = {fold: [a.label == a.said for a in answers if a.fold == fold] for fold in train_labels}
    shares = {fold: sum(own) / len(own) for fold, own in right.items()}
    return row | {"folds": shares, "fold_mean": sum(shares.values()) / len(shares)}


def _by_group(answers: Sequence[Answer], common: Mapping[str, str], path: str) -> dict[str, dict[str, Any]]:
    from speechssl.metrics.classification import wilson_interval

    group_of = groups_of(path, (answer.utterance for answer in answers))
    rows = {}
    for group in sorted(set(group_of.values())):
        own = [answer for answer in answers if group_of[answer.utterance] == group]
        right = sum(answer.label == answer.said for answer in own)
        rows[group] = {
            "accuracy": right / len(own), "interval": list(wilson_interval(right, len(own))), "utterances": len(own),
            "majority": sum(answer.label == common[answer.fold] for answer in own) / len(own),
            "said": dict(sorted(Counter(answer.said for answer in own).items())),
        }  # fmt: skip
    return rows


def class_lines(row: dict[str, Any]) -> list[str]:
    """The same for people."""
    low, high = (f"{100 * end:.2f}" for end in row["interval"])
    lines = [
        f"accuracy         {100 * row['accuracy']:.2f} %, of {row['utterances']} utterances ({low} to {high}, 95 %)",
        f"macro F1         {row['macro_f1']:.4f}",
        f"chance           {100 * row['majority']:.2f} %, always the most frequent label",
    ]
    if "folds" in row:
        lines.append(f"folds            {100 * row['fold_mean']:.2f} % on average of {len(row['folds'])}: " +
                     ", ".join(f"{name} {100 * share:.2f}" for name, share in row["folds"].items()))  # fmt: skip
    else:
        lines.append(f"learned from     {row['train_utterances']} utterances")
    for group, own in row.get("by", {}).items():
        lines.append(f"of {group:13} {100 * own['accuracy']:.2f} %, of {own['utterances']} utterances; said: " +
                     ", ".join(f"{name} {count}" for name, count in own["said"].items()))  # fmt: skip
    wrong = [(count, row["labels"][i], row["labels"][j]) for i, counts in enumerate(row["confusion"])
             for j, count in enumerate(counts) if count and i != j]  # fmt: skip
    for count, label, said in sorted(wrong, key=lambda item: (-item[0], item[1:]))[:5]:
        lines.append(f"confused         {label} taken for {said} {count} times")
    if row["never_learned"]:
        lines.append(f"never learned    {row['never_learned']} utterances have a label that nobody learned")
    if row.get("in_both"):
        lines.append(f"in both          {row['in_both']} ids were learned from and tested: is that the same speech?")
    if row["without_label"]:
        lines.append(f"not counted      {row['without_label']} utterances without a label, for example "
                     f"{', '.join(row['examples_without'])}")  # fmt: skip
    return lines


def check_label_arguments(args: argparse.Namespace, *, train_needed: bool) -> None:
    """ConfigError where options contradict one another."""
    from speechssl.errors import ConfigError

    if args.train is not None and args.folds is not None:
        raise ConfigError("--train and --folds exclude each other: folds are learned from the corpus itself")
    if train_needed and args.train is None and args.folds is None:
        raise ConfigError("give --train TRAIN to learn from, or --folds FILE")
    if args.train_labels is not None and args.train is None:
        raise ConfigError("--train-labels has no effect without --train")


def read_folds(path: str, utterances: Iterable[str]) -> dict[str, str]:
    """Utterance -> group of --folds. DataError where one has none, and where all are in one."""
    from speechssl.errors import DataError

    found = groups_of(path, utterances)
    if len(set(found.values())) < 2:
        raise DataError(f"{path}: puts all {len(found)} utterances into one group; nothing is left to learn from")
    return found


def groups_of(path: str, utterances: Iterable[str]) -> dict[str, str]:
    """Utterance -> group of a file of such lines. DataError where one has none."""
    from speechssl.cli._scores._input import read_groups
    from speechssl.errors import DataError

    group_of, names = read_groups(Path(path)), list(utterances)
    lost = [name for name in names if name not in group_of]
    if lost:
        raise DataError(f"{path}: has no group of {len(lost)} utterances, for example {', '.join(lost[:3])}")
    return {name: group_of[name] for name in names}


def write_answers(path: str | None, answers: Sequence[Answer]) -> None:
    """`utterance label answer` lines in the order of the test."""
    from speechssl.data.lines import write_lines

    if path is not None:
        write_lines(Path(path), (f"{answer.utterance}\t{answer.label}\t{answer.said}" for answer in answers))

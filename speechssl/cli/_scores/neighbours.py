"""Labels from the order of units. `speechssl score neighbours UNITS --train UNITS --labels FILE`.

Both are output folders of `speechssl units`, or files of units, by the same unit model; labels (speaker, keyword,
language, call) are whatever --labels says. An utterance gets the label that most of its k nearest in TRAIN have, by the
Levenshtein distance of deduplicated units over the length of the longer sequence. Without --train every utterance is
compared with all others of UNITS, or with --folds FILE with those of other groups (other speakers, say).
Ties: all that are as near as the k-th share the places left; of labels with equal votes the one whose nearest is nearer
wins, then the first by name.
Printed: accuracy with Wilson's 95 % interval, macro F1, chance, confusions. Utterances without a label are counted and
reported; the exit code is 1 then, unless --allow-missing says that this is expected.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from speechssl.cli._scores._classes import Answer

SUMMARY = "speakers, keywords, languages ... by edit distance between sequences of units"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`UNITS --train UNITS --labels FILE`."""
    from speechssl.cli._scores._classes import add_label_arguments

    parser.add_argument(
        "units", metavar="UNITS", help="output folder of `speechssl units`, or a file of units: to test"
    )
    parser.add_argument("--train", metavar="UNITS", help="the same of what is known (default: all others of UNITS)")
    add_label_arguments(parser)
    parser.add_argument("-k", type=int, default=5, help="how many neighbours (default 5)")
    parser.add_argument("--plain", action="store_true", help="distances not divided by the longer length")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads (default 1; -1: all cores)")
    parser.add_argument("--num-units", type=int, metavar="V", help="codebook size, for files that do not say")


def run(args: argparse.Namespace) -> int:
    """Compare, vote, print."""
    from speechssl.cli._scores._classes import class_lines, write_answers
    from speechssl.cli._scores._output import deliver

    row, answers = neighbours(args)
    write_answers(args.answers, answers)
    kind = "plain" if args.plain else "normalised"
    deliver(row, args, [*class_lines(row), f"neighbours       {args.k}, {kind} Levenshtein distance"],
            of=[args.units] if args.train is None else [args.units, args.train])  # fmt: skip
    return 1 if row["without_label"] and not args.allow_missing else 0


def neighbours(args: argparse.Namespace) -> "tuple[dict[str, Any], list[Answer]]":
    """What is printed and stored, and what was said of every utterance."""
    from speechssl.cli._scores._classes import Answer, check_label_arguments, class_row, read_folds
    from speechssl.cli._scores._input import read_groups
    from speechssl.errors import ConfigError
    from speechssl.metrics.neighbours import nearest_labels

    check_label_arguments(args, train_needed=False)
    if args.k < 1 or args.workers == 0 or args.workers < -1:
        raise ConfigError(f"-k {args.k} and --workers {args.workers} must be at least 1 (--workers -1: all cores)")
    label_of = read_groups(Path(args.labels))
    train_label_of = label_of if args.train_labels is None else read_groups(Path(args.train_labels))
    asked, without = _labelled(args.units, label_of, args.num_units)
    known, fold_of, groups = asked, dict.fromkeys(asked, ""), None
    if args.train is not None:
        _check_same_model(args)
        known, also = _labelled(args.train, train_label_of, args.num_units)
        without = without + also
    elif args.folds is not None:
        fold_of = read_folds(args.folds, asked)
        groups = (list(fold_of.values()), list(fold_of.values()))
    else:
        groups = (list(asked), list(asked))
    labels = [train_label_of[name] for name in known]
    names = sorted(set(labels))
    said = nearest_labels(list(asked.values()), list(known.values()), [names.index(label) for label in labels],
                          k=args.k, normalised=not args.plain, workers=args.workers, groups=groups)  # fmt: skip
    answers = [Answer(name, label_of[name], names[number], fold_of[name])
               for name, number in zip(asked, said, strict=True)]  # fmt: skip
    learned = {
        fold: [label for name, label in zip(known, labels, strict=True) if args.folds is None or fold_of[name] != fold]
        for fold in sorted(set(fold_of.values()))
    }
    row = class_row(answers, learned, args.by)
    return row | {
        "k": args.k, "normalised": not args.plain, "leave_one_out": args.train is None and args.folds is None,
        "in_both": len(set(known) & set(asked)) if args.train is not None else 0,
        "without_label": len(without), "examples_without": without[:3],
    }, answers  # fmt: skip


def _labelled(path: str, label_of: dict[str, str], num_units: int | None) -> "tuple[dict[str, np.ndarray], list[str]]":
    """Deduplicated units by utterance, and the ids of those without a label."""
    from speechssl.cli._scores._input import open_units
    from speechssl.errors import DataError
    from speechssl.metrics.edits import deduplicated

    found, without = {}, []
    for name, units in open_units(Path(path), num_units, None, any_rate=True)[2]:
        if name in label_of:
            found[name] = deduplicated(units)
        else:
            without.append(name)
    if not found:
        raise DataError(f"{path}: none of its {len(without)} utterances has a label")
    return found, without


def _check_same_model(args: argparse.Namespace) -> None:
    from speechssl.cli._scores._input import open_units
    from speechssl.errors import DataError
    from speechssl.extract import job as jobs

    paths = [Path(args.units), Path(args.train)]
    sizes = {open_units(path, None if path.is_dir() else args.num_units, None, any_rate=True)[0] for path in paths}
    models = {jobs.load(path).model.unit_model for path in paths if path.is_dir()}
    if len(sizes) > 1 or len(models) > 1:
        raise DataError(f"{args.units} and {args.train} have units of different models: their numbers mean different "
                        "things")  # fmt: skip

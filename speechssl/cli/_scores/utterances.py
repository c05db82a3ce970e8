"""Whole utterances: speaker, keyword, intent, emotion, language. `speechssl score utterances TEST --train TRAIN ...`.

TEST and TRAIN are corpora (folders, Kaldi data dirs, manifests ...), encoded here, each utterance once; what is kept of
it is the mean over time of every layer. As in SUPERB's utterance tasks a softmax-weighted sum of the layers goes into a
linear classifier; the labels are whatever --labels says. Or --folds FILE in place of --train: each group (a speaker,
say) is tested in turn, with all others learned from.
The weight of the L2 penalty is chosen on a fifth of what is learned from (never on TEST), whole groups of it where
--validation-groups or --folds names them; then the probe learns from all.
Printed: accuracy with Wilson's 95 % interval, macro F1, chance, layer weights, confusions. Utterances without a label
are counted and reported, and the exit code is 1, unless --allow-missing says that this is expected. It is 1 too where
recordings cannot be read or are longer than --max-s; they are left out and listed.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from speechssl.cli._scores._classes import Answer
    from speechssl.cli._speech import Speech
    from speechssl.metrics.utterance_probe import UtteranceProbe

SUMMARY = "speakers, keywords, languages ... from all layers of an encoder, as SUPERB does"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`TEST --train TRAIN --encoder E --labels FILE`."""
    from speechssl.cli._scores._classes import add_label_arguments

    parser.add_argument("test", metavar="TEST", help="corpus to test on")
    parser.add_argument("--train", metavar="TRAIN", help="corpus to learn from")
    parser.add_argument("--encoder", metavar="E", required=True, help="encoder: name, folder or file")
    add_label_arguments(parser)
    parser.add_argument("--pooling", choices=("mean", "mean_std"), default="mean",
                        help="over time; mean_std: standard deviations too (default mean)")  # fmt: skip
    parser.add_argument("--layer-norm", action="store_true", help="normalise every frame of every layer first")
    parser.add_argument("--layer", type=int, metavar="N", help="this layer alone (default: all, weighted)")
    parser.add_argument("--each-layer", action="store_true", help="each layer alone, too")
    parser.add_argument(
        "--l2", type=float, metavar="W", help="weight of the penalty (default: chosen on a part of TRAIN)"
    )
    parser.add_argument("--validation-groups", metavar="FILE", help="lines `utterance group`: part is whole groups "
                                                                    "(default: no; those of --folds)")  # fmt: skip
    parser.add_argument("--max-s", type=float, default=60.0, metavar="S", help="longest recording (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="which part of TRAIN the penalty is chosen on")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--offline", action="store_true", help="never use the network")


def run(args: argparse.Namespace) -> int:
    """Encode, learn, test, print."""
    from speechssl.cli._scores._classes import class_lines, write_answers
    from speechssl.cli._scores._output import deliver

    row, answers = utterances(args)
    write_answers(args.answers, answers)
    deliver(row, args, class_lines(row) + _lines(row))
    for name, reason in row["skipped"].items():
        print(f"skipped: {name}\t{reason}", file=sys.stderr)
    return 1 if row["skipped"] or (row["without_label"] and not args.allow_missing) else 0


def utterances(args: argparse.Namespace) -> "tuple[dict[str, Any], list[Answer]]":
    """What is printed and stored, and what was said of every utterance."""
    from speechssl import convert
    from speechssl.cli._scores._classes import Answer, check_label_arguments, class_row, groups_of, read_folds
    from speechssl.cli._scores._input import read_groups
    from speechssl.cli._speech import Speech
    from speechssl.errors import ConfigError

    check_label_arguments(args, train_needed=True)
    if args.l2 is not None and args.validation_groups is not None:
        raise ConfigError("--validation-groups has no effect beside --l2, which leaves nothing to choose")
    if args.layer is not None and args.each_layer:
        raise ConfigError("--each-layer has no effect beside --layer, which uses one")
    label_of = read_groups(Path(args.labels))
    train_label_of = label_of if args.train_labels is None else read_groups(Path(args.train_labels))
    pretrained = convert.load_encoder(args.encoder, offline=args.offline)
    pretrained.encoder.to(args.device)
    skipped: dict[str, str] = {}
    speech = Speech(pretrained, args.test, label_of, args.max_s, args.device, skipped)
    test = _pooled(speech, args)
    without, tests = speech.unwanted, [("", test, test)]
    in_both, groups = 0, None
    if args.train is not None:
        speech = Speech(pretrained, args.train, train_label_of, args.max_s, args.device, skipped)
        train = _pooled(speech, args)
        tests, without = [("", train, test)], without + speech.unwanted
        in_both = len(set(train.ids) & set(test.ids))
        groups = None if args.validation_groups is None else groups_of(args.validation_groups, train.ids)
    else:
        folds = read_folds(args.folds, test.ids)
        groups = folds if args.validation_groups is None else groups_of(args.validation_groups, test.ids)
        tests = [(fold, test.part(folds, fold, inside=False), test.part(folds, fold, inside=True))
                 for fold in sorted(set(folds.values()))]  # fmt: skip
    answers: list[Answer] = []
    learned, alone = [], [0] * len(test.x[0])
    for fold, known, asked in tests:
        trial = _Trial(known, [train_label_of[name] for name in known.ids], groups, args)
        said = trial.said(asked.x)
        learned.append(trial)
        answers += [Answer(name, label_of[name], s, fold) for name, s in zip(asked.ids, said, strict=True)]
        for layer in range(len(alone)) if args.each_layer else ():
            other = _Trial(known.layer(layer), trial.labels, groups, args).said(asked.layer(layer).x)
            alone[layer] += sum(label_of[name] == s for name, s in zip(asked.ids, other, strict=True))
    row = class_row(answers, {fold: t.labels for (fold, _, _), t in zip(tests, learned, strict=True)}, args.by)
    weights = sum(trial.probe.layer_weights for trial in learned) / len(learned)
    return row | {
        "encoder": args.encoder, "encoder_sha256": pretrained.sha256, "pooling": args.pooling,
        "layer_norm": args.layer_norm, "layer": args.layer,
        "layer_weights": weights.tolist(), "l2": [trial.l2 for trial in learned],
        "largest_gradient": max(trial.probe.gradient for trial in learned), "seed": args.seed,
        **({"each_layer": [right / len(answers) for right in alone]} if args.each_layer else {}),
        "in_both": in_both, "without_label": len(without), "examples_without": without[:3], "skipped": skipped,
    }, answers  # fmt: skip


@dataclass(frozen=True)
class _Pooled:
    """Utterances and their layers pooled over time: all that is held of a corpus."""

    ids: list[str]
    x: "Tensor"  # [N, L, C], float32

    def part(self, group_of: dict[str, str], group: str, *, inside: bool) -> "_Pooled":
        """Those of a group, or the others."""
        keep = [i for i, name in enumerate(self.ids) if (group_of[name] == group) == inside]
        return _Pooled([self.ids[i] for i in keep], self.x[keep])

    def layer(self, number: int) -> "_Pooled":
        """One layer alone."""
        return _Pooled(self.ids, self.x[:, number : number + 1])


def _pooled(speech: "Speech", args: argparse.Namespace) -> _Pooled:
    import torch

    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.utterance_probe import pool

    ids, rows = [], []
    for name, layers in speech.layers():
        if args.layer is not None and not 0 <= args.layer < len(layers):
            raise ConfigError(f"--layer {args.layer}: {args.encoder} has layers 0 to {len(layers) - 1}")
        chosen = layers if args.layer is None else [layers[args.layer]]
        rows.append(pool(chosen, pooling=args.pooling, layer_norm=args.layer_norm).float().cpu())
        ids.append(name)
    if not rows:
        lines = [f"\n  skipped: {name}\t{reason}" for name, reason in list(speech.skipped.items())[:5]]
        raise DataError("".join([f"{speech.spec}: no utterance that can be used has a label", *lines]))
    return _Pooled(ids, torch.stack(rows))


class _Trial:
    """A probe learned from one set of utterances, its penalty chosen on a part of them."""

    def __init__(
        self, known: _Pooled, labels: list[str], groups: dict[str, str] | None, args: argparse.Namespace
    ) -> None:
        import torch

        from speechssl.metrics import utterance_probe

        self.labels = labels
        self.names = sorted(set(labels))
        y = torch.tensor([self.names.index(label) for label in labels])
        self.l2 = args.l2
        if self.l2 is None:
            own = None if groups is None else [groups[name] for name in known.ids]
            aside = utterance_probe.validation_part(y.tolist(), own, seed=args.seed)
            self.l2, _ = utterance_probe.choose_l2(known.x, y, aside, num_labels=len(self.names), device=args.device)
        self.probe: UtteranceProbe = utterance_probe.fit_utterance_probe(
            known.x, y, num_labels=len(self.names), l2=self.l2, device=args.device
        )

    def said(self, x: "Tensor") -> list[str]:
        """A label for each of [N, L, C]."""
        return [self.names[i] for i in self.probe.predict(x).tolist()]


def _lines(row: dict[str, Any]) -> list[str]:
    lines = [f"L2 weight        {', '.join(f'{weight:g}' for weight in row['l2'])}"]
    if len(row["layer_weights"]) > 1:
        lines.append(f"layer weights    {' '.join(f'{weight:.3f}' for weight in row['layer_weights'])}")
    if "each_layer" in row:
        lines.append(f"each layer alone {' '.join(f'{100 * share:.2f}' for share in row['each_layer'])} %")
    return lines

"""A linear phone probe. `speechssl score probe TEST --train TRAIN --phones FILE --train-phones FILE`.

TEST and TRAIN are output folders of `speechssl features` (or other stored features, with --rate) of one encoder and
layer. A multinomial logistic regression on standardised frames of TRAIN; a frame's label is the phone at its centre.
Printed: the share of TEST's labelled frames whose phone is found, with and without silence, and the floor, which is
always saying the most frequent label.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SUMMARY = "how much of the phones a linear classifier finds in features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`TEST --train TRAIN --phones FILE --train-phones FILE`."""
    parser.add_argument("input", metavar="TEST", help="features to test on")
    parser.add_argument("--train", metavar="TRAIN", required=True, help="features to learn from")
    parser.add_argument("--phones", metavar="FILE", required=True, help="phone alignments of TEST")
    parser.add_argument("--train-phones", metavar="FILE", required=True, help="phone alignments of TRAIN")
    parser.add_argument("--phone-shift", type=float, default=0.0, metavar="S", help="move every label (default 0)")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames a second, for features that do not say")
    parser.add_argument("--max-frames", type=int, default=1_000_000, metavar="N", help="of TRAIN (default 1000000)")
    parser.add_argument("--seed", type=int, default=0, help="which of more than --max-frames frames")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Learn, test, print."""
    import torch

    from speechssl.cli._scores._output import deliver
    from speechssl.metrics.abx_items import SILENCES
    from speechssl.metrics.probe import fit_probe, majority

    vocabulary: dict[str, int] = {}
    x, y = _labelled(args.train, args.train_phones, vocabulary, args)
    test_x, test_y = _labelled(args.input, args.phones, vocabulary, args)
    if len(x) > args.max_frames:
        keep = torch.randperm(len(x), generator=torch.Generator().manual_seed(args.seed))[: args.max_frames]
        x, y = x[keep], y[keep]
    probe = fit_probe(x, y, num_labels=len(vocabulary), device=args.device)
    told = probe.predict(test_x) == test_y
    speech = ~torch.isin(test_y, torch.tensor([n for name, n in vocabulary.items() if name in SILENCES]).long())
    row: dict[str, Any] = {
        "accuracy": float(told.double().mean()),
        "accuracy_without_silence": float(told[speech].double().mean()) if bool(speech.any()) else None,
        "majority": majority(y, test_y),
        "labels": len(vocabulary),
        "train_frames": len(x),
        "test_frames": len(test_x),
    }
    without = row["accuracy_without_silence"]
    deliver(row, args, [
        f"accuracy         {100 * row['accuracy']:.2f} %, " +
        ("undefined" if without is None else f"{100 * without:.2f} %") + " without silence",
        f"floor            {100 * row['majority']:.2f} %, the most frequent of {len(vocabulary)} labels",
        f"frames           {len(x)} learned from, {len(test_x)} tested",
    ], of=[args.input, args.train])  # fmt: skip
    return 0


def _labelled(
    features: str, phones: str, vocabulary: dict[str, int], args: argparse.Namespace
) -> "tuple[Tensor, Tensor]":
    """Frames [N, C] that have a label, and their labels [N] by a vocabulary that grows."""
    import torch

    from speechssl.cli._scores._input import open_frames
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.alignments import read_alignments
    from speechssl.metrics.probe import label_frames

    frames, rate_hz, centre_s, is_units = open_frames(Path(features), args.rate)
    if is_units:
        raise ConfigError(f"{features} holds units: a probe needs features")
    alignments = read_alignments(phones)
    parts = [
        label_frames(x, alignments, name, vocabulary, rate_hz=rate_hz, centre_s=centre_s, shift_s=args.phone_shift)
        for name, x in frames
        if name in alignments
    ]
    if not parts:
        raise DataError(f"{phones}: has no alignment of any utterance in {features}")
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

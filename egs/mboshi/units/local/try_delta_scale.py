#!/usr/bin/env python3
"""What deltas are worth when they weigh as much as the cepstra: PNMI of k-means on MFCCs whose deltas are scaled.

    try_delta_scale.py data/full conf/mfcc.toml --window 5 --scale 6 --num-units 100

Deltas vary five to ten times less than cepstra, delta-deltas thirty times, so Euclidean k-means hardly sees them. Here
deltas of order n are multiplied by scale^n. An experiment: the numbers are in RESULTS.md.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from speechssl import config
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.encoders import mfcc
from speechssl.metrics.alignments import read_alignments
from speechssl.metrics.unit_report import score_corpus
from speechssl.quantizers.kmeans_fit import fit


def main() -> int:
    """Train and score one codebook per seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of train/ and dev/")
    parser.add_argument("conf", type=Path)
    parser.add_argument("--window", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--num-units", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shift", type=float, nargs="+", default=[0.0, -0.07], help="of the labels, in seconds")
    args = parser.parse_args()
    settings = dataclasses.replace(config.load(mfcc.Config, args.conf), delta_window=args.window)
    features = {split: list(frames(args.data / split, settings, args.scale)) for split in ("train", "dev")}
    alignments = read_alignments(args.data / "dev" / "align" / "phones.tsv")
    results: dict[float, list[float]] = {shift: [] for shift in args.shift}
    for seed in args.seeds:
        codebook, _ = fit(lambda: features["train"], num_units=args.num_units, seed=seed)
        units = [(name, codebook.encode(rows).numpy()) for name, rows in features["dev"]]
        for shift, values in results.items():
            report = score_corpus(units, alignments, num_units=args.num_units, unit_rate=1000 / settings.hop_ms,
                                  label_shift_s=shift)  # fmt: skip
            values.append(report.scores.pnmi)
    for shift, values in results.items():
        mean = sum(values) / len(values)
        print(f"window {args.window} scale {args.scale:g} K {args.num_units} labels {shift:+.3f} s: "
              f"PNMI {mean:.4f} [{min(values):.4f}, {max(values):.4f}]")  # fmt: skip
    return 0


def frames(data: Path, settings: mfcc.Config, scale: float) -> Iterator[tuple[str, Tensor]]:
    """Id and scaled MFCCs [T, C] of every utterance of a data dir."""
    model = mfcc.Model(settings)
    orders = torch.arange(1 + settings.deltas).repeat_interleave(settings.num_ceps)
    for utterance in open_corpus(data).utterances:
        samples = read_utterance(utterance, sample_rate=settings.sample_rate).samples
        rows, _ = model(torch.from_numpy(samples).unsqueeze(0))
        yield utterance.id, rows[0] * scale**orders


if __name__ == "__main__":
    sys.exit(main())

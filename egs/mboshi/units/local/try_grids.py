#!/usr/bin/env python3
"""Fitted grids (FSQ) beside k-means and joint codebooks, on MFCCs of every seventh training utterance of Mboshi.

    local/try_grids.py DATA ENCODER        DATA/train as stage 0 makes it, ENCODER as stage 1 does

Every sixth of these is scored and not learned from; labels are moved by -70 ms. Prints a row per quantizer.
"""

import sys
import time
from pathlib import Path

import torch

from speechssl import convert
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.metrics.alignments import read_alignments
from speechssl.metrics.units import UnitCounts
from speechssl.quantizers.fsq_fit import fit_fsq
from speechssl.quantizers.joint_fit import fit_joint
from speechssl.quantizers.kmeans_fit import fit


def main(data: Path, folder: Path) -> None:
    encoder = convert.load_encoder(folder)
    phones = read_alignments(data / "train" / "align" / "phones.tsv")
    frames = []
    for utterance in open_corpus(str(data / "train")).utterances[::7]:
        samples = torch.from_numpy(read_utterance(utterance, sample_rate=16_000).samples)
        frames.append((utterance.id, encoder.features(samples, 0).clone()))
    learned = [pair for number, pair in enumerate(frames) if number % 6]
    scored = [pair for number, pair in enumerate(frames) if number % 6 == 0 and pair[0] in phones]
    held = torch.cat([x for _, x in scored])
    print(f"learned from {len(learned)} utterances, scored on {len(scored)} ({len(held)} frames), whose variance is "
          f"{float((held - held.mean(0)).square().sum(1).mean()):.1f}")  # fmt: skip
    makers = {
        "k-means 100": lambda: fit(lambda: learned, num_units=100),
        "k-means 512": lambda: fit(lambda: learned, num_units=512),
        "product 22 x 22": lambda: fit_joint("product", lambda: learned, num_codebooks=2, num_units=22),
        "residual 22 x 22": lambda: fit_joint("residual", lambda: learned, num_codebooks=2, num_units=22),
        "fsq 10,10": lambda: fit_fsq(lambda: learned, levels=(10, 10)),
        "fsq 5,5,4": lambda: fit_fsq(lambda: learned, levels=(5, 5, 4)),
        "fsq 8,8,8": lambda: fit_fsq(lambda: learned, levels=(8, 8, 8)),
        "fsq 5,4,3,3,3": lambda: fit_fsq(lambda: learned, levels=(5, 4, 3, 3, 3)),
    }
    print("| quantizer | units | variance lost | PNMI | perplexity | fit, s |\n|---|---:|---:|---:|---:|---:|")
    for name, make in makers.items():
        began = time.monotonic()
        quantizer = make()[0]
        seconds, counts = time.monotonic() - began, UnitCounts(quantizer.size, unit_rate=50.0)
        for utterance, x in scored:
            counts.add(quantizer.encode(x).numpy(), phones.frames(utterance, 100.0, shift_s=-0.07))
        error = float((held - quantizer.decode(quantizer.encode(held))).square().sum(1).mean())
        found = counts.scores()
        numbers = f"{error:.1f} | {found.pnmi:.3f} | {found.perplexity:.0f} | {seconds:.1f}"
        print(f"| {name} | {quantizer.size} | {numbers} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

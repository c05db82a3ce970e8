#!/usr/bin/env python3
"""PNMI and unit edit distance of 10 hours of units from files to scores, and what a layer sweep costs.

    OMP_NUM_THREADS=1 python tools/bench/scores.py
    OMP_NUM_THREADS=1 python tools/bench/scores.py --audio DATA --phones phones.tsv --encoder hubert --every 20

Units: text files of a Markov chain, 500 units at 50 Hz that stay with a probability of 0.55, in utterances of 10 s, and
phones of 80 ms at 100 Hz; changed units are the same with three frames in ten drawn anew. Timed are `speechssl score
units` and `speechssl score edits` whole, in this process, but for the imports.

With --audio: `speechssl score layers` (k-means, probe, PNMI, boundaries of every layer, learned from every second
utterance and scored on the others; no ABX) against nothing but the top layer of the same utterances, in turn.
--encoder hubert: random weights of its base size (speechssl.encoders' families), else anything that loads.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import at_hand

from speechssl.cli import main as speechssl
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.metrics.alignments import Alignments, read_alignments
from speechssl.units import layer_sweep

SIZE, STAYS, CHANGES = 500, 0.55, 0.3


def write_units(place: Path, hours: float) -> None:
    """units.txt, changed.txt, phones.txt."""
    random = np.random.default_rng(0)
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(open(place / f"{name}.txt", "w")) for name in ("units", "changed", "phones")}
        for k in range(round(hours * 360)):
            leaves = random.random(500) >= STAYS
            units = random.integers(0, SIZE, 500)[leaves.cumsum() - leaves[0]]
            changed = np.where(random.random(500) < CHANGES, random.integers(0, SIZE, 500), units)
            phones = np.repeat(random.integers(0, 40, 125), 8)
            for name, values in (("units", units), ("changed", changed), ("phones", phones)):
                files[name].write(f"u{k:05} {' '.join(map(str, values))}\n")


def spent(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def command(*words: str | Path) -> dict[str, float]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = speechssl([*map(str, words), "--json"])
    if code:
        sys.exit(f"{words} ended with {code}")
    return json.loads(text.getvalue())


def time_units(hours: float, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_units(place, hours)
        size = ("--num-units", str(SIZE))
        commands = {
            "PNMI": ("score", "units", place / "units.txt", "--phones", place / "phones.txt", "--phones-format",
                     "frames", "--unit-rate", "50", *size),
            "UED": ("score", "edits", place / "units.txt", place / "changed.txt", *size),
        }  # fmt: skip
        for words in commands.values():
            print(
                {name: value for name, value in command(*words).items() if name in ("pnmi", "ued", "seconds", "units")}
            )
        for _ in range(rounds):
            for name, words in commands.items():
                wall, cpu = spent(lambda words=words: command(*words))
                print(f"{name} of {hours:g} h: {wall:.1f} s, CPU {cpu:.1f} s")


class Speech:
    """Every second utterance to learn from, the others to score."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.pretrained = at_hand.encoder(args)
        self.alignments: Alignments = read_alignments(args.phones)
        wavs = [
            (u.id, torch.from_numpy(read_utterance(u, sample_rate=self.pretrained.encoder.sample_rate).samples))
            for u in open_corpus(str(args.audio[0])).utterances if u.id in self.alignments
        ]  # fmt: skip
        self.parts = wavs[:: 2 * args.every], wavs[args.every :: 2 * args.every]
        self.seconds = sum(len(wav) for part in self.parts for _, wav in part) / self.pretrained.encoder.sample_rate

    def layers(self, part: int) -> Iterator[tuple[str, list[Tensor]]]:
        for name, wav in self.parts[part]:
            yield name, self.pretrained.all_layers(wav)

    def top(self) -> None:
        for _, wav in (*self.parts[0], *self.parts[1]):
            self.pretrained.features(wav, self.pretrained.encoder.num_layers)

    def all_layers(self) -> None:
        for part in (0, 1):
            for _ in self.layers(part):
                pass

    def sweep(self, num_units: int) -> None:
        encoder = self.pretrained.encoder
        vocabulary = {label: k for k, label in enumerate(self.alignments.labels)}
        sweep = layer_sweep.Sweep(encoder.sample_rate / encoder.hop,
                                  encoder.receptive_field / 2 / encoder.sample_rate, num_units=num_units)  # fmt: skip
        learned = layer_sweep.learn(self.layers(0), self.alignments, vocabulary, sweep)
        rows, _ = layer_sweep.score(self.layers(1), self.alignments, vocabulary, learned, sweep)
        self.best = rows[layer_sweep.best(rows)]


def time_sweep(args: argparse.Namespace) -> None:
    speech = Speech(args)
    works = {"top layer": speech.top, "all layers": speech.all_layers, "sweep": lambda: speech.sweep(args.units)}
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(args.rounds):
        for name, work in works.items():
            found[name].append(spent(work)[1])
    print(f"{speech.pretrained.card.name}, {speech.pretrained.encoder.num_layers + 1} layers, {speech.seconds:.0f} s "
          f"of audio, {args.units} units; best probe: layer {speech.best.layer}, {speech.best.probe:.3f}")  # fmt: skip
    for name, cpu in found.items():
        ratios = [a / b for a, b in zip(cpu, found["top layer"], strict=True)]
        print(f"{name}: CPU s {' '.join(f'{x:.1f}' for x in cpu)}; over the top layer min {min(ratios):.2f} median "
              f"{statistics.median(ratios):.2f} max {max(ratios):.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    at_hand.add_arguments(parser)
    parser.add_argument("--phones", help="alignments of the utterances of --audio, a corpus")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th utterance")
    parser.add_argument("--hours", type=float, default=10, help="of units")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.audio:
        time_sweep(args)
    else:
        time_units(args.hours, args.rounds)


if __name__ == "__main__":
    main()

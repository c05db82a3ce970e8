#!/usr/bin/env python3
"""Loading training batches: our loader beside fairseq2's native pipeline and a plain DataLoader, of the same files.

    python tools/bench/loading.py data/train --workers 1 2 --rounds 3
    python tools/bench/loading.py data/train --seconds 600 --rounds 1    (tries the bench itself)

Needs recordings of 16 kHz, one utterance per file (WAV, FLAC ...), for fairseq2's pipeline does not resample. One pass
over at most --seconds of audio in batches of about --batch seconds, decoded to float32, padded and collated, nothing
cropped, nothing trained. All in turn in every round; printed are medians of the speed as a multiple of real time and of
CPU seconds (of all threads and processes) per hour of audio.

Ours also draws seeds, keeps ids and checks every recording; the plain DataLoader reads with soundfile and pads.
fairseq2 takes part where it can be imported; its workers are threads, those of the others processes.
"""

import argparse
import dataclasses
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile  # before fairseq2: gives it libsndfile
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from speechssl.data.batch_plan import Batching, plan_batches
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import Batches, Place, TrainingSet, open_training_set

RATE = 16_000


class Files(Dataset[torch.Tensor]):
    """Padded batches of files, by lists of rows."""

    def __init__(self, paths: list[str], batches: list[np.ndarray]) -> None:
        self.paths, self.batches = paths, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> torch.Tensor:
        waves = [soundfile.read(self.paths[row], dtype="float32")[0] for row in self.batches[number]]
        return pad_sequence([torch.from_numpy(wav) for wav in waves], batch_first=True)


def ours(data: TrainingSet, batching: Batching, workers: int) -> Iterator[int]:
    """Samples of each batch of an epoch, with padding."""
    batches = Batches(data, batching, seed=0, hop=320, workers=workers)
    for loaded in batches.start(Place()):
        assert loaded.batch is not None, loaded.failures
        yield loaded.batch.wav.numel()
        if loaded.next.epoch:
            return


def plain(paths: list[str], batches: list[np.ndarray], workers: int) -> Iterator[int]:
    """The same of torch's DataLoader over soundfile."""
    for wav in DataLoader(Files(paths, batches), batch_size=None, num_workers=workers):
        yield wav.numel()


def native(paths: list[str], batches: list[np.ndarray], workers: int) -> Iterator[int]:
    """The same of fairseq2's pipeline: files mapped, decoded in threads, collated, read ahead."""
    from fairseq2.data.audio import AudioDecoder
    from fairseq2.data.data_pipeline import Collater, FileMapper, read_sequence

    size = round(np.mean([len(rows) for rows in batches]))
    order = [paths[row] for rows in batches for row in rows]
    pipeline = (
        read_sequence(order)
        .map(FileMapper())
        .map(AudioDecoder(dtype=torch.float32), selector="data", num_parallel_calls=workers)
        .bucket(size)
        .map(Collater(pad_value=0))
        .prefetch(4)
        .and_return()
    )
    for found in pipeline:
        yield found["data"]["waveform"]["seqs"].numel()


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of audio in a pass (default: all)")
    parser.add_argument("--batch", type=float, default=160.0, help="seconds of a batch")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    corpus = open_corpus(args.data)
    lengths = np.cumsum(open_training_set(corpus, sample_rate=RATE).seconds)
    chosen = corpus.utterances[: int(np.searchsorted(lengths, args.seconds)) + 1]
    data = open_training_set(dataclasses.replace(corpus, utterances=chosen), sample_rate=RATE)
    batching = Batching(seconds=args.batch, crop_s=float(data.seconds.max()) + 1, min_s=0.0)
    batches = plan_batches(data.seconds, batching, seed=0, epoch=0)
    paths = [utterance.audio for utterance in chosen]
    print(f"{len(paths)} utterances, {data.hours:.2f} h, {len(batches)} batches")
    for workers in args.workers:
        contestants: dict[str, Callable[[], Iterator[int]]] = {
            "ours": lambda: ours(data, batching, workers),  # noqa: B023
            "plain DataLoader": lambda: plain(paths, batches, workers),  # noqa: B023
        }
        try:
            import fairseq2.data  # noqa: F401

            contestants["fairseq2"] = lambda: native(paths, batches, workers)  # noqa: B023
        except ImportError as error:
            print(f"fairseq2 does not take part: {error}")
        report(contestants, data.hours, workers, args.rounds)
    return 0


def report(contestants: dict[str, Callable[[], Iterator[int]]], hours: float, workers: int, rounds: int) -> None:
    """Run all in turn and print medians and ratios."""
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    cpu: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):  # the first reads the files into the page cache and does not count
        for name, run in contestants.items():
            began, used = time.perf_counter(), cpu_s()
            total = sum(run())
            if number:
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(cpu_s() - used)
            assert total / RATE / 3600 > 0.95 * hours, f"{name} left out speech"
    for name in contestants:
        own, first = statistics.median(wall[name]), statistics.median(wall["ours"])
        spent, ratio = statistics.median(cpu[name]), statistics.median(cpu[name]) / statistics.median(cpu["ours"])
        print(f"{workers} workers  {name:17} {hours * 3600 / own:7.0f} x real time  {spent / hours:6.2f} CPU s per hour"
              f"  ours is {own / first:.2f} x as fast and takes {1 / ratio:.2f} x its CPU")  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())

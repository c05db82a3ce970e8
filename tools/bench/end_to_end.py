#!/usr/bin/env python3
"""`speechssl units` and `speechssl features` from files to files, against the encoder alone on samples in memory.

    OMP_WAIT_POLICY=passive python tools/bench/end_to_end.py --seconds 120

Random weights of HuBERT's base size, layer 9, 500 units, WAV files of log-normal lengths; one process, one thread. What
a run spends before the first and behind the last utterance (loading and checking the model, finding the corpus, final
files) is that of a run over one second, and is given apart: it does not grow with the corpus. `--memory`: also the
largest memory of a fresh process that makes units of one such corpus, and of one that makes units of ten times as much.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from speechssl import encoders
from speechssl.data.corpus import Corpus, open_corpus
from speechssl.encoders import pretrained as pretrained_files
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.extract.job import ModelSpec
from speechssl.extract.run import Options, run_features, run_units

RATE = 16_000


def make_corpus(folder: Path, seconds: float) -> Corpus:
    random = np.random.default_rng(0)
    folder.mkdir()
    while seconds > 0:
        length = min(seconds, 35.0, max(1.0, random.lognormal(np.log(9), 0.7)))
        samples = 0.1 * random.standard_normal(round(length * RATE))
        soundfile.write(folder / f"{len(list(folder.iterdir())):05}.wav", samples, RATE)
        seconds -= length
    return open_corpus(folder)


def spent(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def peak_memory(place: str, folder: str, model: ModelSpec) -> float:
    """MB of the largest resident set of this process, after units of a folder."""
    torch.set_num_threads(1)
    quiet = Options(workers=0, overwrite=True, quiet=True)
    run_units(open_corpus(Path(place, folder)), Path(place, f"units of {folder}"), model, options=quiet)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plain = Pretrained(encoders.build("hubert", {}).eval().requires_grad_(False), EncoderCard("hubert", {}))
    ours = plain.with_kernel("fast")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        pretrained_files.save(root / "encoder", plain)
        corpus, second = make_corpus(root / "in", args.seconds), make_corpus(root / "one", 1.0)
        wavs = [torch.from_numpy(soundfile.read(u.audio, dtype="float32")[0]) for u in corpus.utterances]
        np.save(root / "km.npy", ours.features(torch.cat(wavs)[: 30 * RATE], args.layer)[:500].numpy())
        features = ModelSpec(None, str(root / "encoder"), args.layer)
        units = ModelSpec(None, str(root / "encoder"), args.layer, str(root / "km.npy"))
        quiet = Options(workers=0, overwrite=True, quiet=True)
        contestants: dict[str, Callable[[], object]] = {
            "encoder": lambda: [ours.features(wav, args.layer) for wav in wavs],
            "units": lambda: run_units(corpus, root / "u", units, options=quiet),
            "units, 1 s": lambda: run_units(second, root / "u1", units, options=quiet),
            "features": lambda: run_features(corpus, root / "f", features, options=quiet),
            "features, 1 s": lambda: run_features(second, root / "f1", features, options=quiet),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for repeat in range(args.repeats + 1):
            for name, work in contestants.items():
                found = spent(work)
                times[name] += [found] if repeat else []
        peaks = []
        if args.memory:
            make_corpus(root / "ten", 10 * args.seconds)
            for folder in ("one", "in", "ten"):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    peaks.append(pool.apply(peak_memory, (place, folder, units)))
    medians = {name: [statistics.median(c) for c in zip(*values, strict=True)] for name, values in times.items()}
    print(f"{len(wavs)} files, {args.seconds:.0f} s of audio, one process, one thread, medians of {args.repeats}")
    encoder = medians["encoder"]
    print(f"encoder alone  {encoder[0]:7.2f} s wall {encoder[1]:7.2f} s CPU")
    for name in ("units", "features"):
        start = medians[f"{name}, 1 s"]
        wall, cpu = (a - b for a, b in zip(medians[name], start, strict=True))
        more = f"{wall / encoder[0] - 1:+.1%} and {cpu / encoder[1] - 1:+.1%}"
        print(f"{name:14s} {wall:7.2f} s wall {cpu:7.2f} s CPU, {more} of the encoder; "
              f"and {start[0]:.2f} s whatever the corpus")  # fmt: skip
    if peaks:
        print(f"largest memory: {peaks[0]:.0f} MB for 1 s of audio, {peaks[1]:.0f} MB for {args.seconds:.0f} s, "
              f"{peaks[2]:.0f} MB for {10 * args.seconds:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()

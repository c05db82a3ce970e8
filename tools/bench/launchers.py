#!/usr/bin/env python3
"""What a launcher costs beside the work: local workers, Ray on this machine, actors on a Ray cluster that is there.

    python tools/bench/launchers.py            (needs the extra ray)

Each runs `speechssl units` with the built-in model over short recordings, one to a shard, few shards and many, in
turns. What a run costs whatever its size, and what a shard costs more, come from the difference. CPU seconds are those
of the command and of all processes that it (or the running cluster's actors) started.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

TICKS = os.sysconf("SC_CLK_TCK")


class Meter:
    """CPU seconds of all processes below this one while the block runs, by looking often."""

    def __enter__(self) -> "Meter":
        self.before, self.seen = self._look(), {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        self.began = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall = time.perf_counter() - self.began
        self.over.set()
        self.thread.join()
        self.cpu = sum(ticks - self.before.get(process, 0) for process, ticks in self.seen.items()) / TICKS

    def _watch(self) -> None:
        while not self.over.wait(0.05):
            self.seen |= self._look()
        self.seen |= self._look()

    def _look(self) -> dict[tuple[int, int], int]:
        parents, ticks = {}, {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                parents[int(place.name)] = int(fields[1])
                ticks[int(place.name)] = (int(fields[19]), int(fields[11]) + int(fields[12]))
        found, look = set(), [os.getpid()]
        while look:
            parent = look.pop()
            children = [pid for pid, above in parents.items() if above == parent and pid not in found]
            found.update(children)
            look.extend(children)
        return {(pid, ticks[pid][0]): ticks[pid][1] for pid in found if pid in ticks}


def command(root: Path, shards: int, out: Path, more: list[str]) -> list[str]:
    words = [sys.executable, "-m", "speechssl", "units", root / f"in{shards}", "-o", out, "--shard-size", 1, "--quiet"]
    return [*map(str, words), "--workers", "2", *more]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=8)
    parser.add_argument("--many", type=int, default=308)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    from speechssl.extract import ray_engine

    with tempfile.TemporaryDirectory() as place, ray_engine.cluster(None, 2) as ray:
        root = Path(place)
        random = np.random.default_rng(0)
        for count in (args.few, args.many):
            (root / f"in{count}").mkdir()
            for number in range(count):
                soundfile.write(root / f"in{count}" / f"{number:05}.wav", 0.1 * random.standard_normal(16000), 16000)
        there = ["--engine", "ray", "--ray-address", ray.get_runtime_context().gcs_address]
        launchers = {"local workers": [], "Ray, own": ["--engine", "ray"], "Ray, running cluster": there}
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for repeat in range(args.repeats):
            for name, more in launchers.items():
                for count in (args.few, args.many):
                    out = root / f"out-{repeat}-{len(found)}-{count}-{name.replace(' ', '')}"
                    with Meter() as meter:
                        subprocess.run(command(root, count, out, more), check=True, stdout=subprocess.DEVNULL)
                    found.setdefault((name, count), []).append((meter.wall, meter.cpu))
    medians = {key: [statistics.median(c) for c in zip(*values, strict=True)] for key, values in found.items()}
    print(f"2 workers, shards of one second of audio, {args.few} and {args.many} of them, medians of {args.repeats}")
    print(f"{'':22s} a run: wall s   CPU s   a shard more: wall ms  CPU ms")
    for name in launchers:
        few, many = medians[name, args.few], medians[name, args.many]
        shard = [1000 * (b - a) / (args.many - args.few) for a, b in zip(few, many, strict=True)]
        start = [a - ms / 1000 * args.few for a, ms in zip(few, shard, strict=True)]
        print(f"{name:22s} {start[0]:13.1f} {start[1]:7.1f} {shard[0]:22.1f} {shard[1]:7.1f}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""ABX beside fastabx 0.9 on the same frames and items, and beside plain loops: CPU seconds, ratios, scores.

    OMP_NUM_THREADS=1 python tools/bench/abx.py DATA --phones phones.tsv --speakers utt2spk --phone-shift=-0.07

DATA is a corpus (a Kaldi data dir, a folder ...). Its frames are made by the built-in model's encoder (or --encoder and
--layer), or its units with --distance identical, and are written as .npy files beside one item file. Either side is a
process of its own that reads these, with one thread, and scores triphones within and across speakers, without caps;
CPU time is the whole process's (user and system), `work` what is left without imports. fastabx runs in an environment
of its own, which this makes with --python (3.12) unless --environment names one made before.

What is done so that both compare the same frames: labels are moved 1 ms further, for where one lies on a frame's centre
fastabx counts that frame in and we do not; items that fastabx would refuse, whose frames are not all there, are left
out.

The plain loops warp in Python, one pair of items at a time: `loop` over frame distances from one product of matrices
per pair, `all in the loop` over distances of frames taken one by one; each pair once, or every cell its own
(`cell by cell`). They are timed on --pairs pairs drawn at random and extrapolated by the number of table fields;
reading and averaging are not in them.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import speechssl
from speechssl.cli._scores._input import read_groups
from speechssl.convert import load_encoder
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.metrics.abx_cells import groups_within_contexts
from speechssl.metrics.abx_items import make_items, read_items, write_items
from speechssl.metrics.alignments import read_alignments

RATE_HZ = 50
REQUIRED = ("fastabx==0.9.0", "torch==2.10.0", "numpy")
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
PEER = """
import json, sys, time
import numpy, torch
from fastabx import Dataset, Score, Task
start = time.process_time()
item, root, distance = sys.argv[1:]
data = Dataset.from_item(item, root, 50, feature_maker=lambda path: torch.from_numpy(numpy.load(path)),
                         extension=".npy", device="cpu", progress=False)
found = {}
for name, by, across in (("within", ["prev-phone", "next-phone", "speaker"], None),
                         ("across", ["prev-phone", "next-phone"], ["speaker"])):
    score = Score(Task(data, on="#phone", by=by, across=across), distance, progress=False)
    found[name] = score.collapse(levels=[("next-phone", "prev-phone"), "speaker"])
    found["cells_" + name] = len(score.cells)
print(json.dumps(found | {"work": time.process_time() - start}))
"""
OURS = """
import dataclasses, json, sys, time
from pathlib import Path
import numpy, torch
from speechssl.metrics.abx import abx
from speechssl.metrics.abx_items import read_items
start = time.process_time()
item, root, distance = sys.argv[1:]
items = read_items(Path(item))
frames = {path.stem: torch.from_numpy(numpy.load(path)) for path in Path(root).glob("*.npy")}
found = abx(items, frames, rate_hz=50, centre_s=0.01, distance=distance, max_items=10**9, max_across=10**9)
print(json.dumps(dataclasses.asdict(found) | {"work": time.process_time() - start}))
"""


def environment(folder: Path, python: str) -> Path:
    """Its interpreter, made where there is none."""
    program = folder / "bin" / "python"
    if not program.is_file():
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([program, "-m", "pip", "install", "-q", *REQUIRED], check=True)
    return program


@torch.inference_mode()
def write_inputs(args: argparse.Namespace, place: Path) -> None:
    """Frames or units [T, C] as npy, and the items."""
    model = speechssl.load_unit_model()
    encoder = load_encoder(args.encoder) if args.encoder else model.pretrained
    layer = model.layer if args.layer is None else args.layer
    frames = place / "frames"
    frames.mkdir()
    alignments = read_alignments(args.phones)
    lengths = {}
    for utterance in open_corpus(args.data).utterances[:: args.every]:
        if utterance.id not in alignments:
            continue
        wav = torch.from_numpy(read_utterance(utterance, sample_rate=16_000).samples)
        if args.distance == "identical":
            x = model(wav).frames()[:, None].astype(np.float32)
        else:
            x = encoder.features(wav, layer).float().numpy()
        np.save(frames / f"{utterance.id}.npy", x)
        lengths[utterance.id] = len(x)
    speakers = read_groups(Path(args.speakers))
    items = [
        item for item in make_items(alignments, speakers, shift_s=args.phone_shift - 0.001)
        if item.file in lengths and item.onset_s > 0 and math.floor(item.offset_s * RATE_HZ + 0.5) <= lengths[item.file]
    ]  # fmt: skip
    write_items(place / "triphones.item", items)
    print(f"{len(lengths)} utterances, {sum(lengths.values())} frames of {x.shape[1]} channels, {len(items)} items, "
          f"{len({item.speaker for item in items})} speakers, distance {args.distance}")  # fmt: skip


def child(command: list[str | Path]) -> dict[str, float]:
    """What it prints, and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | dict.fromkeys(ONE_THREAD, "1"))
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout.splitlines()[-1]) | {"cpu": cpu}


def warp_in_python(height: int, width: int, cost: Callable[[int, int], float]) -> float:
    above: list[tuple[float, int]] = [(0.0, 0)] + [(math.inf, 0)] * width
    for i in range(height):
        row = [(math.inf, 0)]
        for j in range(width):
            total, steps = min(above[j], above[j + 1], row[j])
            row.append((total + cost(i, j), steps + 1))
        above = row
    return above[-1][0] / above[-1][1]


def by_matrix(x: np.ndarray, y: np.ndarray) -> float:
    costs = (np.arccos((x @ y.T).clip(-1, 1)) / math.pi).tolist()
    return warp_in_python(len(x), len(y), lambda i, j: costs[i][j])


def one_by_one(x: np.ndarray, y: np.ndarray) -> float:
    return warp_in_python(len(x), len(y), lambda i, j: math.acos(max(-1.0, min(1.0, float(x[i] @ y[j])))) / math.pi)


def plain_loops(place: Path, num_pairs: int) -> dict[str, float]:
    """CPU seconds that the loops would take for all pairs."""
    from speechssl.metrics.abx import _by_context

    items = read_items(place / "triphones.item")
    frames = {path.stem: torch.from_numpy(np.load(path)) for path in (place / "frames").glob("*.npy")}
    frames = {name: torch.nn.functional.normalize(x, dim=-1) for name, x in frames.items()}
    contexts, _ = _by_context(items, frames, RATE_HZ, 0.01, any_context=False)
    pairs, repeated = [], 0
    for group in groups_within_contexts(contexts, 10**9, 10**9, np.random.default_rng(0)):
        pairs += [(group.rows[i].frames, group.columns[j].frames) for i, j in np.argwhere(group.wanted())]
        repeated += sum(len(c.x) * (len(c.a) + len(own)) for c in group.cells for own in c.b.values())
    fields = sum(len(x) * len(y) for x, y in pairs)
    print(f"{len(pairs)} pairs of items to be compared, {1e-6 * fields:.1f} million fields of their tables; "
          f"{repeated / len(pairs):.2f} times as many if every cell compares its own")  # fmt: skip
    chosen = [pairs[int(k)] for k in np.random.default_rng(1).permutation(len(pairs))[:num_pairs]]
    chosen_arrays = [(x.numpy(), y.numpy()) for x, y in chosen]
    share = fields / sum(len(x) * len(y) for x, y in chosen)
    found = {}
    for name, distance in (("loop", by_matrix), ("all in the loop", one_by_one)):
        start = time.process_time()
        for x, y in chosen_arrays:
            distance(x, y)
        found[name] = share * (time.process_time() - start)
        found[f"{name}, cell by cell"] = found[name] * repeated / len(pairs)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--phones", required=True)
    parser.add_argument("--speakers", required=True)
    parser.add_argument("--phone-shift", type=float, default=0.0)
    parser.add_argument("--encoder", help="default: the built-in model's")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--distance", choices=("angular", "euclidean", "identical"), default="angular")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th utterance (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=500, help="of the plain loops; 0: none")
    parser.add_argument("--python", default="python3.12", help="makes fastabx's environment")
    parser.add_argument("--environment", type=Path, help="fastabx's, kept; default: a new one, removed at the end")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        peer = environment(args.environment or place / "fastabx", args.python)
        write_inputs(args, place)
        inputs = [place / "triphones.item", place / "frames", args.distance]
        rows: dict[str, list[dict[str, float]]] = {"fastabx": [], "ours": []}
        for _ in range(args.rounds):
            rows["fastabx"].append(child([peer, "-c", PEER, *inputs]))
            rows["ours"].append(child([sys.executable, "-c", OURS, *inputs]))
        for name, own in rows.items():
            for part in ("within", "across"):
                print(f"{name:8s} {part} {100 * own[0][part]:.5f} % of {own[0][f'cells_{part}']:.0f} cells")
            for part in ("cpu", "work"):
                print(f"{name:8s} {part} s: " + " ".join(f"{row[part]:.2f}" for row in own))
        for name in ("within", "across"):
            print(f"{name}: |difference| {abs(rows['fastabx'][0][name] - rows['ours'][0][name]):.1e}")
        for part in ("cpu", "work"):
            ratios = [a[part] / b[part] for a, b in zip(rows["fastabx"], rows["ours"], strict=True)]
            print(f"fastabx over ours, {part}: min {min(ratios):.2f} median {statistics.median(ratios):.2f} "
                  f"max {max(ratios):.2f}")  # fmt: skip
        if args.pairs and args.distance == "angular":
            work = statistics.median(row["work"] for row in rows["ours"])
            for name, cpu in plain_loops(place, args.pairs).items():
                print(f"{name}: {cpu:.0f} s extrapolated, {cpu / work:.0f} times ours (work)")


if __name__ == "__main__":
    main()

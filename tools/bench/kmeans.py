#!/usr/bin/env python3
"""k-means against faiss and scikit-learn: assignment and fit, interleaved, CPU seconds, ratios, inertias.

    OMP_NUM_THREADS=1 python tools/bench/kmeans.py                                      # 30 000 frames, medians of 5
    OMP_NUM_THREADS=1 python tools/bench/kmeans.py --only less --frames 100000 --repeats 1
    OMP_NUM_THREADS=1 python tools/bench/kmeans.py --only less --frames 500000 --repeats 1 --seed 1

CPU time of this process, so that other work on the machine matters less. `assignment` also prints the rate of the bare
matrix products, in the same rounds: what float32 allows (oneDNN, MKL) and what products of bytes allow. `fit` compares
equal iterations; `less` compares what it costs to get at least as low as scikit-learn's MiniBatchKMeans, batches of
1024 (its default) and 10 000 (fairseq's), n_init=1. Inertia is the mean squared distance of all frames, by exact
assignment, for everyone. fairseq's own settings (n_init=20, 100 iterations) take 20 times its line here.

The frames imitate HuBERT's: segments with gliding transitions, speakers, noise, a spectrum that falls as theirs does
(90 % of the variance in 100 of 768 dimensions), channels of unequal size.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from speechssl.quantizers import kmeans as ours
from speechssl.quantizers import kmeans_int8
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_fit import fit

Work = Callable[[], object]


def frames_like_speech(num_frames: int, dim: int, seed: int = 0) -> np.ndarray:
    """[N, C] float32, shuffled as a sample is."""
    rng = np.random.default_rng(seed)
    falling = np.sqrt(np.exp(-np.arange(dim) / 40) + 1e-4).astype(np.float32)
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    channels = np.exp(0.3 * rng.standard_normal(dim)).astype(np.float32)
    basis = falling[:, None] * rotation * channels
    phones = rng.standard_normal((120, dim)).astype(np.float32)
    frames = np.empty((num_frames, dim), np.float32)
    for start in range(0, num_frames, 1000):  # one speaker each
        count = min(1000, num_frames - start)
        segments = np.repeat(rng.integers(0, len(phones), 400), rng.integers(2, 12, 400))[: count + 4]
        weights = np.array([0.1, 0.2, 0.4, 0.2, 0.1], np.float32)
        latent = sum(weight * phones[segments[lag : lag + count]] for lag, weight in enumerate(weights))
        latent = latent + 0.5 * rng.standard_normal(dim).astype(np.float32)
        latent += 0.6 * rng.standard_normal((count, dim)).astype(np.float32)
        frames[start : start + count] = latent @ basis
    rng.shuffle(frames)
    return frames


def interleaved(contestants: dict[str, Work], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each."""
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, work in contestants.items():
            began = time.process_time()
            work()
            spent[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in spent.items()}


def assignment(frames: np.ndarray, num_units: int, repeats: int) -> None:
    import faiss
    from sklearn.cluster import MiniBatchKMeans

    centroids = fit(frames[:20_000], num_units=num_units, iterations=5)[0].centroids
    model, tensor, dim = KMeans(centroids), torch.from_numpy(frames), frames.shape[1]
    index = faiss.IndexFlatL2(dim)
    index.add(centroids.numpy())
    sklearn = MiniBatchKMeans(num_units, init=centroids.numpy(), n_init=1, max_iter=1).fit(frames[: 4 * num_units])
    sklearn.cluster_centers_ = centroids.numpy()
    prepared = model._on(torch.device("cpu"))
    contestants: dict[str, Work] = {
        "speechssl": lambda: model.encode(tensor),
        "speechssl, float32": lambda: ours._nearest(tensor, prepared),
        "faiss": lambda: index.search(frames, 1),
        "scikit-learn": lambda: sklearn.predict(frames),
        "  oneDNN float32 product alone": lambda: [ours._scores(rows, prepared) for rows in tensor.split(4194)],
        "  MKL float32 product alone": lambda: [rows @ prepared.weight for rows in tensor.split(1024)],
    }
    if model.by_bytes:
        book = model._bytes
        codes = kmeans_int8.encode(tensor, book.centre).values
        contestants["  oneDNN int8 product alone"] = lambda: [
            kmeans_int8._products(part, book) for part in codes.split(2048)
        ]
    for work in contestants.values():
        work()
    seconds = interleaved(contestants, repeats)
    print(f"\nassignment, {len(frames)} frames x {dim}, K={num_units}")
    for name, value in seconds.items():
        print(f"  {name:<32} {len(frames) / value / 1e6:6.3f} M frames per CPU second  "
              f"{2e-9 * len(frames) * dim * num_units / value:6.0f} G operations/s   "
              f"{value / seconds['speechssl']:5.2f} x ours")  # fmt: skip
    bare = seconds["  oneDNN float32 product alone"]
    print(f"  the float32 way runs at {100 * bare / seconds['speechssl, float32']:.1f} % of the bare product's rate, "
          f"ours at {100 * bare / seconds['speechssl']:.0f} %")  # fmt: skip
    exact = model.encode(tensor.double()).numpy()
    for name, found in {
        "speechssl": model.encode(tensor).numpy(),
        "faiss": index.search(frames, 1)[1][:, 0],
        "scikit-learn": sklearn.predict(frames),
    }.items():
        print(f"  {name} differs from the float64 answer in {np.count_nonzero(found != exact)} frames")


def fits(frames: np.ndarray, num_units: int, iterations: int, repeats: int, which: str) -> None:
    found: dict[str, tuple[np.ndarray, str]] = {}

    def mine(name: str, **settings: object) -> Work:
        def work() -> None:
            model, report = fit(frames, num_units=num_units, **settings)  # type: ignore[arg-type]
            found[name] = model.centroids.numpy(), f"{len(report.runs[0].inertia) - 1} iterations"

        return work

    def faiss_fit() -> None:
        import faiss

        model = faiss.Kmeans(frames.shape[1], num_units, niter=iterations, seed=1, max_points_per_centroid=len(frames))
        model.train(frames)
        found["faiss"] = model.centroids.copy(), f"{iterations} iterations"

    def lloyd() -> None:
        from sklearn.cluster import KMeans as Sklearn

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = Sklearn(num_units, n_init=1, random_state=0, max_iter=iterations, tol=0, algorithm="lloyd")
            found["scikit-learn KMeans"] = model.fit(frames).cluster_centers_, f"{iterations} iterations"

    def minibatch(name: str, batch: int) -> Work:
        def work() -> None:
            from sklearn.cluster import MiniBatchKMeans

            model = MiniBatchKMeans(num_units, batch_size=batch, n_init=1, random_state=0, compute_labels=False)
            found[name] = model.fit(frames).cluster_centers_, f"{model.n_steps_} batches"

        return work

    if which == "fit":
        contestants = {
            "speechssl": mine("speechssl", iterations=iterations, tolerance=0.0, start_frames=0),
            "faiss": faiss_fit,
            "scikit-learn KMeans": lloyd,
        }
        print(f"\nfit, {len(frames)} frames x {frames.shape[1]}, K={num_units}, equal iterations")
    else:
        contestants = {
            "speechssl": mine("speechssl"),
            "speechssl, 60 per unit": mine("speechssl, 60 per unit", max_frames=60 * num_units, tolerance=2e-3),
            "speechssl, 200 per unit": mine(
                "speechssl, 200 per unit", max_frames=200 * num_units, tolerance=1e-2, start_frames=40 * num_units
            ),
            "minibatch 1024": minibatch("minibatch 1024", 1024),
            "minibatch 10000": minibatch("minibatch 10000", 10_000),
        }
        if len(frames) > 200_000:  # the whole as a sample would take several times its memory
            del contestants["speechssl"]
        print(f"\nfit until it stops, {len(frames)} frames x {frames.shape[1]}, K={num_units}")
    seconds = interleaved(contestants, repeats)
    first = next(iter(seconds))
    for name, value in seconds.items():
        centroids, how = found[name]
        print(f"  {name:<24} {value:8.2f} CPU s  {value / seconds[first]:6.2f} x {first}   "
              f"inertia {inertia(frames, centroids):.6g}   {how}", flush=True)  # fmt: skip


def inertia(frames: np.ndarray, centroids: np.ndarray) -> float:
    model, total = KMeans(torch.from_numpy(centroids)), 0.0
    for block in torch.from_numpy(frames).split(4096):
        total += float((block.double() - model.decode(model.encode(block)).double()).square().sum())
    return total / len(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--num-units", type=int, default=500)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the frames")
    parser.add_argument("--only", choices=("assignment", "fit", "less"))
    args = parser.parse_args()
    import faiss

    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    by_bytes = "yes" if kmeans_int8.available() else "no"
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, products of bytes: {by_bytes}; "
          f"{args.threads} threads, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    frames = frames_like_speech(args.frames, args.dim, args.seed)
    with threadpool_limits(args.threads):
        if args.only in (None, "assignment"):
            assignment(frames, args.num_units, args.repeats)
        for which in ("fit", "less"):
            if args.only in (None, which):
                fits(frames, args.num_units, args.iterations, args.repeats, which)


if __name__ == "__main__":
    main()

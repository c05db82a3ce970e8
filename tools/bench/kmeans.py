#!/usr/bin/env python3
"""k-means against faiss and scikit-learn: assignment and fit, interleaved, CPU seconds, ratios.

    OMP_NUM_THREADS=1 python tools/bench/kmeans.py
    python tools/bench/kmeans.py --frames 100000 --threads 2 --repeats 5

CPU time of this process, so that other work on the machine matters little. The frames are synthetic: clusters with a
falling spectrum, as wide and as many as HuBERT's at K=500. Inertia is measured on all frames, by float64, for everyone.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import faiss
import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_fit import fit


def frames_like_speech(num_frames: int, dim: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    basis = (
        rng.standard_normal((dim, dim)).astype(np.float32) * np.arange(1, dim + 1, dtype=np.float32)[:, None] ** -0.5
    )
    centres = 1.5 * rng.standard_normal((300, dim)).astype(np.float32)
    inner = rng.standard_normal((num_frames, dim)).astype(np.float32)
    return (inner + centres[rng.integers(0, 300, num_frames)]) @ basis


def interleaved(contestants: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each."""
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, work in contestants.items():
            began = time.process_time()
            work()
            spent[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in spent.items()}


def assignment(frames: np.ndarray, centroids: np.ndarray, repeats: int) -> None:
    ours, tensor = KMeans(torch.from_numpy(centroids)), torch.from_numpy(frames)
    index = faiss.IndexFlatL2(frames.shape[1])
    index.add(centroids)
    sklearn = MiniBatchKMeans(len(centroids), init=centroids, n_init=1, max_iter=1).fit(frames[: 2 * len(centroids)])
    sklearn.cluster_centers_ = centroids
    weight, bias = torch.from_numpy(centroids).T.contiguous(), torch.zeros(len(centroids))
    contestants: dict[str, Callable[[], object]] = {
        "speechssl": lambda: ours.encode(tensor),
        "GEMM alone": lambda: [torch.addmm(bias, block, weight) for block in tensor.split(1024)],
        "faiss": lambda: index.search(frames, 1),
        "scikit-learn": lambda: sklearn.predict(frames),
    }
    seconds = interleaved(contestants, repeats)
    print(f"assignment, {len(frames)} frames x {frames.shape[1]}, K={len(centroids)}")
    for name, value in seconds.items():
        rate = len(frames) / value / 1e6
        print(f"  {name:<14} {rate:6.3f} M frames per CPU second   {value / seconds['speechssl']:5.2f} x ours")
    exact = ours.encode(tensor.double()).numpy()
    for name, found in (("faiss", index.search(frames, 1)[1][:, 0]), ("scikit-learn", sklearn.predict(frames))):
        print(f"  {name} differs from the float64 answer in {np.count_nonzero(found != exact)} frames")
    print(f"  speechssl differs in {np.count_nonzero(ours.encode(tensor).numpy() != exact)}")


def fits(frames: np.ndarray, num_units: int, iterations: int, repeats: int) -> None:
    found: dict[str, np.ndarray] = {}

    def ours(limit: int, tolerance: float) -> Callable[[], None]:
        def work() -> None:
            model, _ = fit(frames, num_units=num_units, iterations=limit, tolerance=tolerance)
            found["speechssl" + ("" if limit == iterations else " to tolerance")] = model.centroids.numpy()

        return work

    def faiss_fit() -> None:
        model = faiss.Kmeans(frames.shape[1], num_units, niter=iterations, seed=1, max_points_per_centroid=len(frames))
        model.train(frames)
        found["faiss"] = model.centroids.copy()

    def sklearn_fit(name: str, batch: int) -> Callable[[], None]:
        def work() -> None:
            model = MiniBatchKMeans(num_units, batch_size=batch, n_init=1, random_state=0, compute_labels=False)
            found[name] = model.fit(frames).cluster_centers_

        return work

    contestants: dict[str, Callable[[], object]] = {
        "speechssl": ours(iterations, 0.0),
        "speechssl to tolerance": ours(100, 1e-3),
        "faiss": faiss_fit,
        "sklearn minibatch 10000": sklearn_fit("sklearn minibatch 10000", 10_000),
        "sklearn minibatch 1024": sklearn_fit("sklearn minibatch 1024", 1024),
    }
    seconds = interleaved(contestants, repeats)
    print(f"fit, {len(frames)} frames x {frames.shape[1]}, K={num_units}, {iterations} iterations (ours and faiss)")
    for name, value in seconds.items():
        print(f"  {name:<24} {value:8.1f} CPU s  {value / seconds['speechssl']:6.2f} x ours   "
              f"inertia {inertia(frames, found[name]):.6g}")  # fmt: skip


def inertia(frames: np.ndarray, centroids: np.ndarray) -> float:
    model, total = KMeans(torch.from_numpy(centroids)), 0.0
    for block in torch.from_numpy(frames).split(4096):
        total += float((block.double() - model.decode(model.encode(block)).double()).square().sum())
    return total / len(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--num-units", type=int, default=500)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("assignment", "fit"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    frames = frames_like_speech(args.frames, args.dim)
    with threadpool_limits(args.threads):
        if args.only != "fit":
            assignment(frames, np.ascontiguousarray(frames[:: max(1, len(frames) // args.num_units)][: args.num_units]),
                       args.repeats)  # fmt: skip
        if args.only != "assignment":
            fits(frames, args.num_units, args.iterations, args.repeats)


if __name__ == "__main__":
    main()

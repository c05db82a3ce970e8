"""Learning several codebooks that speak together (`product`, `residual`) from features that stream by.

One pass takes the same sample of frames as `kmeans_fit`; everything after it happens in memory, codebook by codebook,
by that module's k-means. The result depends on the seed and the set of frames alone.

N frames, C channels, G codebooks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from speechssl.errors import ConfigError, DataError
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_fit import Features, FitReport, as_array, check_settings, fit
from speechssl.quantizers.kmeans_sample import FrameSample, num_bytes
from speechssl.quantizers.product import Product
from speechssl.quantizers.residual import Residual

Kind = Literal["product", "residual"]
KINDS: dict[str, type[Product] | type[Residual]] = {"product": Product, "residual": Residual}
_BLOCK = 16384  # frames


@dataclass(frozen=True)
class JointReport:
    """What a fit did."""

    kind: str
    num_units: int  # of all codebooks together
    dim: int
    mode: str
    seed: int
    frames_seen: int
    frames_sampled: int
    codebooks: tuple[FitReport, ...]
    inertia: float  # mean squared distance of the sample's frames from what their units decode to
    inertias: tuple[float, ...]  # residual only: the same with the first codebook alone, the first two ...
    empty_units: int  # entries of single codebooks that no frame chose
    perplexity: float  # exp of the entropy of the units together: how many are used as if evenly
    ram_bytes: int
    seconds: float
    settings: dict[str, Any] = field(default_factory=dict)


def fit_joint(
    kind: Kind, features: Features, *, num_codebooks: int, num_units: int, seed: int = 0, max_frames: int = 1_000_000,
    restarts: int = 1, iterations: int = 50, tolerance: float = 1e-4, device: str = "cpu",
    log: Callable[[str], None] = lambda line: None,
) -> tuple[Product | Residual, JointReport]:  # fmt: skip
    """num_codebooks codebooks of num_units entries each; other arguments as of `kmeans_fit.fit`.

    Raises ConfigError for settings that make no sense, DataError for too few distinct frames.
    """
    began = time.monotonic()
    check_settings(num_codebooks=num_codebooks, num_units=num_units, max_frames=max_frames)
    if kind not in KINDS:
        raise ConfigError(f"kind={kind!r}: choose {' or '.join(KINDS)}")
    sample = FrameSample(max_frames, seed)
    for name, frames in features():
        sample.add(name, as_array(frames))
    rows, seen, _, size = sample.finish()
    if not size:
        raise DataError("no frames to learn from; give more speech")
    if kind == "product" and num_codebooks > rows.shape[1]:
        raise ConfigError(f"{num_codebooks} codebooks cannot share {rows.shape[1]} channels")

    def learn(part: Tensor, g: int) -> KMeans:
        model, report = fit(
            part.contiguous(), num_units=num_units, seed=seed + g, max_frames=max_frames, restarts=restarts,
            iterations=iterations, tolerance=tolerance, device=device,
            log=lambda line: log(f"codebook {g + 1}/{num_codebooks}, {line}"),
        )  # fmt: skip
        reports.append(report)
        return model

    reports: list[FitReport] = []
    books: list[KMeans] = []
    if kind == "product":
        books = [learn(part, g) for g, part in enumerate(rows.tensor_split(num_codebooks, dim=1))]
    else:
        left = rows.clone()
        for g in range(num_codebooks):
            books.append(learn(left, g))
            for block in left.split(_BLOCK):
                block -= books[-1].decode(books[-1].encode(block))
    quantizer = KINDS[kind](books)
    ids = torch.cat([quantizer.encode(block) for block in rows.split(_BLOCK)])
    squares = 0.0
    for block, own in zip(rows.split(_BLOCK), ids.split(_BLOCK), strict=True):
        squares += float((block - quantizer.decode(own)).double().square().sum())
    shares = torch.unique(ids, return_counts=True)[1].double() / len(ids)
    settings = {"num_codebooks": num_codebooks, "num_units": num_units, "max_frames": max_frames, "restarts": restarts,
                "iterations": iterations, "tolerance": tolerance}  # fmt: skip
    return quantizer, JointReport(
        kind, quantizer.size, quantizer.dim, "sample", seed, seen.num_frames, size, tuple(reports),
        inertia=squares / size, inertias=tuple(r.inertia for r in reports) if kind == "residual" else (),
        empty_units=sum(report.empty_units for report in reports),
        perplexity=float((-(shares * shares.log()).sum()).exp()),
        ram_bytes=num_bytes(min(max_frames, seen.num_frames), quantizer.dim) * 3 + max(r.ram_bytes for r in reports),
        seconds=round(time.monotonic() - began, 3), settings=settings,
    )  # fmt: skip

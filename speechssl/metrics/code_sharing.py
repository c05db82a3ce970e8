"""How much languages share a codebook, the analysis of XLSR (arXiv:2006.13979, section 5.4 and figure 2).

Each language is the distribution of the codes that its speech was given; languages are compared by the Jensen-Shannon
divergence of these distributions. With several codebooks a code is what they say together, as in the paper.

L languages (or any other groups), G codebooks of V entries, T frames.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError

FloatArray = NDArray[np.float64]


class CodeUsage:
    """Counts of codes per language. Memory: L x V^G x 8 bytes, 0.8 MB per language for wav2vec 2.0's two of 320."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """sizes: the entries of each codebook, such as (320, 320), or (500,) for units."""
        if not sizes or min(sizes) < 1:
            raise DataError(f"codebooks need at least one entry each, got {tuple(sizes)}")
        self.sizes = tuple(sizes)
        self.counts: dict[str, NDArray[np.int64]] = {}

    def add(self, language: str, codes: NDArray[np.integer]) -> None:
        """Codes of an utterance, [T] or [T, G]. Raises DataError for codes that do not exist."""
        codes = np.asarray(codes).reshape(len(codes), -1) if len(codes) else np.zeros((0, len(self.sizes)), np.int64)
        if codes.shape[1] != len(self.sizes):
            raise DataError(f"{codes.shape[1]} codes per frame, and there are {len(self.sizes)} codebooks")
        if codes.size and (codes.min() < 0 or (codes.max(0) >= self.sizes).any()):
            raise DataError(f"codes up to {codes.max(0).tolist()} do not fit codebooks of {self.sizes} entries")
        joint = np.ravel_multi_index(tuple(codes.T), self.sizes)
        total = self.counts.setdefault(language, np.zeros(int(np.prod(self.sizes)), np.int64))
        total += np.bincount(joint, minlength=len(total))

    @property
    def languages(self) -> list[str]:
        """Those with at least one frame, sorted: the order of rows everywhere here."""
        return sorted(name for name, counts in self.counts.items() if counts.any())

    def distributions(self) -> FloatArray:
        """[L, V^G], each row the share of each code among a language's frames. Raises DataError where there is none."""
        if not self.languages:
            raise DataError("no language has codes")
        counts = np.stack([self.counts[name] for name in self.languages]).astype(np.float64)
        return counts / counts.sum(1, keepdims=True)

    def similarity(self) -> FloatArray:
        """[L, L]: 1 less the Jensen-Shannon divergence in bits. 1: the same distribution, 0: no code in common."""
        rows = self.distributions()
        found = np.eye(len(rows))
        for i, row in enumerate(rows):
            for j in range(i):
                found[i, j] = found[j, i] = 1 - jensen_shannon(row, rows[j])
        return found

    def spread(self) -> NDArray[np.int64]:
        """[L]: how many codes are used by exactly 1, 2, ..., L languages."""
        users = (self.distributions() > 0).sum(0)
        return np.bincount(users, minlength=len(self.languages) + 1)[1:]


def jensen_shannon(one: FloatArray, other: FloatArray) -> float:
    """Jensen-Shannon divergence of two distributions [V] in bits, 0..1."""
    middle = (one + other) / 2
    return _relative_entropy(one, middle) / 2 + _relative_entropy(other, middle) / 2


def principal_components(rows: FloatArray, count: int = 2) -> FloatArray:
    """rows [L, N] on their first principal components, [L, count]: the paper's map of languages from `similarity`.

    The largest entry of each component is positive, so that the map is the same everywhere.
    """
    rows = np.asarray(rows, np.float64)
    if not 1 <= count <= min(rows.shape):
        raise DataError(f"{count} components of {rows.shape[0]} rows with {rows.shape[1]} columns do not exist")
    left, scales, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    found = (left * scales)[:, :count]
    return found * np.where(found[np.abs(found).argmax(0), np.arange(count)] < 0, -1.0, 1.0)


def _relative_entropy(one: FloatArray, other: FloatArray) -> float:
    seen = one > 0
    return float((one[seen] * np.log2(one[seen] / other[seen])).sum())

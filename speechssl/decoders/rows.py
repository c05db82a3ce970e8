"""Rows of arrays that are made when they are first asked for. K keys, M questions, A columns."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechssl.decoders.ngram import IntArray

_MOST_BYTES = 1 << 28


class Rows:
    """make(keys [M]) gives arrays [M, A] for keys in 0..K-1; what was made is kept, up to 256 MiB, then made anew."""

    def __init__(self, num_keys: int, make: Callable[[IntArray], Sequence[NDArray[Any]]]) -> None:
        self._make, self._place, self._num = make, np.full(num_keys, -1), 0
        first = make(np.zeros(1, np.int64))
        self._arrays = [np.repeat(array, 64, axis=0) for array in first]
        self._most = max(64, _MOST_BYTES // sum(array[0].nbytes for array in first))

    def __call__(self, keys: IntArray) -> tuple[list[NDArray[Any]], IntArray]:
        """All arrays, and where in them the rows [M] of these keys are."""
        places = self._place[keys]
        if (places < 0).any():
            new = np.unique(keys[places < 0])
            if self._num + len(new) > self._most:
                self._place[:], self._num, new = -1, 0, np.unique(keys)
            self._add(new)
            places = self._place[keys]
        return self._arrays, places

    def _add(self, keys: IntArray) -> None:
        end = self._num + len(keys)
        while end > len(self._arrays[0]):
            self._arrays = [np.concatenate((array, np.zeros_like(array))) for array in self._arrays]
        for array, made in zip(self._arrays, self._make(keys), strict=True):
            array[self._num : end] = made
        self._place[keys] = np.arange(self._num, end)
        self._num = end

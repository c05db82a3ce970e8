"""Dynamic time warping of many pairs at once, on one flat array of frame distances.

The warp with the smallest sum of frame distances is taken (steps down, right and diagonal, all of weight 1), and the
sum is divided by the number of steps of that path; where sums are equal, the path with fewer steps counts.

A sum and its number of steps are one int64: the float32's bits above, the steps below. Floats that are not negative are
ordered as their bits are, so one `minimum` finds the smaller sum and, of equal ones, the fewer steps.

P pairs; pair p has `rows[p]` times `columns[p]` distances, row i of which begins at `starts[p] + i * strides[p]`.
"""

import sys
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

PAIRS = 4096  # at once: their state stays in the cache
_FAR = np.int64(int(np.float32(np.inf).view(np.int32)) << 32)
_SUM = slice(1, None, 2) if sys.byteorder == "little" else slice(0, None, 2)  # the upper halves


def warp(
    costs: NDArray[np.float32], starts: NDArray[np.int64], strides: NDArray[np.int64], rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float32]:  # fmt: skip
    """DTW distances [P]. `costs` [..] must be finite and not negative; all pairs have at least one row and column."""
    found = np.empty(len(starts), np.float32)
    order = np.lexsort((columns, rows))  # pairs of like size together: little is wasted
    for first in range(0, len(order), PAIRS):
        chosen = order[first : first + PAIRS]
        found[chosen] = _warp(costs, starts[chosen], strides[chosen], rows[chosen], columns[chosen])
    return found


def _warp(
    costs: NDArray[np.float32], starts: NDArray[np.int64], strides: NDArray[np.int64], rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float32]:  # fmt: skip
    """Of pairs in the order of their sizes. What is read beyond a pair's own distances does no harm."""
    ends = _ends(rows, columns)
    height, width = int(rows.max()), int(columns.max())
    state = np.full((width + 1, len(rows)), _FAR)  # of the row above, then of this one, with a border
    state[0] = 0
    best, diagonal, found = (np.empty(len(rows), np.int64) for _ in range(3))
    cost = np.empty(len(rows), np.float32)
    sums = best.view(np.float32)[_SUM]
    for i in range(height):
        place = starts + i * strides
        diagonal[:] = state[0]
        state[0] = _FAR
        for j in range(width):
            above = state[j + 1]
            np.minimum(diagonal, above, out=best)
            np.minimum(best, state[j], out=best)
            diagonal[:] = above
            costs.take(place, out=cost, mode="clip")
            np.add(sums, cost, out=sums)
            np.add(best, 1, out=above)
            place += 1
            if (i + 1, j + 1) in ends:
                own = ends[i + 1, j + 1]
                found[own] = above[own]
    steps = (found & 0xFFFFFFFF).astype(np.float32)
    return found.view(np.float32)[_SUM] / steps


def _ends(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> dict[tuple[int, int], slice]:
    """Where pairs of each size lie."""
    changes = np.flatnonzero(np.diff(rows) | np.diff(columns)) + 1
    edges = [0, *changes.tolist(), len(rows)]
    return {(int(rows[a]), int(columns[a])): slice(a, b) for a, b in pairwise(edges)}

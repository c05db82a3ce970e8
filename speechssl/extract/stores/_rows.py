"""What the stores of features check on reading: the frames of a row are as many as its line says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.errors import DataError


def checked(frames: np.ndarray, row: Mapping[str, Any], where: Path) -> np.ndarray:
    """`frames`, or DataError where they are not float features [row's frames, C]."""
    if frames.ndim != 2 or frames.dtype.kind != "f" or len(frames) != row["frames"]:
        found = f"{frames.dtype} {list(frames.shape)}"
        raise DataError(f"{where}: {row['id']!r} has {found}, not {row['frames']} frames; run `speechssl verify`")
    return frames

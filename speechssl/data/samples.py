"""Samples of whatever stands for a recording in the Python API."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from speechssl.errors import DataError

if TYPE_CHECKING:
    from speechssl.audio import Audio


def samples_at(audio: "str | Path | Audio | np.ndarray | Tensor", given: int | None, rate: int) -> np.ndarray:
    """float32 [S] at `rate` Hz of a file, a recording, or samples at `given` Hz. Raises AudioError, DataError."""
    if isinstance(audio, str | Path):
        if given is not None:
            raise DataError("sample_rate is read from the file; give it for samples only")
        from speechssl.audio import read  # here: who gives samples needs no audio library

        return read(audio, sample_rate=rate).samples
    if isinstance(audio, Tensor):
        array = audio.detach().cpu().numpy()
    elif isinstance(audio, np.ndarray):
        array = audio
    else:
        array, given = audio.samples, audio.sample_rate
    if array.ndim != 1:
        raise DataError(f"expected mono samples [S], got shape {list(array.shape)}")
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"expected samples as floats in [-1, 1], got {array.dtype} (divide 16-bit integers by 32768)")
    if given is None:
        raise DataError("samples need their sample_rate beside them")
    if not np.isfinite(array).all():
        raise DataError("the samples contain NaN or infinity")
    samples = np.ascontiguousarray(array, dtype=np.float32)
    if given == rate:
        return samples
    import soxr

    return soxr.resample(samples, given, rate, quality="HQ")  # as speechssl.audio does

"""Writing recordings: through a temporary file, so that a killed program leaves no half file under the final name."""

import os
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import ArrayLike

from speechssl.errors import AudioError


def write(path: str | Path, samples: ArrayLike, sample_rate: int, subtype: str | None = "PCM_16") -> None:
    """Write samples [S] or [S, channels] in -1..1; the suffix names the format; integer subtypes clip at full scale.

    `subtype=None` is the format's default (wanted for .ogg, .opus, .mp3). Raises AudioError.
    """
    path, array = Path(path), np.asarray(samples)
    if array.ndim not in (1, 2) or not np.isfinite(array).all():
        code = "non-finite" if array.ndim in (1, 2) else "unsupported"
        raise AudioError(code, f"{path}: samples {array.shape} must be finite, [S] or [S, channels]")
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")
    kind = {"OPUS": "OGG", "OGA": "OGG", "AIF": "AIFF"}.get(path.suffix[1:].upper(), path.suffix[1:].upper())
    if path.suffix.lower() == ".opus" and subtype in (None, "PCM_16"):
        subtype = "OPUS"
    try:
        if kind not in soundfile.available_formats() or not soundfile.check_format(kind, subtype):
            raise AudioError("unsupported", f"{path}: cannot write {subtype} as {kind or 'a file without suffix'}")
        soundfile.write(temporary, array, sample_rate, subtype=subtype, format=kind)
        temporary.replace(path)
    except soundfile.LibsndfileError as error:
        raise AudioError("unsupported", f"{path}: {error.error_string}") from None
    finally:
        temporary.unlink(missing_ok=True)

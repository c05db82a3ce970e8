"""Writing recordings: through a temporary file, so that a killed program leaves no half file under the final name."""

import io
import os
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import ArrayLike

from speechssl.errors import AudioError


def write(path: str | Path, samples: ArrayLike, sample_rate: int, subtype: str | None = "PCM_16") -> None:
    """Write samples [S] or [S, channels] in -1..1; the suffix names the format; integer subtypes clip at full scale.

    Lossy formats, which hold no PCM, take their own default subtype. Raises AudioError.
    """
    path, array = Path(path), np.asarray(samples)
    if array.ndim not in (1, 2) or not np.isfinite(array).all():
        code = "non-finite" if array.ndim in (1, 2) else "unsupported"
        raise AudioError(code, f"{path}: samples {array.shape} must be finite, [S] or [S, channels]")
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")
    kind = {"OPUS": "OGG", "OGA": "OGG", "AIF": "AIFF"}.get(path.suffix[1:].upper(), path.suffix[1:].upper())
    if subtype in (None, "PCM_16") and kind in ("OGG", "MP3"):
        subtype = "OPUS" if path.suffix.lower() == ".opus" else None
    encoded = io.BytesIO()  # the file itself is written by Python, which reports a full disk
    try:
        if kind not in soundfile.available_formats() or not soundfile.check_format(kind, subtype):
            raise AudioError("unsupported", f"{path}: cannot write {subtype} as {kind or 'a file without suffix'}")
        soundfile.write(encoded, array, sample_rate, subtype=subtype, format=kind)
        temporary.write_bytes(encoded.getbuffer())
        temporary.replace(path)
    except soundfile.LibsndfileError as error:
        raise AudioError("unsupported", f"{path}: {error.error_string}") from None
    finally:
        temporary.unlink(missing_ok=True)

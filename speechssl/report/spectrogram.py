"""Log-mel spectrograms as pictures. For the eye only: features for models come from `speechssl.encoders`.

Mel scale of O'Shaughnessy (1127 ln(1 + f/700)), triangular filters of unit height, Hann windows of 25 ms centred on
their column, so that column j shows the sound around time (j + 0.5) x hop.
"""

import numpy as np
from numpy.typing import NDArray

from speechssl.report import png

WINDOW_S = 0.025
DYNAMIC_RANGE_DB = 70.0
# Perceptually rising dark-to-light ramp: silence dark, speech warm. Written as anchors, interpolated to 256 colours.
_ANCHORS = [(8, 6, 22), (41, 18, 82), (98, 24, 110), (156, 42, 103), (210, 72, 79), (243, 124, 56), (251, 188, 84),
            (252, 246, 196)]  # fmt: skip


def palette() -> NDArray[np.uint8]:
    """256 sRGB colours [256, 3]."""
    anchors = np.array(_ANCHORS, float)
    place = np.linspace(0, len(anchors) - 1, 256)
    columns = [np.interp(place, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    return np.stack(columns, axis=1).round().astype(np.uint8)


def log_mel(
    samples: NDArray[np.float32], sample_rate: int, *, num_columns: int, hop_s: float, num_mels: int = 64
) -> NDArray[np.float32]:
    """Mel energies in dB [num_columns, num_mels], lowest frequency first; silence is far below 0 but finite."""
    hop, window = hop_s * sample_rate, round(WINDOW_S * sample_rate)
    centres = ((np.arange(num_columns) + 0.5) * hop).astype(np.int64)
    padded = np.pad(samples.astype(np.float64), (window, window + int(num_columns * hop)))
    size = 1 << (window - 1).bit_length()
    filters = mel_filters(num_mels, size, sample_rate)
    taper = np.hanning(window)
    out = np.empty((num_columns, num_mels), np.float32)
    for start in range(0, num_columns, 4096):  # blocks: an hour of audio must not become one matrix of windows
        index = centres[start : start + 4096, None] - window // 2 + window + np.arange(window)
        windows = padded[index]
        windows -= windows.mean(1, keepdims=True)  # a constant offset of the sound card is no sound
        power = np.abs(np.fft.rfft(windows * taper, size)) ** 2
        out[start : start + 4096] = 10 * np.log10(power @ filters.T + 1e-10)
    return out


def mel_filters(num_mels: int, fft_size: int, sample_rate: int, low_hz: float = 60.0) -> NDArray[np.float64]:
    """Triangular filters [num_mels, fft_size // 2 + 1] of unit height, evenly spaced in mel from low_hz to Nyquist."""
    edges = np.linspace(hz_to_mel(low_hz), hz_to_mel(sample_rate / 2), num_mels + 2)
    bins = hz_to_mel(np.arange(fft_size // 2 + 1) * sample_rate / fft_size)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clip(0)
    empty = filters.sum(1) == 0  # narrow low filters can fall between two bins: give them the nearest one
    filters[empty, np.abs(bins - edges[1:-1][empty, None]).argmin(1)] = 1.0
    return filters


def hz_to_mel(hz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequency in mel."""
    return 1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)


def picture(mel: NDArray[np.float32]) -> bytes:
    """PNG of dB values [T, M]: time to the right, high frequencies on top, 70 dB below the loudest is black."""
    top = float(np.percentile(mel, 99.8))
    scaled = (mel - (top - DYNAMIC_RANGE_DB)) / DYNAMIC_RANGE_DB
    indices = (scaled.clip(0, 1) * 255).round().astype(np.uint8)
    return png.encode(np.ascontiguousarray(indices.T[::-1]), palette())

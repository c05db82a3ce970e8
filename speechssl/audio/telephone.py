"""Speech as it comes out of a telephone: 300 to 3400 Hz at 8 kHz, in 8 bits of G.711, with lost packets.

ITU-T G.711 (11/88): A-law (table 1) and µ-law (table 2), eight logarithmic segments of 16 steps each for either sign.
Numbers here are of 16 bits: 8 times the table's in A-law, 4 times in µ-law. A lost packet of 20 ms is silence, as a
receiver without concealment plays it.

S samples.
"""

from functools import cache
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

from speechssl.errors import ConfigError

FloatArray = NDArray[np.float32]
Line = Literal["none", "band", "alaw", "mulaw"]  # band: 8 kHz and its band, samples as they are
RATE, PACKET = 8_000, 160  # Hz, samples
_LOW, _HIGH, _TAPS = 300.0, 3400.0, 257  # Hz; of a filter with 32 ms
_BIAS, _MOST = 132, 32_635  # of µ-law: 33 and 8159 in its table, less one step


def telephone(
    samples: FloatArray, sample_rate: int, line: Line, random: np.random.Generator, packet_loss: float = 0.0
) -> FloatArray:
    """samples [S] at the other end of the line, [S] at the same rate; nothing is shifted in time.

    packet_loss: the share of packets that are lost, each on its own. ConfigError for less than 8 kHz.
    """
    if sample_rate < RATE:
        raise ConfigError(f"a telephone line needs at least {RATE} Hz, the recording has {sample_rate}")
    if line == "none" or not len(samples):
        return samples
    narrow = soxr.resample(samples.astype(np.float64), sample_rate, RATE)
    narrow = np.convolve(narrow, _band())[_TAPS // 2 : _TAPS // 2 + len(narrow)]
    if line != "band":
        encode, decode = (encode_alaw, alaw_values) if line == "alaw" else (encode_mulaw, mulaw_values)
        whole = np.clip(np.round(narrow * 32768), -32768, 32767).astype(np.int64)
        narrow = decode()[encode(whole)] / 32768
    if packet_loss:
        lost = random.random(-(-len(narrow) // PACKET)) < packet_loss
        narrow = np.where(np.repeat(lost, PACKET)[: len(narrow)], 0.0, narrow)
    wide = soxr.resample(narrow, RATE, sample_rate)[: len(samples)]
    return np.pad(wide, (0, len(samples) - len(wide))).astype(np.float32)


def encode_alaw(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """8-bit codes, even bits inverted as they are sent, of samples in -32768..32767."""
    size = np.minimum(np.abs(samples), 32_767)
    segment = np.maximum(_log2(np.maximum(size, 1)) - 7, 0)
    step = size >> np.maximum(segment + 3, 4) & 15
    return (np.where(samples >= 0, 128, 0) | segment << 4 | step) ^ 0x55


def encode_mulaw(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """8-bit codes, all bits inverted as they are sent, of samples in -32768..32767."""
    size = np.minimum(np.abs(samples), _MOST) + _BIAS
    segment = _log2(size) - 7
    return (np.where(samples >= 0, 0, 128) | segment << 4 | size >> (segment + 3) & 15) ^ 255


@cache
def alaw_values() -> NDArray[np.int64]:
    """What each of the 256 codes of A-law means, -32256..32256."""
    code = np.arange(256) ^ 0x55
    segment, step = code >> 4 & 7, code & 15
    size = np.where(segment == 0, step * 16 + 8, (step * 16 + 264) << np.maximum(segment - 1, 0))
    return np.where(code & 128, size, -size)


@cache
def mulaw_values() -> NDArray[np.int64]:
    """What each of the 256 codes of µ-law means, -32124..32124."""
    code = np.arange(256) ^ 255
    size = ((code & 15) * 8 + _BIAS << (code >> 4 & 7)) - _BIAS
    return np.where(code & 128, -size, size)


def _log2(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rounded down; exact below 2**53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


@cache
def _band() -> NDArray[np.float64]:
    """A band-pass without delay: a windowed sinc (Hamming), [_TAPS]."""
    time = np.arange(_TAPS) - _TAPS // 2
    low, high = (2 * edge / RATE * np.sinc(2 * edge / RATE * time) for edge in (_LOW, _HIGH))
    return np.asarray((high - low) * np.hamming(_TAPS))

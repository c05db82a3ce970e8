"""Reverberation of a rectangular room by the image method (Allen & Berkley, "Image method for efficiently simulating
small-room acoustics", JASA 65, 1979).

All six walls reflect alike, by Eyring's formula for the reverberation time asked for; sound travels at 343 m/s; the
echo of each image falls on the nearest sample. What is returned begins at the direct sound, which has gain 1, so that
recordings keep their timing.

differs: a reflection reverses the sign. With positive ones, as in the paper, echoes that share a sample add up: sound
fell by 60 dB in 1.4 to 1.7 times the time asked for, with these in 1.05 to 1.35 times (15 drawn rooms, 0.2 to 1 s).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import ConfigError

SPEED = 343.0  # m/s
_LONGEST_RT60_S = 2.0  # echoes grow with its cube
_MARGIN_M = 0.5  # source and microphone from the walls

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Room:
    """Metres; x, y, z."""

    size: tuple[float, float, float]
    source: tuple[float, float, float]
    microphone: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Refuse what is outside."""
        inside = all(0 < p < s for at in (self.source, self.microphone) for p, s in zip(at, self.size, strict=True))
        if not inside or self.source == self.microphone:
            raise ConfigError(f"source and microphone must be two places within the room, got {self}")


def draw_room(random: np.random.Generator) -> Room:
    """A room of 3 to 8 by 3 to 6 by 2.4 to 3.5 m, source and microphone half a metre or more from its walls."""
    size = random.uniform((3.0, 3.0, 2.4), (8.0, 6.0, 3.5))
    source, microphone = (random.uniform(_MARGIN_M, size - _MARGIN_M) for _ in range(2))
    return Room(*(tuple(map(float, values)) for values in (size, source, microphone)))  # type: ignore[arg-type]


def reflection(size: tuple[float, float, float], rt60_s: float) -> float:
    """What a wall makes of a wave's amplitude, in -1..0, so that sound falls by 60 dB within rt60_s (Eyring)."""
    x, y, z = size
    surface = 2 * (x * y + y * z + z * x)
    absorbed = 1 - math.exp(-24 * math.log(10) / SPEED * (x * y * z) / (surface * rt60_s))
    return -math.sqrt(1 - absorbed)


def impulse_response(room: Room, rt60_s: float, sample_rate: int) -> FloatArray:
    """[N], N = rt60_s * sample_rate + 1 samples from the direct sound on. ConfigError for times above 2 s."""
    if not 0 < rt60_s <= _LONGEST_RT60_S:
        raise ConfigError(f"a reverberation time lies in 0..{_LONGEST_RT60_S:g} s, got {rt60_s:g}")
    beta = reflection(room.size, rt60_s)
    direct = math.dist(room.source, room.microphone)
    length = round(rt60_s * sample_rate) + 1
    reach = direct + rt60_s * SPEED
    axes = [_images(*values, reach, beta) for values in zip(room.size, room.source, room.microphone, strict=True)]
    response = np.zeros(length)
    (dx, gx), (dy, gy), (dz, gz) = axes
    flat = dy[:, None] ** 2 + dz[None, :] ** 2
    gains = gy[:, None] * gz[None, :]
    for offset, gain in zip(dx, gx, strict=True):  # a plane of images at a time
        distance = np.sqrt(offset**2 + flat)
        sample = np.rint((distance - direct) / SPEED * sample_rate).astype(np.int64)
        heard = sample < length
        response += np.bincount(sample[heard], (gain * gains * direct / distance)[heard], minlength=length)
    return response


def _images(size: float, source: float, microphone: float, reach: float, beta: float) -> tuple[FloatArray, FloatArray]:
    """Along one axis: how far each image of the source is from the microphone, and its gain after its reflections."""
    order = math.ceil(reach / (2 * size)) + 1
    n = np.arange(-order, order + 1)
    places = np.concatenate([2 * n * size + source, 2 * n * size - source])
    bounces = np.concatenate([2 * np.abs(n), np.abs(n) + np.abs(n - 1)])
    return places - microphone, beta**bounces

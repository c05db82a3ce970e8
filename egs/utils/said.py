"""What espeak-ng says of a text, as a recording of a pair; see speechssl.phones.speak.

Scripts of recipes find this file beside the others of egs/utils.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import soxr
from free_speech import RATE

from speechssl.phones.speak import Speaker


@dataclass(frozen=True)
class Said:
    """A text in a language that espeak-ng has a voice of."""

    text: str
    language: str

    def samples(self) -> np.ndarray:
        """[S] float32 at 16 kHz. DataError for a text of which it says nothing, ConfigError without espeak-ng."""
        speaker = _speaker(self.language)
        return soxr.resample(speaker(self.text), speaker.sample_rate, RATE)


@cache
def _speaker(language: str) -> Speaker:
    return Speaker(language)

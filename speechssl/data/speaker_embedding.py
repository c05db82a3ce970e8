"""Speaker embeddings by another package: resemblyzer's, of GE2E (arXiv:1710.10467), 256 numbers of length 1.

Its weights come inside the package. S samples, E channels.
"""

import importlib
from collections.abc import Iterable
from itertools import islice

import numpy as np

from speechssl.data.corpus import read_utterance
from speechssl.data.utterance import Utterance
from speechssl.errors import ConfigError, DataError

NAME = "resemblyzer"
_RATE = 16_000  # Hz, the package's own
HEARD = 20  # recordings of one speaker that tell who it is


class SpeakerEmbedder:
    """ConfigError where the package is missing; needed_by: who asks, for the message."""

    def __init__(self, needed_by: str) -> None:
        try:
            self.package = importlib.import_module(NAME)
        except ImportError as error:
            raise ConfigError(f"{needed_by} needs a package: pip install {NAME} ({error})") from None
        self.encoder = self.package.VoiceEncoder("cpu", verbose=False)

    def __call__(self, wav: np.ndarray, rate: int) -> np.ndarray:
        """[E] float32 of samples [S]: pauses are cut out and loudness is normalised before."""
        return self.encoder.embed_utterance(self.package.preprocess_wav(wav, source_sr=rate))

    def voice(self, utterances: Iterable[Utterance]) -> np.ndarray:
        """[E] of one speaker: the mean over the first recordings, of length 1. DataError for none."""
        found = [self(read_utterance(one, sample_rate=_RATE).samples, _RATE) for one in islice(utterances, HEARD)]
        if not found:
            raise DataError("a voice needs one recording at least")
        return mean_voice(found)


def mean_voice(embeddings: list[np.ndarray]) -> np.ndarray:
    """The mean [E] float32 of embeddings [E], of length 1. DataError where they cancel out."""
    mean = np.mean(np.stack(embeddings).astype(np.float64), 0)
    length = float(np.linalg.norm(mean))
    if not length > 1e-6:
        raise DataError("the speaker embeddings have no mean direction: is there speech in the recordings?")
    return (mean / length).astype(np.float32)

"""Units that come one after the other to samples, as soon as no later unit can change them.

Latency: the frames that the generator sees ahead (`reach`), and nothing else. What comes out is `synthesize` of all
units up to rounding, however they were divided.
"""

import torch
from torch import Tensor

from speechssl.errors import DataError
from speechssl.vocoders.unit_vocoder import UnitVocoder


class Stream:
    """One utterance. Call `feed` with units as they come, `finish` at its end, and put together what both give."""

    def __init__(self, vocoder: UnitVocoder, *, speaker: int | None = None) -> None:
        self.vocoder, self.speaker = vocoder, speaker
        self.left, self.right = vocoder.generator.reach
        self._ids = torch.zeros(0, dtype=torch.int64)  # the last ones made, as far as the next depend on them; then new
        self._made = 0  # of `_ids`

    @property
    def latency_s(self) -> float:
        """Seconds of units that must have come before a sample is made."""
        return self.right / self.vocoder.rate_hz

    def feed(self, ids: Tensor) -> Tensor:
        """Samples [S] that are settled by units [N]; none as yet where too few have come. DataError as `check`."""
        if len(ids):
            self.vocoder.check(ids, self.speaker)
        self._ids = torch.cat([self._ids, ids.cpu().long()])
        return self._make(len(self._ids) - self.right)

    def finish(self) -> Tensor:
        """The rest. DataError where there was no unit at all."""
        if not len(self._ids):
            raise DataError("there are no units to speak: was the recording shorter than one frame?")
        return self._make(len(self._ids))

    @torch.inference_mode()
    def _make(self, until: int) -> Tensor:
        hop = self.vocoder.hop
        if until <= self._made:
            return torch.zeros(0)
        who = None if self.speaker is None else torch.tensor([self.speaker])
        wav = self.vocoder(self._ids[None, : until + self.right], who)[0, self._made * hop : until * hop]
        drop = max(0, until - self.left)
        self._ids, self._made = self._ids[drop:], until - drop
        return wav

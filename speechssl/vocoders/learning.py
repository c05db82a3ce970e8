"""A vocoder as it is trained: of the units or the mels of real speech, with weight norm, against
`training.adversarial`.

B utterances, S samples, T frames.
"""

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import DataError
from speechssl.nn.adversarial import Generated
from speechssl.nn.lengths import valid_mask, valid_or_none, zero_padding
from speechssl.nn.wave_blocks import add_weight_norm, without_weight_norm
from speechssl.nn.wave_generator import WaveGenerator
from speechssl.vocoders.frame_vocoder import num_frames
from speechssl.vocoders.mel_vocoder import MelVocoder
from speechssl.vocoders.unit_vocoder import UnitVocoder, held

V = TypeVar("V", UnitVocoder, MelVocoder)


def _whole(pitch: Tensor, frames: int) -> Tensor:
    """Pitch [B, frames, 2] of pitch [B, T, 2]: unvoiced behind its end."""
    return nn.functional.pad(pitch[:, :frames], (0, 0, 0, max(0, frames - pitch.shape[1])))


class Learning(nn.Module, Generic[V]):
    """The generator of a vocoder's training. The groups of a batch are its speakers, where the vocoder has several."""

    def __init__(self, vocoder: V) -> None:
        super().__init__()
        self.vocoder: V = vocoder
        if isinstance(vocoder.generator, WaveGenerator):
            add_weight_norm(vocoder.generator)

    def reconstruct(self, batch: Batch) -> Generated:
        """What the vocoder makes of a batch's labels, or of its mels."""
        samples, hop = batch.wav.shape[1], self.vocoder.hop
        frames = -(-samples // hop)
        valid, real = None, None
        if not self.training:  # in training crops are of one length
            real = valid_or_none(batch.lengths, samples)
            valid = None if real is None else valid_mask(num_frames(batch.lengths, hop), frames)
        made = (_of_mels if isinstance(self.vocoder, MelVocoder) else _of_units)(self.vocoder, batch, frames, valid)
        made = made[:, :samples].float()
        return Generated(zero_padding(batch.wav, real), zero_padding(made, real), {})

    def after_step(self, step: int) -> None:
        """Nothing follows the weights."""

    def trained(self) -> V:
        """The vocoder for use: plain weights, in eval mode, on the CPU."""
        vocoder = type(self.vocoder)(self.vocoder.config)
        tensors: dict[str, Tensor] = {k: v.detach().cpu() for k, v in self.vocoder.state_dict().items()}
        with torch.no_grad():
            vocoder.load_state_dict(without_weight_norm(tensors))
        return vocoder.eval().requires_grad_(False)


def _of_units(vocoder: UnitVocoder, batch: Batch, frames: int, valid: Tensor | None) -> Tensor:
    """wav [B, T * hop] of a batch's units, with its speakers and pitch where the vocoder wants them."""
    if batch.labels is None:
        raise DataError("a vocoder learns from units: give data.labels, an output of speechssl units")
    speakers = batch.groups if vocoder.speakers is not None else None
    pitch = None
    if vocoder.config.has_pitch:
        if batch.pitch is None:
            raise DataError("this vocoder learns from pitch, too: give data.pitch, an output of speechssl pitch")
        pitch = vocoder.pitch_input(_whole(batch.pitch, frames))
    return vocoder(held(batch.labels, frames), speakers, valid, pitch=pitch)


def _of_mels(vocoder: MelVocoder, batch: Batch, frames: int, valid: Tensor | None) -> Tensor:
    """wav [B, T * hop] of the mels of a batch's waveforms: of a crop, as it is heard by itself."""
    return vocoder(vocoder.mels_of(batch.wav, batch.lengths, frames * vocoder.config.stacked), valid)

"""Training of a mel reader: F0 and voicing of every frame from `speechssl pitch`, and units where they are given.

B utterances, T mel frames, V units.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError, DataError
from speechssl.nn.lengths import valid_mask
from speechssl.objectives import Outcome
from speechssl.vocoders.mel_reader import Config, MelReader

_SEMITONES = 12 / math.log(2)  # of a natural logarithm


def pitch_losses(said: Tensor, pitch: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over real frames `valid` [B, T]: of log F0 said[..., 0] the error where voiced, squared up to 0.1 and
    straight beyond (times 10); of voicing said[..., 1] the cross entropy. said, pitch [B, T, 2].
    """
    voiced = pitch[..., 1] > 0.5
    errors = 10 * F.smooth_l1_loss(said[..., 0].float(), pitch[..., 0].float(), beta=0.1, reduction="none")
    told = F.binary_cross_entropy_with_logits(said[..., 1].float(), voiced.float(), reduction="none")
    return errors[valid & voiced].sum(), told[valid].sum()


class Reading(nn.Module):
    """What `loop.Trainer` trains. rate_hz: of pitch and labels, of which each is that of several mel frames."""

    def __init__(self, config: Config, *, rate_hz: float) -> None:
        super().__init__()
        self.reader = MelReader(config)
        self.ratio = round(config.sample_rate / (config.hop * rate_hz))
        if not self.ratio or not math.isclose(self.ratio * config.hop * rate_hz, config.sample_rate):
            raise ConfigError(f"pitch at {rate_hz:g} Hz for mels of {config.hop} samples at {config.sample_rate} Hz: "
                              "there must be a whole number of mel frames to each")  # fmt: skip

    def forward(self, batch: Batch) -> Outcome:
        """The loss over real mel frames; counts them."""
        if batch.pitch is None:
            raise DataError("a mel reader learns F0: give data.pitch, an output of speechssl pitch")
        config, longest = self.reader.config, self.ratio * batch.pitch.shape[1]
        counts = (batch.lengths // config.hop).clamp_max(longest)
        frames = int(counts.max())
        valid = valid_mask(counts, frames)
        mel = self.reader.mels(batch.wav, batch.lengths, frames)
        pitch = batch.pitch.repeat_interleave(self.ratio, 1)[:, :frames]
        said = self.reader.f0(self.reader.hear_pitch(mel))
        errors, told = pitch_losses(said, pitch, valid)
        count = int(valid.sum())
        voiced = valid & (pitch[..., 1] > 0.5)
        found = said.detach().float()
        apart = (found[..., 0] - pitch[..., 0])[voiced].square().sum()
        scalars: dict[str, Tensor | float] = {
            "f0_rmse_semitones": float(_SEMITONES * (apart / voiced.sum().clamp_min(1)).sqrt()),
            "voicing_error": float((((found[..., 1] > 0) != (pitch[..., 1] > 0.5)) & valid).sum() / max(1, count)),
        }
        loss = errors + told
        if self.reader.units is not None:
            more, scalars["unit_accuracy"] = self._units(batch.labels, mel, valid)
            loss = loss + more
        return Outcome(loss, count, scalars)

    def _units(self, labels: Tensor | None, mel: Tensor, valid: Tensor) -> tuple[Tensor, float]:
        """Cross entropy of the units of real frames that have one, and how many were right."""
        if labels is None:
            raise DataError("this mel reader learns units: give data.labels, an output of speechssl units")
        assert self.reader.units is not None
        wide = labels.repeat_interleave(self.ratio, 1)[:, : mel.shape[1]]
        wide = F.pad(wide, (0, mel.shape[1] - wide.shape[1]), value=-1)
        known = valid & (wide >= 0)
        logits, wanted = self.reader.units(self.reader.hear_content(mel)).float()[known], wide[known]
        right = float((logits.argmax(1) == wanted).sum() / max(1, len(wanted)))
        return F.cross_entropy(logits, wanted, reduction="sum"), right

    def after_step(self, step: int) -> None:
        """Nothing follows the weights."""

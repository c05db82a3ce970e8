"""vq-wav2vec (arXiv:1910.05453): wav2vec's task on quantized frames; the codes are then text for BERT.

The encoder says which quantizer: Gumbel softmax, whose temperature falls, or online k-means with two losses of its own.

B utterances, T frames, G codebooks of V entries, N real frames of all utterances.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch, generator
from speechssl.encoders.vq_wav2vec import Model
from speechssl.errors import ConfigError
from speechssl.nn.lengths import valid_mask
from speechssl.objectives import Outcome
from speechssl.objectives.wav2vec import Config as Contrast
from speechssl.objectives.wav2vec import FuturePrediction
from speechssl.quantizers.gumbel import Quantized, diversity, gumbel_noise
from speechssl.quantizers.vq import quantization_loss


@dataclass(frozen=True)
class Config:
    """The large models' settings. After each field: its name in fairseq's configs."""

    contrast: Contrast = field(default_factory=lambda: Contrast(steps=8))
    commitment: float = 0.25  # k-means only: gamma, γ
    gumbel_start: float = 2.0  # Gumbel only: vq_temp, τ
    gumbel_end: float = 0.5
    gumbel_updates: int = 280_000  # τ falls in a straight line over so many: 70 % of the paper's 400,000

    def __post_init__(self) -> None:
        """Refuse temperatures that do not fall."""
        if self.commitment < 0 or self.gumbel_updates < 1 or not 0 < self.gumbel_end <= self.gumbel_start:
            raise ConfigError(f"vq_wav2vec needs commitment >= 0 and 0 < gumbel_end <= gumbel_start, got {self}")


class Objective(nn.Module):
    """Prediction of the future in quantized frames."""

    def __init__(self, encoder: Model, config: Config) -> None:
        super().__init__()
        if not isinstance(encoder, Model):
            raise ConfigError("vq_wav2vec trains encoders of the family vq_wav2vec, which have a quantizer")
        self.encoder = encoder
        self.config = config
        self.predictions = FuturePrediction(encoder.dim, encoder.dim, config.contrast)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.after_step(0)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over frames and steps; counts pairs of a frame and a step whose future is known."""
        x, lengths = self.encoder.frontend(batch.wav, batch.lengths)
        latent = self.encoder.quantize(x, lengths, noise=self._noise(batch, lengths.tolist()))
        quantized = latent.quantized
        c = self.encoder.context(latent.z, lengths)
        found = self.predictions(latent.z, c, lengths, batch.seeds.tolist())
        scalars, loss = found.scalars, found.loss
        if isinstance(quantized, Quantized):
            scalars["perplexity"] = diversity(quantized.probabilities)[1].detach()
            scalars["temperature"] = self.encoder.quantizer.temperature
        else:
            distance = quantization_loss(latent.inputs, quantized.entries, self.config.commitment)
            scalars["quantization_loss"] = distance.detach() / max(1, found.count)
            loss = loss + distance
        frames = c[valid_mask(lengths, c.shape[1])].detach()
        return Outcome(loss, found.count, scalars, frames, quantized.codes)

    def _noise(self, batch: Batch, counts: list[int]) -> Tensor | None:
        """Gumbel noise for all real frames, each utterance's from its own seed; none in validation or for k-means."""
        settings = self.encoder.config
        if not self.training or settings.quantizer != "gumbel":
            return None
        shape = (settings.groups, settings.entries)
        parts = [gumbel_noise((n, *shape), generator(int(s) ^ 2)) for n, s in zip(counts, batch.seeds, strict=True)]
        return torch.cat(parts).to(batch.wav.device)

    def after_step(self, step: int) -> None:
        """The temperature falls with the updates."""
        config = self.config
        self.updates.fill_(step)
        share = min(1.0, step / config.gumbel_updates)
        if self.encoder.config.quantizer == "gumbel":
            falls = config.gumbel_start - config.gumbel_end
            self.encoder.quantizer.temperature = config.gumbel_start - falls * share

    def load_state_dict(self, *args: object, **kwargs: object) -> object:
        """As ever, and the temperature of the state's update."""
        found = super().load_state_dict(*args, **kwargs)
        self.after_step(int(self.updates))
        return found

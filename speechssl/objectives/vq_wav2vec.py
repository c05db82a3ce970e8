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
from speechssl.quantizers.restart import DeadCodes, draw_keys
from speechssl.quantizers.vq import VectorQuantizer, quantization_loss


@dataclass(frozen=True)
class Config:
    """The large models' settings. After each field: its name in fairseq's configs."""

    contrast: Contrast = field(default_factory=lambda: Contrast(steps=8))
    commitment: float = 0.25  # k-means only: gamma, γ
    restart_after: int = 0  # k-means only: updates without a frame after which an entry starts anew at one; 0: never
    gumbel_start: float = 2.0  # Gumbel only: vq_temp, τ
    gumbel_end: float = 0.5
    diversity: float = 0.0  # Gumbel only: loss_weights, off as released: of the unused share of the codebooks
    gumbel_updates: int = 280_000  # τ falls in a straight line over so many: 70 % of the paper's 400,000

    def __post_init__(self) -> None:
        """Refuse temperatures that do not fall."""
        if min(self.commitment, self.diversity, self.restart_after) < 0 or self.gumbel_updates < 1:
            raise ConfigError("vq_wav2vec needs commitment, diversity, restart_after >= 0 and gumbel_updates >= 1, "
                              f"got {self}")  # fmt: skip
        if not 0 < self.gumbel_end <= self.gumbel_start:
            raise ConfigError(f"vq_wav2vec needs 0 < gumbel_end <= gumbel_start, got {self}")


class Objective(nn.Module):
    """Prediction of the future in quantized frames."""

    def __init__(self, encoder: Model, config: Config) -> None:
        super().__init__()
        if not isinstance(encoder, Model):
            raise ConfigError("vq_wav2vec trains encoders of the family vq_wav2vec, which have a quantizer")
        self.encoder = encoder
        self.config = config
        self.predictions = FuturePrediction(encoder.dim, encoder.dim, config.contrast)
        self.restart: DeadCodes | None = None
        if config.diversity and encoder.config.quantizer != "gumbel":
            raise ConfigError(f'diversity={config.diversity} has no effect with quantizer="kmeans"')
        if config.restart_after:
            if not isinstance(encoder.quantizer, VectorQuantizer):
                raise ConfigError('restart_after has no effect with quantizer="gumbel"')
            self.restart = DeadCodes(*encoder.quantizer.codebook.shape, after=config.restart_after)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._at(0)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over frames and steps; counts pairs of a frame and a step whose future is known."""
        config = self.config
        x, lengths = self.encoder.frontend(batch.wav, batch.lengths)
        latent = self.encoder.quantize(x, lengths, noise=self._noise(batch, lengths.tolist()))
        quantized = latent.quantized
        c = self.encoder.context(latent.z, lengths)
        found = self.predictions(latent.z, c, lengths, batch.seeds.tolist())
        scalars, loss = found.scalars, found.loss
        if isinstance(quantized, Quantized):
            unused, perplexity = diversity(quantized.probabilities)
            scalars["perplexity"] = perplexity.detach()
            loss = loss + config.diversity * unused * found.count
            scalars["temperature"] = self.encoder.quantizer.temperature
        else:
            distance = quantization_loss(latent.inputs, quantized.entries, config.commitment)
            scalars["quantization_loss"] = distance.detach() / max(1, len(latent.inputs))
            loss = loss + config.contrast.steps * distance  # a frame has so many pairs, over which the loss is a mean
            if self.restart is not None and self.training:
                self._collect(latent.inputs.detach(), quantized.codes, lengths, batch.seeds)
        frames = c[valid_mask(lengths, c.shape[1])].detach()
        return Outcome(loss, found.count, scalars, frames, quantized.codes)

    def _noise(self, batch: Batch, counts: list[int]) -> Tensor | None:
        """Gumbel noise for all real frames, each utterance's from its own seed; none in validation or for k-means."""
        settings = self.encoder.config
        if not self.training or settings.quantizer != "gumbel":
            return None
        shape = (settings.groups, settings.entries)
        device, seeds = batch.wav.device, batch.seeds.tolist()
        parts = [gumbel_noise((n, *shape), generator(s ^ 2, device)) for n, s in zip(counts, seeds, strict=True)]
        return torch.cat(parts)

    def _collect(self, frames: Tensor, codes: Tensor, lengths: Tensor, seeds: Tensor) -> None:
        """Frames [N, C] and their codes [N, G] for dead entries; a shared codebook takes the parts of all groups."""
        assert self.restart is not None
        groups = codes.shape[1]
        parts = frames.unflatten(-1, (groups, -1))  # [N, G, C / G]
        if self.encoder.config.shared:
            self.restart.collect(parts.flatten(0, 1).unsqueeze(0), codes.flatten().unsqueeze(1),
                                 draw_keys(lengths * groups, seeds))  # fmt: skip
        else:
            self.restart.collect(parts.transpose(0, 1), codes, draw_keys(lengths, seeds))

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """The temperature falls with the updates; entries that nothing chose start anew."""
        if self.restart is not None:
            dead, frames = self.restart.update()
            codebook = self.encoder.quantizer.codebook
            codebook.copy_(torch.where(dead.unsqueeze(-1), frames.to(codebook.dtype), codebook))
        self._at(step)

    def _at(self, step: int) -> None:
        config = self.config
        self.updates.fill_(step)
        share = min(1.0, step / config.gumbel_updates)
        if self.encoder.config.quantizer == "gumbel":
            falls = config.gumbel_start - config.gumbel_end
            self.encoder.quantizer.temperature = config.gumbel_start - falls * share

    def load_state_dict(self, *args: object, **kwargs: object) -> object:
        """As ever, and the temperature of the state's update."""
        found = super().load_state_dict(*args, **kwargs)
        self._at(int(self.updates))
        return found

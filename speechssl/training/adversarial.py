"""Training of a generator of waveforms against discriminators, by the same loop as everything else.

Two players and one loop: both losses are computed from one forward pass, the generator's with the discriminators'
parameters held fixed, the discriminators' on what was generated as a constant. So one backward pass of their sum gives
each player the gradient of its own loss, and one Adam over both does what two with the same settings would, for Adam
treats every parameter by itself. Checkpoints, resuming, accumulation and several processes come from `loop`.

differs: HiFi-GAN and the codecs step the discriminators first and judge what was generated once more; here both steps
start from the same state, as in simultaneous gradient descent, and the discriminators judge three times in place of
four. `training.clip` bounds the norm of both gradients together.

Of eq. (5) and (6) of arXiv:2010.05646 with multi-resolution mels (arXiv:2306.06546). B utterances, S samples.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError
from speechssl.metrics.si_sdr import si_sdr
from speechssl.nn.adversarial import Generated, discriminator_loss, feature_matching_loss, generator_loss
from speechssl.nn.mel_loss import NUM_MELS, WINDOWS, multi_scale_mel_loss
from speechssl.objectives import Outcome
from speechssl.vocoders.discriminators import Config as DiscriminatorConfig
from speechssl.vocoders.discriminators import Discriminators


class Generator(Protocol):
    """What plays against the discriminators: a module with these two."""

    def reconstruct(self, batch: Batch) -> Generated:
        """What it makes of a batch; in eval mode as it will be used."""
        ...

    def after_step(self, step: int) -> None:
        """As of an objective."""
        ...


@dataclass(frozen=True)
class Config:
    """Weights of the generator's losses; the defaults are the Descript codec's."""

    mel: float = 15.0
    waveform: float = 0.0  # of the mean absolute difference of samples
    adversarial: float = 1.0
    feature_matching: float = 2.0
    penalties: dict[str, float] = field(default_factory=dict)  # of the generator's own losses, by name
    adversarial_from: int = 0  # update from which the discriminators take part
    windows: tuple[int, ...] = WINDOWS  # of the mel distance, samples
    num_mels: tuple[int, ...] = NUM_MELS
    discriminators: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        """Refuse weights that reward."""
        weights = (self.mel, self.waveform, self.adversarial, self.feature_matching, *self.penalties.values())
        if min(weights) < 0 or self.mel + self.waveform <= 0 or self.adversarial_from < 0:
            raise ConfigError(f"weights must not be negative, and mel or waveform above 0, got {self}")
        if len(self.windows) != len(self.num_mels) or any(w < 8 or w & (w - 1) for w in self.windows):
            raise ConfigError(f"give num_mels for each window, and powers of two as windows, got {self.windows}")


class Adversarial(nn.Module):
    """Generator and discriminators; what `loop.Trainer` trains."""

    updates: Tensor

    def __init__(self, generator: nn.Module, config: Config, *, sample_rate: int) -> None:
        super().__init__()
        if config.adversarial_from and dist.is_available() and dist.is_initialized():
            raise ConfigError("adversarial_from needs a single process: others wait for every parameter's gradient")
        self.generator, self.config, self.sample_rate = generator, config, sample_rate
        self.discriminators: Discriminators | None = None
        if config.adversarial or config.feature_matching:
            self.discriminators = Discriminators(config.discriminators)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Outcome:
        """In training mode both players' losses, times B; in eval mode the mel distance, and SI-SDR beside it."""
        return self._learn(batch) if self.training else self._measure(batch)

    def after_step(self, step: int) -> None:
        """Count, and let the generator do what it does after a step."""
        self.updates.fill_(step)
        self.generator.after_step(step)

    def _learn(self, batch: Batch) -> Outcome:
        shortest = int(batch.lengths.min())  # crops are of one length; where they are not, what all have
        batch = replace(batch, wav=batch.wav[:, :shortest], lengths=batch.lengths.clamp_max(shortest))
        found = self.generator.reconstruct(batch)
        config = self.config
        terms = {
            "mel": multi_scale_mel_loss(found.real, found.made, sample_rate=self.sample_rate, windows=config.windows,
                                        num_mels=config.num_mels),
            "waveform": (found.real - found.made).abs().mean(),
            **found.penalties,
        }  # fmt: skip
        weights = {"mel": config.mel, "waveform": config.waveform, **self._penalties(found.penalties)}
        theirs = found.made.new_zeros(())
        if self.discriminators is not None and int(self.updates) >= config.adversarial_from:
            with held_fixed(self.discriminators):
                judged = self.discriminators(found.made)
            real, made = self.discriminators(found.real), self.discriminators(found.made.detach())
            theirs = discriminator_loss(real, made)
            terms |= {"adversarial": generator_loss(judged), "feature_matching": feature_matching_loss(real, judged)}
            weights |= {"adversarial": config.adversarial, "feature_matching": config.feature_matching}
        ours = torch.stack([weights[name] * term.float() for name, term in terms.items()]).sum()
        scalars: dict[str, Tensor | float] = {name: term.detach() for name, term in terms.items()}
        if self.discriminators is not None:
            scalars["discriminators"] = theirs.detach()
        count = len(batch.wav)
        return Outcome((ours + theirs) * count, count, scalars, codes=found.codes)

    def _penalties(self, penalties: Mapping[str, Tensor]) -> dict[str, float]:
        if set(penalties) != set(self.config.penalties):
            raise ConfigError(f"weights of penalties are given for {sorted(self.config.penalties)}, this generator has "
                              f"{sorted(penalties)}")  # fmt: skip
        return self.config.penalties

    def _measure(self, batch: Batch) -> Outcome:
        """Of each utterance by itself, for in one batch they are of different lengths. Silence has no SI-SDR."""
        found = self.generator.reconstruct(batch)
        distances, ratios = [], []
        for real, made, length in zip(found.real, found.made, batch.lengths.tolist(), strict=True):
            pair = real[None, :length], made[None, :length]
            distances.append(multi_scale_mel_loss(*pair, sample_rate=self.sample_rate, windows=self.config.windows,
                                                  num_mels=self.config.num_mels))  # fmt: skip
            ratio = si_sdr(pair[0][0].cpu(), pair[1][0].cpu())
            ratios.append(0.0 if math.isnan(ratio) else min(max(ratio, -100.0), 100.0))
        mel, count = torch.stack(distances).mean(), len(batch.wav)
        return Outcome(mel * count, count, {"mel": mel, "si_sdr_db": sum(ratios) / count}, codes=found.codes)


@contextmanager
def held_fixed(module: nn.Module) -> Iterator[None]:
    """Parameters of `module` are constants to what is computed in the block; gradients still pass through it."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)

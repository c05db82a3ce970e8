"""wav2vec 2.0 (arXiv:2006.11477): tell the quantized frame behind each masked place from other masked frames.

XLSR (arXiv:2006.13979) is the same with batches balanced over languages (`data.group_by`, `data.batching.balance`):
the codebooks are shared by all of them.

B utterances, T frames, C channels, D dimensions of the comparison, G codebooks of V entries, K distractors, N masked
frames of an utterance.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch, generator
from speechssl.errors import ConfigError
from speechssl.nn.masked import MaskedInput, Masking
from speechssl.nn.negatives import draw_negatives
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome
from speechssl.quantizers.gumbel import GumbelQuantizer, diversity, gumbel_noise


def contrastive_logits(
    context: Tensor, targets: Tensor, negatives: Tensor, codes: Tensor | None, temperature: float
) -> Tensor:
    """The similarities in eq. (3), cosine over κ: [N, 1 + K], the true target first.

    context, targets [N, D]; negatives [N, K] are indices of targets. codes [N, G]: a distractor with the target's own
    code is no distractor and gets -inf.
    """
    similar = F.normalize(context.float(), dim=-1) @ F.normalize(targets.float(), dim=-1).T / temperature
    distractors = similar.gather(1, negatives)
    if codes is not None:
        same = (codes.unsqueeze(1) == codes[negatives]).all(-1)
        distractors = distractors.masked_fill(same, float("-inf"))
    return torch.cat([similar.diagonal().unsqueeze(1), distractors], 1)


def contrastive_loss(logits: Tensor) -> Tensor:
    """Eq. (3), summed over frames: the true one is the first column."""
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device), reduction="sum")


@dataclass(frozen=True)
class Config:
    """The base model's settings. After each field: its name in fairseq's configs."""

    masking: Masking = field(default_factory=Masking)
    dim: int = 256  # final_dim, D
    entries: int = 320  # latent_vars, V
    groups: int = 2  # latent_groups, G
    negatives: int = 100  # num_negatives, K
    temperature: float = 0.1  # logit_temp, κ
    diversity: float = 0.1  # loss_weights[0], α
    penalty: float = 10.0  # loss_weights[1]: of the mean square of the convolutions' output
    gumbel_start: float = 2.0  # latent_temp, τ
    gumbel_end: float = 0.5
    gumbel_decay: float = 0.999995  # per update

    def __post_init__(self) -> None:
        """Refuse what compares nothing."""
        if self.negatives < 1 or self.temperature <= 0 or not 0 < self.gumbel_end <= self.gumbel_start:
            raise ConfigError(f"wav2vec2 needs negatives >= 1, temperature > 0, 0 < gumbel_end <= start, got {self}")


class Objective(nn.Module):
    """The contrastive task with the diversity loss."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.masked = MaskedInput(encoder, config.masking)
        self.quantizer = GumbelQuantizer(encoder.conv.dim, config.dim, entries=config.entries, groups=config.groups)
        self.project_targets = nn.Linear(config.dim, config.dim)  # project_q
        self.project_context = nn.Linear(encoder.dim, config.dim)  # final_proj
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.after_step(0)

    def forward(self, batch: Batch, *, mask: Tensor | None = None, negatives: list[Tensor] | None = None) -> Outcome:
        """The loss; counts masked frames. mask [B, T] and negatives (per utterance [N, K]) overrule the drawn ones."""
        config = self.config
        inputs = self.masked(self.encoder, batch.wav, batch.lengths, batch.seeds, mask=mask)
        x = self.encoder.finish(inputs.x, inputs.lengths)
        usable = inputs.mask & (inputs.mask.sum(1, keepdim=True) >= 2)  # one masked frame has no others beside it
        counts = usable.sum(1).tolist()
        count = sum(counts)
        quantized = self.quantizer(inputs.normed[usable], self._noise(batch, counts))
        targets = self.project_targets(quantized.vectors)
        context = self.project_context(x[usable])
        loss, correct = self._compare(context, targets, quantized.codes, counts, batch, negatives)
        unused, perplexity = diversity(quantized.probabilities)
        scalars: dict[str, Tensor | float] = {
            "contrastive_loss": loss.detach() / max(1, count),
            "accuracy": correct / max(1, count),
            "perplexity": perplexity.detach(),
            "masked_share": inputs.mask.sum() / inputs.valid.sum().clamp(min=1),
            "temperature": self.quantizer.temperature,
        }
        penalty = (inputs.penalty * usable.sum(1)).sum()
        loss = loss + config.diversity * unused * count + config.penalty * penalty
        return Outcome(loss, count, scalars, x[inputs.valid].detach(), quantized.codes)

    def _compare(
        self, context: Tensor, targets: Tensor, codes: Tensor, counts: list[int], batch: Batch,
        negatives: list[Tensor] | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Sum of the losses of all utterances, each among its own frames, and how many were told right."""
        loss = context.sum() * 0 + targets.sum() * 0
        correct = context.new_zeros((), dtype=torch.float32)
        parts = zip(context.split(counts), targets.split(counts), codes.split(counts), strict=True)
        for row, (mine, theirs, chosen) in enumerate(parts):
            if not len(mine):
                continue
            drawn = draw_negatives(len(mine), self.config.negatives, int(batch.seeds[row]) ^ 1)
            others = drawn.to(mine.device) if negatives is None else negatives[row]
            logits = contrastive_logits(mine, theirs, others, chosen, self.config.temperature)
            loss = loss + contrastive_loss(logits)
            correct = correct + (logits.detach().argmax(1) == 0).sum()
        return loss.float(), correct

    def _noise(self, batch: Batch, counts: list[int]) -> Tensor | None:
        """Gumbel noise for the masked frames, each utterance's from its own seed; none outside training."""
        if not self.training:
            return None
        shape = (self.config.groups, self.config.entries)
        device, seeds = batch.wav.device, batch.seeds.tolist()
        parts = [gumbel_noise((n, *shape), generator(s ^ 2, device)) for n, s in zip(counts, seeds, strict=True)]
        return torch.cat(parts)

    def after_step(self, step: int) -> None:
        """The temperature falls with the updates."""
        config = self.config
        self.updates.fill_(step)
        self.quantizer.temperature = max(config.gumbel_start * config.gumbel_decay**step, config.gumbel_end)

    def load_state_dict(self, *args: object, **kwargs: object) -> object:
        """As ever, and the temperature of the state's update."""
        found = super().load_state_dict(*args, **kwargs)
        self.after_step(int(self.updates))
        return found

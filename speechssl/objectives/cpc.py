"""CPC (arXiv:1807.03748): tell the frame that comes k steps later from other frames, for k = 1..K.

The modified CPC (arXiv:2002.02848) predicts each step with a causal transformer layer in place of a matrix, and draws
128 distractors within the speaker; its encoder is the family's preset "modified", and its released code divides scores
by their number of channels (`divide_scores`; the paper does not say so).
The Wasserstein dependency measure (arXiv:1903.11780) is the same bound with a critic that is Lipschitz, which a
gradient penalty asks for (`lipschitz`).
differs: the critic's slope is measured in the space of (z, c), not in that of the waveform, and z starts small: with a
constant of 1 scores can hardly differ for a long time. `slope` is the constant, which only scales the measure.

B utterances, T frames, K steps, C channels of c, D of z, P frames in a pool of distractors, N distractors of a frame.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch, generator
from speechssl.errors import ConfigError, DataError
from speechssl.nn.attention import Attention
from speechssl.nn.causal_encoder import CausalEncoder
from speechssl.nn.critic import between, gradient_penalty
from speechssl.nn.lengths import valid_mask
from speechssl.nn.negatives import all_future_scores, draw_negatives, future_scores
from speechssl.nn.transformer import Block
from speechssl.objectives import Outcome


def info_nce(true: Tensor, others: Tensor) -> Tensor:
    """Eq. (4): -log of exp(true) over the sum of all exp, summed over frames. true [M], others [M, N] are log f_k."""
    return (torch.cat([true.unsqueeze(1), others], 1).float().logsumexp(1) - true.float()).sum()


@dataclass(frozen=True)
class Config:
    """The modified CPC's steps; the original predictor."""

    steps: int = 12  # K
    predictor: Literal["linear", "transformer"] = "linear"  # W_k of eq. (3), or a transformer layer for each step
    heads: int = 8  # of the transformer
    ffn_dim: int = 2048
    negatives: int = 128  # N; 0: all other frames of the pool
    negatives_from: Literal["utterance", "speaker", "batch"] = "utterance"  # "speaker": of data.group_by's value
    divide_scores: bool = False  # by D, as the code released with the modified CPC does: scores start near 0
    lipschitz: float = 0.0  # weight of the critic's gradient penalty (10 in arXiv:1704.00028); 0: plain CPC
    slope: float = 1.0  # L, the Lipschitz constant asked for

    def __post_init__(self) -> None:
        """Refuse what predicts nothing or has no effect."""
        if self.steps < 1 or min(self.negatives, self.lipschitz) < 0 or self.slope <= 0:
            raise ConfigError(f"cpc needs steps >= 1, negatives >= 0, lipschitz >= 0 and slope > 0, got {self}")
        if self.slope != 1 and not self.lipschitz:
            raise ConfigError(f"slope={self.slope} has no effect without lipschitz")
        if self.lipschitz and self.predictor != "linear":
            raise ConfigError("lipschitz needs predictor=linear: a critic of one frame and one context")
        if self.lipschitz and self.divide_scores:
            raise ConfigError("divide_scores changes the critic's slope: give slope in its place")


class Objective(nn.Module):
    """Prediction of the future among distractors."""

    def __init__(self, encoder: CausalEncoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        latent = encoder.layer_dims[0]
        if config.predictor == "linear":
            self.predictor: nn.Module = LinearPredictor(encoder.dim, latent, config.steps)
        elif latent != encoder.dim or encoder.dim % config.heads:
            raise ConfigError(f"predictor=transformer needs layers of equal width that {config.heads} heads share, "
                              f"got {encoder.layer_dims}")  # fmt: skip
        else:
            self.predictor = TransformerPredictor(encoder.dim, config)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over frames and steps; counts pairs of a frame and a step whose future is known."""
        config = self.config
        x, lengths = self.encoder.frontend(batch.wav, batch.lengths)
        z = self.encoder.latent(x, lengths)
        c = self.encoder.context(z, lengths)
        predicted = self.predictor(c)
        if config.divide_scores:
            predicted = predicted / predicted.shape[-1]
        valid = valid_mask(lengths, z.shape[1])
        loss, penalty = predicted[:, :, :0].sum().float(), z.new_zeros(())
        count, correct = 0, loss.new_zeros(())
        frames, counts = z[valid], lengths.tolist()
        parts = frames.split(counts)
        for row, num_frames in enumerate(counts):
            if num_frames < 2:
                continue
            members = self._members(batch, row)
            pool = torch.cat([parts[i] for i in members])
            start = sum(counts[i] for i in members[: members.index(row)])
            drawn = None
            if config.negatives:
                seed = int(batch.seeds[row]) ^ 1
                drawn = draw_negatives(num_frames, config.negatives, seed, pool=len(pool), start=start).to(pool.device)
            for true, others in self._scores(predicted[row, :, :num_frames], pool, drawn, start):
                loss = loss + info_nce(true, others)
                count += len(true)
                correct = correct + (true.detach() > others.detach().amax(1)).sum()
            if config.lipschitz:
                penalty = penalty + self._penalty(pool, start, c[row, :num_frames], int(batch.seeds[row]))
        scalars: dict[str, Tensor | float] = {
            "contrastive_loss": loss.detach() / max(1, count),
            "accuracy": correct / max(1, count),
        }
        if config.lipschitz:
            scalars["slope_penalty"] = penalty.detach() / max(1, count)
            loss = loss + config.lipschitz * penalty
        return Outcome(loss, count, scalars, c[valid].detach())

    def _scores(
        self, predicted: Tensor, pool: Tensor, negatives: Tensor | None, start: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Of predictions [K, T, D]: scores of true frames [M] and distractors [M, N], of all steps or one by one."""
        steps = min(self.config.steps, predicted.shape[1] - 1)
        if negatives is not None:
            yield all_future_scores(predicted[:steps].transpose(0, 1), pool, negatives, first=1, start=start)
            return
        for step in range(1, steps + 1):  # against the whole pool, which is large
            true, others = future_scores(predicted[step - 1], pool, None, step=step, start=start)
            yield true, without(others, start + step)

    def _members(self, batch: Batch, row: int) -> list[int]:
        """The utterances of the batch whose frames are the distractors of utterance `row`."""
        match self.config.negatives_from:
            case "utterance":
                return [row]
            case "batch":
                return list(range(len(batch.lengths)))
            case _:
                if batch.groups is None:
                    raise DataError('negatives_from="speaker" needs data.group_by')
                return (batch.groups == batch.groups[row]).nonzero().flatten().tolist()

    def _penalty(self, pool: Tensor, start: int, c: Tensor, seed: int) -> Tensor:
        """Of the critics of all steps, between each true pair and one with a frame drawn from the pool."""
        total = c.new_zeros((), dtype=torch.float32)
        random = generator(seed ^ 2)
        for step, weight in enumerate(self.predictor.matrices()[: len(c) - 1], start=1):
            made = len(c) - step
            true = pool[start + step : start + step + made]
            drawn = torch.randint(len(pool), (made,), generator=random).to(pool.device)
            z = between(true, pool[drawn], random)
            total = total + gradient_penalty(partial(bilinear, weight), z, c[:made], self.config.slope)
        return total

    def after_step(self, step: int) -> None:
        """Nothing to do."""


def bilinear(weight: Tensor, z: Tensor, c: Tensor) -> Tensor:
    """log f_k of eq. (3), z^T W c, of each pair of rows z [N, D], c [N, C]; weight W [D, C]."""
    return ((c @ weight.T) * z).sum(-1)


def without(scores: Tensor, first: int) -> Tensor:
    """scores [M, P] without column `first` + m of each row m, [M, P - 1]."""
    rows, columns = scores.shape
    own = torch.arange(first, first + rows, device=scores.device).unsqueeze(1)
    places = torch.arange(columns - 1, device=scores.device).expand(rows, -1)
    return scores.gather(1, places + (places >= own))


class LinearPredictor(nn.Module):
    """W_k c_t of eq. (3) for all steps."""

    def __init__(self, in_dim: int, out_dim: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.linear = nn.Linear(in_dim, steps * out_dim, bias=False)

    def forward(self, c: Tensor) -> Tensor:
        """c [B, T, C] to predictions [B, K, T, D]."""
        return self.linear(c).unflatten(-1, (self.steps, -1)).transpose(1, 2)

    def matrices(self) -> Tensor:
        """W [K, D, C]."""
        return self.linear.weight.unflatten(0, (self.steps, -1))


class TransformerPredictor(nn.Module):
    """For each step a transformer layer over c_1..c_t (arXiv:2002.02848, section 3).

    differs: GELU, and no relative positions, which the released code learns; c comes from a recurrent network, which
    knows the order.
    """

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            Block(Attention(dim, config.heads), dim=dim, ffn_dim=config.ffn_dim, norm_first=False, eps=1e-5)
            for _ in range(config.steps)
        )

    def forward(self, c: Tensor) -> Tensor:
        """c [B, T, C] to predictions [B, K, T, C]."""
        if not c.shape[1]:
            return c.unsqueeze(1).expand(-1, len(self.steps), -1, -1)
        future = torch.full((c.shape[1],) * 2, float("-inf"), device=c.device, dtype=c.dtype).triu(1)
        return torch.stack([step(c, None, future) for step in self.steps], 1)

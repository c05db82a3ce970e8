"""Sequences drawn from an autoregressive decoder, symbol by symbol, each as likely as the decoder holds it.

Every utterance draws from its own seed: one number in 0..1 for each place, looked up in the cumulative distribution of
the next symbol. So what is drawn does not depend on the neighbours in a batch (up to rounding).

B utterances, S frames, T tokens, V symbols; V itself is the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl.decoders.search import Hypothesis
from speechssl.decoders.token_scorers import Autoregressive
from speechssl.decoders.transformer import Model
from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How to draw. After each field: its name in fairseq's generator and in transformers'."""

    temperature: float = 1.0  # of the softmax; below 1 likely symbols become likelier
    top: int = 0  # sampling_topk, top_k; of so many symbols, the likeliest ones; 0: of all

    def __post_init__(self) -> None:
        """Refuse what draws nothing."""
        if not self.temperature > 0 or self.top < 0:
            raise ConfigError(f"sampling needs temperature > 0 and top >= 0, got {self}")


@torch.inference_mode()
def sample(
    model: Model, frames: Tensor, lengths: Tensor, limits: Tensor, seeds: Sequence[int], settings: Sampling
) -> list[Hypothesis]:
    """One sequence of each utterance for frames [B, S, C] with lengths [B], at most limits [B] tokens, the end counted.

    The score is the mean log probability of its tokens by the model itself, whatever the temperature.
    """
    numbers = [torch.from_numpy(np.random.default_rng((seed, 3)).random(limit))
               for seed, limit in zip(seeds, limits.tolist(), strict=True)]  # fmt: skip
    found: list[Hypothesis | None] = [None] * len(numbers)
    draws = pad_sequence(numbers, batch_first=True).to(frames.device) if numbers else torch.zeros(0, 0)
    scorer, rows = Autoregressive(model, frames, lengths, 1), list(range(len(numbers)))
    tokens = torch.full((len(rows), 1), model.end, device=frames.device)
    said, sums = tokens[:, :0], torch.zeros(len(rows), 1, device=frames.device)
    while rows:
        scores, place = scorer.step(tokens)[:, 0], said.shape[1]
        tokens = _drawn(scores, draws[:, place, None], settings)
        said, sums = torch.cat([said, tokens], 1), sums + scores.gather(1, tokens)
        ended = tokens[:, 0] == model.end
        done = ended | (limits == place + 1)
        if bool(done.any()):
            for row in done.nonzero().flatten().tolist():
                stop, total = bool(ended[row]), float(sums[row])
                symbols = tuple(said[row, : place + 1 - stop].tolist())
                found[rows[row]] = Hypothesis(symbols, total / (place + 1), total, stop)
            left = (~done).nonzero().flatten()
            rows = [rows[row] for row in left.tolist()]
            tokens, sums, draws, limits, said = (x[left] for x in (tokens, sums, draws, limits, said))
            scorer.keep(left)
        scorer.follow(torch.zeros_like(tokens), tokens)
    return [hypothesis for hypothesis in found if hypothesis is not None]


def _drawn(scores: Tensor, numbers: Tensor, settings: Sampling) -> Tensor:
    """Symbols [B, 1] at numbers [B, 1] in 0..1 of the cumulative distributions of log probabilities [B, V + 1]."""
    logits = scores.double() / settings.temperature
    if 0 < settings.top < logits.shape[1]:
        least = logits.topk(settings.top, 1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    cumulative = logits.softmax(1).cumsum(1)
    return (cumulative <= numbers * cumulative[:, -1:]).sum(1, keepdim=True)

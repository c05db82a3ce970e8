"""Beam search with an autoregressive decoder, over a batch of utterances, alone or jointly with CTC.

All hypotheses of all utterances take one step together; nothing is computed twice, and an utterance that is done leaves
the batch. A hypothesis' score is its log probability over (its number of tokens, the end included) ** length_penalty,
as in fairseq (`--lenpen`) and transformers (`length_penalty`): 0 is the sum, 1 the mean, more favours longer ones.

What a step does is what transformers' `generate(num_beams=W)` does: of the 2 W best continuations the W best are looked
at for ends, the W best without an end go on. `stop` says when an utterance is done, once W hypotheses have ended:

- "first": at once (transformers: early_stopping=True; fairseq);
- "bound": when none that goes on would beat the worst of them if it ended now (early_stopping=False);
- "never": when none would at the best length still possible, which is exact (early_stopping="never").

At `max_tokens` what goes on is taken as it is and not `ended` (transformers does the same; differs: fairseq forces the
end symbol there).

B utterances, S frames, T tokens, W hypotheses, V symbols; V itself is the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Search:
    """How to search. After each field: its name in fairseq's generator and in transformers'."""

    beam: int = 5  # W; beam, num_beams
    num_best: int = 1  # nbest, num_return_sequences
    max_tokens: int = 200  # max_len_b, max_new_tokens; the end counts
    max_per_frame: float = 0.0  # max_len_a; max_tokens grows by this for each of an utterance's frames
    min_tokens: int = 0  # min_len, min_new_tokens; before the end
    length_penalty: float = 1.0  # lenpen, length_penalty
    no_repeat: int = 0  # no_repeat_ngram_size; no string of so many tokens comes twice; 0: may
    stop: Literal["first", "bound", "never"] = "bound"

    def __post_init__(self) -> None:
        """Refuse what finds nothing."""
        if not 1 <= self.num_best <= self.beam or self.max_tokens < 1 or self.max_per_frame < 0:
            raise ConfigError(f"a search needs 1 <= num_best <= beam, max_tokens >= 1, max_per_frame >= 0, got {self}")
        if min(self.min_tokens, self.no_repeat) < 0:
            raise ConfigError(f"min_tokens and no_repeat cannot be negative, got {self}")


@dataclass(frozen=True)
class Hypothesis:
    """What was found for an utterance."""

    tokens: tuple[int, ...]  # without the end
    score: float  # log_prob over (tokens, with the end) ** length_penalty
    log_prob: float  # natural logarithm
    ended: bool  # False: cut off at max_tokens


class Scorer(Protocol):
    """What gives log probabilities of next tokens, such as `Autoregressive`."""

    def step(self, tokens: Tensor) -> Tensor:
        """What each symbol adds to the score, [B, w, V + 1], after one more token [B, w]; first V, the start."""
        ...

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        """Hypothesis i goes on from what was parents[b, i] with tokens[b, i]; both [B, w] int64."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with the utterances [B'] alone."""
        ...


@torch.inference_mode()
def search(scorers: Sequence[Scorer], weights: Sequence[float], lengths: Tensor, settings: Search, end: int, *,
           most: int | None = None) -> list[list[Hypothesis]]:  # fmt: skip
    """The best hypotheses of each utterance, best first, by the weighted sum of the scorers.

    lengths [B]: frames of each utterance, for max_per_frame; most: tokens of which the scorers know the places, however
    many the settings allow. An utterance has fewer than num_best where fewer exist.
    """
    limits = (settings.max_tokens + settings.max_per_frame * lengths.double()).floor().long()
    limits = limits if most is None else limits.clamp_max(most)
    found: list[list[Hypothesis]] = [[] for _ in range(len(lengths))]
    if not len(lengths):
        return found
    beam = _Beam(settings, end, limits)
    tokens = torch.full((len(lengths), 1), end, device=lengths.device)
    while True:
        scores = sum(weight * scorer.step(tokens) for scorer, weight in zip(scorers, weights, strict=True))
        assert isinstance(scores, Tensor)
        parents, tokens, done = beam.advance(scores)
        if done is not None:
            for row in done.nonzero().flatten().tolist():
                found[int(beam.rows[row])] = beam.result(row)
            kept = (~done).nonzero().flatten()
            if not len(kept):
                return found
            beam.keep(kept)
            parents, tokens = parents[kept], tokens[kept]
            for scorer in scorers:
                scorer.keep(kept)
        for scorer in scorers:
            scorer.follow(parents, tokens)


class _Beam:
    """Hypotheses that go on and those that ended, of the utterances that are not done."""

    def __init__(self, settings: Search, end: int, limits: Tensor) -> None:
        self.settings, self.end, self.limits = settings, end, limits
        batch, width = len(limits), settings.beam
        self.rows = torch.arange(batch)  # which utterances these are
        self.scores = torch.zeros(batch, 1, dtype=torch.float32, device=limits.device)
        self.tokens = torch.full((batch, 1, 0), end, device=limits.device)
        self.best = self.scores.new_full((batch, width), float("-inf"))  # scores of what ended, best first
        self.sums = self.best.clone()
        self.sizes = torch.zeros(batch, width, dtype=torch.int64, device=limits.device)  # tokens, with the end
        self.ended = torch.zeros(batch, width, dtype=torch.bool, device=limits.device)
        self.kept = torch.full((batch, width, 0), end, device=limits.device)  # tokens of what ended
        self.shortest = int(limits.min()) if batch else 0

    def advance(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Take what each symbol adds, [B, w, V + 1]: parents and tokens of what goes on, [B, w'] each, and who is done.

        The last is [B] bool, or None for nobody.
        """
        settings, size = self.settings, self.tokens.shape[2] + 1
        symbols = scores.shape[2]
        scores = scores.float()
        if size <= settings.min_tokens:
            scores[..., self.end] = float("-inf")
        if 0 < settings.no_repeat <= size - 1:
            self._forbid_repeats(scores)
        total = (scores + self.scores.unsqueeze(-1)).flatten(1)
        sums, places = total.topk(min(2 * settings.beam, total.shape[1]), 1)
        parents, tokens = places // symbols, places % symbols
        last = self.limits == size if size >= self.shortest else None
        ends = tokens == self.end
        if last is not None:
            ends = ends | last.unsqueeze(1)
        if bool(ends[:, : settings.beam].any()):
            self._collect(parents, tokens, sums, ends, size)
        alive = sums.masked_fill(ends, float("-inf"))
        self.scores, order = alive.topk(min(settings.beam, alive.shape[1]), 1)
        parents, tokens = parents.gather(1, order), tokens.gather(1, order)
        self.tokens = torch.cat([_pick(self.tokens, parents), tokens.unsqueeze(-1)], 2)
        done = self._done(size)
        if last is not None:
            done = last if done is None else done | last
        return parents, tokens, None if done is None or not bool(done.any()) else done

    def _collect(self, parents: Tensor, tokens: Tensor, sums: Tensor, ends: Tensor, size: int) -> None:
        """Merge what ends among the W best continuations with what ended before."""
        settings, width = self.settings, self.settings.beam
        parents, tokens, sums, ends = (x[:, :width] for x in (parents, tokens, sums, ends))
        new = (sums / size**settings.length_penalty).masked_fill(~ends, float("-inf"))
        self.best, order = torch.cat([self.best, new], 1).topk(width, 1)
        sequences = torch.cat([_pick(self.tokens, parents), tokens.unsqueeze(-1)], 2)
        missing = self.kept.new_full((*self.kept.shape[:2], size - self.kept.shape[2]), self.end)
        self.kept = _pick(torch.cat([torch.cat([self.kept, missing], 2), sequences], 1), order)
        self.sums = torch.cat([self.sums, sums], 1).gather(1, order)
        self.sizes = torch.cat([self.sizes, torch.full_like(tokens, size)], 1).gather(1, order)
        self.ended = torch.cat([self.ended, tokens == self.end], 1).gather(1, order)

    def _done(self, size: int) -> Tensor | None:
        """[B] whether nothing better can come; None where nobody has W hypotheses yet."""
        worst, stop, penalty = self.best[:, -1], self.settings.stop, self.settings.length_penalty
        stuck = self.scores[:, 0] == float("-inf")  # nothing goes on
        full = worst > float("-inf")
        if not bool((full | stuck).any()):
            return None
        if stop == "first":
            return full | stuck
        longest = self.limits if stop == "never" and penalty > 0 else torch.full_like(self.limits, size)
        return (full & (self.scores[:, 0] / longest**penalty <= worst)) | stuck

    def _forbid_repeats(self, scores: Tensor) -> None:
        """Put -inf where a symbol would finish a string of `no_repeat` tokens that a hypothesis has already."""
        order = self.settings.no_repeat
        strings = self.tokens.unfold(2, order, 1)  # [B, w, N, order]
        tail = self.tokens[:, :, self.tokens.shape[2] - order + 1 :].unsqueeze(2)
        same = (strings[..., :-1] == tail).all(-1)
        banned = torch.where(same, strings[..., -1], scores.shape[-1])  # one column more, for what bans nothing
        mask = torch.zeros(*scores.shape[:2], scores.shape[-1] + 1, dtype=torch.bool, device=scores.device)
        scores.masked_fill_(mask.scatter_(2, banned, True)[..., :-1], float("-inf"))

    def keep(self, rows: Tensor) -> None:
        self.rows = self.rows[rows.cpu()]
        for name in ("scores", "tokens", "best", "sums", "sizes", "ended", "kept", "limits"):
            setattr(self, name, getattr(self, name).index_select(0, rows))
        self.shortest = int(self.limits.min())

    def result(self, row: int) -> list[Hypothesis]:
        found: list[Hypothesis] = []
        columns = (x[row].tolist() for x in (self.best, self.sums, self.sizes, self.ended, self.kept))
        for best, total, size, ended, tokens in zip(*columns, strict=True):
            if best > float("-inf") and len(found) < self.settings.num_best:
                found.append(Hypothesis(tuple(tokens[: size - ended]), best, total, ended))
        return found


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """x [B, N, T] at index [B, n]: [B, n, T]."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[2]))

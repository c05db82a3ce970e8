"""What a search asks for scores of next tokens: an autoregressive decoder, and CTC's prefix probabilities.

Joint decoding in one pass (Watanabe et al. 2017, "Hybrid CTC/attention architecture for end-to-end speech
recognition", IEEE JSTSP 11(8), section III-C): a hypothesis has the score (1 - λ) log p_attention + λ log p_ctc, where
p_ctc of what has not ended is the probability of all label sequences that begin with it (Graves 2008, section 7.3).

B utterances, S frames, W hypotheses, V symbols, N symbols of a decoder's step.
"""

import torch
from torch import Tensor

from speechssl.decoders.search import Hypothesis, Search, search
from speechssl.decoders.transformer import Model
from speechssl.errors import ConfigError
from speechssl.nn.lengths import valid_mask

_NEVER = -1e30  # logarithm of a probability of 0: sums of it stay finite, so that differences are no NaN


class Autoregressive:
    """The log probabilities of a decoder for frames [B, S, C] with lengths [B], or of a language model (None).

    Of a decoder of stacks it runs the network when a stack is full, and gives what that said of the next N symbols one
    after another. They do not depend on one another, so that a search finds with it what it would find among whole
    stacks; with a beam of 1 that is the only search that fairseq has for stacks.
    """

    def __init__(self, model: Model, frames: Tensor | None, lengths: Tensor, width: int) -> None:
        self.model = model
        self.state = model.start(frames, None if frames is None else lengths, width=width, batch=len(lengths))
        self.begun = torch.full((len(lengths), 1, model.config.stack), model.end, device=lengths.device)  # [B, w, n]
        self.ahead = model.embedding.weight.new_zeros(len(lengths), 1, 0, model.end + 1)  # [B, w, N - n, V + 1]

    def step(self, tokens: Tensor) -> Tensor:
        """[B, w, V + 1] after tokens [B, w]."""
        if self.model.config.stack == 1:
            return self._log_probs(tokens)
        if not self.ahead.shape[2]:
            width = self.begun.shape[1]
            self.ahead = self._log_probs(self.begun.flatten(1)).unflatten(1, (width, -1))
            self.begun = self.begun[:, :, :0]
        scores, self.ahead = self.ahead[:, :, 0], self.ahead[:, :, 1:]
        return scores

    def _log_probs(self, tokens: Tensor) -> Tensor:
        return self.model.step(tokens, self.state).float().log_softmax(-1)[..., : self.model.end + 1]

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        """See `search.Scorer`."""
        self.state.follow(parents)
        if self.model.config.stack > 1:
            rows = torch.arange(len(parents), device=parents.device).unsqueeze(1)
            self.ahead = self.ahead[rows, parents]
            self.begun = torch.cat([self.begun[rows, parents], tokens.unsqueeze(-1)], 2)

    def keep(self, rows: Tensor) -> None:
        """See `search.Scorer`."""
        self.state.keep(rows)
        self.ahead, self.begun = self.ahead.index_select(0, rows), self.begun.index_select(0, rows)


class CTCPrefix:
    """log p_ctc(prefix + symbol ...) - log p_ctc(prefix ...) for every symbol and for the end; -inf where impossible.

    The recursions over frames are of the kind x_s = p_s (x_{s-1} + y_s): a cumulative sum after division by the product
    of all p, without a loop over frames. In float64, because those products span hundreds of orders of magnitude.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, *, blank: int, num_symbols: int) -> None:
        """log_probs [B, S, N] of V = num_symbols symbols; the blank is a column of its own, or one of these, unused."""
        if not 0 <= blank < log_probs.shape[2] or num_symbols not in (log_probs.shape[2], log_probs.shape[2] - 1):
            raise ConfigError(f"CTC's {log_probs.shape[2]} outputs do not fit {num_symbols} symbols and blank={blank}")
        log_probs = log_probs.double()
        padding = ~valid_mask(lengths.to(log_probs.device), log_probs.shape[1])
        # Behind its end an utterance has blanks, which cost nothing, and no symbols.
        symbols = log_probs[..., :num_symbols].masked_fill(padding.unsqueeze(2), _NEVER)
        if blank < num_symbols:
            symbols[..., blank] = _NEVER
        self.symbols = symbols.transpose(1, 2)  # [B, V, S]
        self.blank = log_probs[..., blank].masked_fill(padding, 0.0).unsqueeze(1)  # [B, 1, S]
        # The prefix in frames 0..s, the last of them its last symbol, or a blank: [B, w, S] each.
        self.in_blank = self.blank.cumsum(2)
        self.in_symbol = torch.full_like(self.in_blank, _NEVER)
        self.last = torch.full(self.in_blank.shape[:2], -1, device=log_probs.device)  # [B, w]; -1: empty prefix
        self.prefix = self.in_blank.new_zeros(self.last.shape)  # log p_ctc(prefix ...), [B, w]
        self.scores = self.prefix  # [B, w, V + 1] of prefixes that are one longer, from the first step on

    def step(self, tokens: Tensor) -> Tensor:
        """[B, w, V + 1]. The newest tokens are known from `follow`."""
        both = torch.logaddexp(self.in_symbol, self.in_blank)
        starts = (self._before(both).unsqueeze(2) + self.symbols.unsqueeze(1)).logsumexp(-1)  # at any frame: [B, w, V]
        last = self.last.clamp_min(0).unsqueeze(-1)
        again = (self._before(self.in_blank) + self._of(last.squeeze(-1))).logsumexp(-1, keepdim=True)
        again = torch.where(self.last.unsqueeze(-1) < 0, starts.gather(2, last), again)
        starts = starts.scatter(2, last, again)  # a symbol that is said again needs a blank between
        self.scores = torch.cat([starts, both[..., -1:]], 2).clamp_min(_NEVER)
        gain = self.scores - self.prefix.unsqueeze(-1)
        return gain.masked_fill(self.scores < _NEVER / 2, float("-inf"))

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        """See `search.Scorer`."""
        places = parents.unsqueeze(-1).expand(-1, -1, self.in_blank.shape[2])
        self.in_symbol, self.in_blank = self.in_symbol.gather(1, places), self.in_blank.gather(1, places)
        self.prefix = self.scores.flatten(1).gather(1, parents * self.scores.shape[2] + tokens)
        before, tokens = (
            self.last.gather(1, parents),
            tokens.clamp_max(self.symbols.shape[1] - 1),
        )  # an end goes nowhere
        both = torch.logaddexp(self.in_symbol, self.in_blank)
        self.last = before
        begins = self._before(torch.where((before == tokens).unsqueeze(-1), self.in_blank, both))
        self.in_symbol = _recursion(self._of(tokens), begins)
        self.last = tokens
        self.in_blank = _recursion(self.blank, self._before(self.in_symbol))

    def keep(self, rows: Tensor) -> None:
        """See `search.Scorer`."""
        for name in ("symbols", "blank", "in_blank", "in_symbol", "last", "prefix", "scores"):
            setattr(self, name, getattr(self, name).index_select(0, rows))

    def _before(self, x: Tensor) -> Tensor:
        """x [B, w, S] one frame earlier; before the first one there is the empty prefix, and no other."""
        first = torch.where(self.last < 0, 0.0, _NEVER).to(x)
        return torch.cat([first.unsqueeze(-1), x[..., :-1]], -1)

    def _of(self, tokens: Tensor) -> Tensor:
        """log p of tokens [B, w] at all frames: [B, w, S]."""
        return self.symbols.gather(1, tokens.unsqueeze(-1).expand(-1, -1, self.symbols.shape[2]))


def _recursion(log_probs: Tensor, inputs: Tensor) -> Tensor:
    """x_s = p_s (x_{s-1} + y_s) in logarithms, x_{-1} = 0, over the last dimension."""
    total = log_probs.cumsum(-1)
    return (torch.logcumsumexp(inputs - total + log_probs, -1) + total).clamp_min(_NEVER)


def decode(
    model: Model, frames: Tensor, lengths: Tensor, settings: Search, *, ctc_log_probs: Tensor | None = None,
    ctc_weight: float = 0.3, blank: int = 0,
) -> list[list[Hypothesis]]:  # fmt: skip
    """The best hypotheses of each utterance for frames [B, S, C] with lengths [B].

    A hypothesis is cut off where the decoder has no more places. ctc_log_probs [B, S, V or V + 1]: of a CTC head over
    the same symbols, see `CTCPrefix`. The score is then (1 - ctc_weight) of the decoder's and ctc_weight of CTC's.
    """
    if not 0 <= ctc_weight <= 1:
        raise ConfigError(f"ctc_weight must be in 0..1, got {ctc_weight}")
    scorers: list[Autoregressive | CTCPrefix] = [Autoregressive(model, frames, lengths, settings.beam)]
    weights = [1.0]
    if ctc_log_probs is not None and ctc_weight:
        scorers.append(CTCPrefix(ctc_log_probs, lengths, blank=blank, num_symbols=model.end))
        weights = [1 - ctc_weight, ctc_weight]
    most = model.config.max_positions * model.config.stack
    return search(scorers, weights, lengths, settings, model.end, most=most)

"""What a transducer has behind the encoder: a prediction network over what was said, a joiner, and its decoding.

Prediction: an LSTM (arXiv:1211.3711; arXiv:1303.5778, section 3.2, with the joiner's tanh) or stateless, which sees the
last symbols alone (Ghodsi et al. 2020; with two of them icefall's). Decoding goes from frame to frame with at most
`max_symbols` in each: greedy, or a beam whose equal texts are summed (time-synchronous; Saon et al. 2020, section 3.1).

N texts, T frames, L symbols, D channels of the prediction, J of the joiner, V symbols, blank included.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError

State = tuple[Tensor, ...]  # of the prediction network, each [N, ...]
MAX_SYMBOLS = 5  # said in one frame at most


@dataclass(frozen=True)
class Shape:
    """Sizes; the defaults are for small encoders."""

    prediction: Literal["stateless", "lstm"] = "stateless"
    context: int = 2  # symbols that the stateless one sees
    dim: int = 256  # D
    joint: int = 256  # J
    dropout: float = 0.1  # of embedded symbols

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if min(self.context, self.dim, self.joint) < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(f"a transducer needs sizes >= 1 and dropout in 0..1, got {self}")


@dataclass(frozen=True)
class Spoken:
    """A text: numbers of symbols, the frame of each, ln of its probability (greedy: of its one path)."""

    ids: tuple[int, ...]
    frames: tuple[int, ...]
    log_prob: float


class Transducer(nn.Module):
    """Prediction and joiner; frames [.., J] come from a `FrameHead`."""

    def __init__(self, shape: Shape, num_symbols: int, blank: int) -> None:
        super().__init__()
        self.shape, self.num_symbols, self.blank = shape, num_symbols, blank
        self.embedding = nn.Embedding(num_symbols, shape.dim)
        lstm = shape.prediction == "lstm"
        self.lstm = nn.LSTM(shape.dim, shape.dim, batch_first=True) if lstm else None
        self.mixing = None if lstm else nn.Parameter(torch.full((shape.context, shape.dim), 1 / shape.context))
        self.projection = nn.Linear(shape.dim, shape.joint, bias=False)
        self.output = nn.Linear(shape.joint, num_symbols)

    def predictions(self, targets: Tensor) -> Tensor:
        """[N, L + 1, J] before each symbol of targets [N, L] (-1 behind their ends) and behind the last."""
        said = F.pad(targets.clamp(min=0), (1, 0), value=self.blank)
        found, _ = self._predict(said, self.start(len(said)))
        return found

    def start(self, number: int) -> State:
        """Before anything was said; the blank stands there."""
        weight = self.embedding.weight
        if self.lstm is None:
            return (torch.full((number, self.shape.context - 1), self.blank, device=weight.device),)
        return (weight.new_zeros(number, self.shape.dim), weight.new_zeros(number, self.shape.dim))

    def step(self, symbols: Tensor, state: State) -> tuple[Tensor, State]:
        """[N, J] behind one symbol more, [N]; and the state."""
        found, state = self._predict(symbols[:, None], state)
        return found[:, 0], state

    def _predict(self, said: Tensor, state: State) -> tuple[Tensor, State]:
        context = self.shape.context
        if self.lstm is not None:
            x = F.dropout(self.embedding(said), self.shape.dropout, self.training)
            x, (h, c) = self.lstm(x, (state[0][None].contiguous(), state[1][None].contiguous()))
            return self.projection(x), (h[0], c[0])
        assert self.mixing is not None
        said = torch.cat([state[0], said], 1)
        x = F.dropout(self.embedding(said), self.shape.dropout, self.training)
        size = said.shape[1] - context + 1
        mixed = sum((self.mixing[k] * x[:, k : k + size] for k in range(context)), torch.zeros_like(x[:, :size]))
        return self.projection(mixed.relu()), (said[:, size:],)

    def join(self, frames: Tensor, predictions: Tensor) -> Tensor:
        """Logits [.., V], float32 or wider, of both [.., J]."""
        scores = self.output((frames + predictions).tanh())
        return scores.to(torch.promote_types(scores.dtype, torch.float32))


@torch.no_grad()
def greedy(model: Transducer, frames: Tensor, lengths: Tensor, *, max_symbols: int = MAX_SYMBOLS) -> list[Spoken]:
    """The best next step, again and again, for all utterances together: frames [N, T, J], lengths [N]."""
    number = len(frames)
    ids: list[list[int]] = [[] for _ in range(number)]
    places: list[list[int]] = [[] for _ in range(number)]
    scores = torch.zeros(number, device=frames.device)
    prediction, state = model.step(torch.full((number,), model.blank, device=frames.device), model.start(number))
    for t in range(frames.shape[1]):
        going = t < lengths
        for said in range(max_symbols + 1):
            log_probs = model.join(frames[:, t], prediction).log_softmax(-1)
            best, symbols = log_probs.max(-1)
            if said == max_symbols:  # the frame ends, whatever is likely
                best, symbols = log_probs[:, model.blank], torch.full_like(symbols, model.blank)
            scores += torch.where(going, best, 0.0)
            going = going & (symbols != model.blank)
            if not bool(going.any()):
                break
            after, later = model.step(symbols, state)
            prediction = torch.where(going[:, None], after, prediction)
            state = tuple(torch.where(going[:, None], new, old) for new, old in zip(later, state, strict=True))
            for row in going.nonzero().squeeze(1).tolist():
                ids[row].append(int(symbols[row]))
                places[row].append(t)
    return [Spoken(tuple(i), tuple(p), s) for i, p, s in zip(ids, places, scores.tolist(), strict=True)]


@torch.no_grad()
def emission_log_probs(model: Transducer, frames: Tensor, spoken: Spoken) -> Tensor:
    """ln of the probability of each symbol of a text where it was emitted, [L]; frames [T, J]."""
    ids = torch.tensor(spoken.ids, dtype=torch.int64, device=frames.device)
    predictions = model.predictions(ids[None])[0, :-1]
    joined = model.join(frames[list(spoken.frames)], predictions).log_softmax(-1)
    return joined.gather(1, ids[:, None])[:, 0]


@dataclass(frozen=True)
class _Text:
    ids: tuple[int, ...]
    frames: tuple[int, ...]
    log_prob: float
    prediction: Tensor  # [J]
    state: State


@torch.no_grad()
def beam_search(model: Transducer, frames: Tensor, *, beam: int, max_symbols: int = MAX_SYMBOLS) -> list[Spoken]:
    """The `beam` best texts of frames [T, J], the best first; paths of one text are summed as far as they were kept."""
    prediction, state = model.step(torch.full((1,), model.blank, device=frames.device), model.start(1))
    kept = [_Text((), (), 0.0, prediction[0], tuple(part[0] for part in state))]
    for t in range(len(frames)):
        done: dict[tuple[int, ...], _Text] = {}
        going = kept
        for said in range(max_symbols + 1):
            joined = model.join(frames[t], torch.stack([text.prediction for text in going]))
            scores = torch.tensor([text.log_prob for text in going], dtype=torch.float64, device=frames.device)
            log_probs = joined.double().log_softmax(-1) + scores[:, None]
            for text, log_prob in zip(going, log_probs[:, model.blank].tolist(), strict=True):
                _add(done, text, log_prob)
            log_probs[:, model.blank] = -math.inf
            worst = sorted((text.log_prob for text in done.values()), reverse=True)[:beam]
            best, places = log_probs.flatten().topk(min(beam, log_probs.numel()))
            open_ = best > (worst[-1] if len(worst) == beam else -math.inf)  # what is worse cannot come in any more
            if said == max_symbols or not bool(open_.any()):
                break
            going = _said(model, going, best[open_], places[open_], t)
        kept = sorted(done.values(), key=lambda text: -text.log_prob)[:beam]
    return [Spoken(text.ids, text.frames, text.log_prob) for text in kept]


def _said(model: Transducer, going: list[_Text], scores: Tensor, places: Tensor, t: int) -> list[_Text]:
    rows, symbols = (places // model.num_symbols).tolist(), places % model.num_symbols
    state = tuple(torch.stack([going[row].state[i] for row in rows]) for i in range(len(going[0].state)))
    prediction, state = model.step(symbols, state)
    return [
        _Text((*going[row].ids, symbol), (*going[row].frames, t), score, prediction[n], tuple(s[n] for s in state))
        for n, (row, symbol, score) in enumerate(zip(rows, symbols.tolist(), scores.tolist(), strict=True))
    ]


def _add(done: dict[tuple[int, ...], _Text], text: _Text, log_prob: float) -> None:
    before = done.get(text.ids)
    frames = text.frames
    if before is not None:
        frames = before.frames if before.log_prob >= log_prob else frames
        top = max(before.log_prob, log_prob)
        log_prob = top + math.log(math.exp(before.log_prob - top) + math.exp(log_prob - top))
    done[text.ids] = _Text(text.ids, frames, log_prob, text.prediction, text.state)

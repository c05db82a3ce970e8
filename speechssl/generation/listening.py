"""Whether a translator listens: how much likelier it finds the right target with its own source than with another one.

A translator that was trained on little says fluent units whatever it hears, and BLEU near its floors does not tell
whether it hears anything. Here every reference is scored twice: after its own source, and after the sources of other
utterances. The difference is the information that it draws from the source, in bits per symbol of the target: an
estimate of the cross-mutual information of Bugliarello et al. 2020 (arXiv:2005.02354) that needs no language model,
since what is the same in both (how likely the target is at all) cancels out.
differs: wrong sources are not drawn, but are the ones nearest in length, as a long source tells of a long target.

N utterances, T frames, D channels, K wrong sources.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl.decoders.likelihood import log_likelihoods
from speechssl.decoders.transformer import Model
from speechssl.errors import ConfigError, DataError
from speechssl.metrics.bootstrap import Quotient, bootstrap

SEED = 0  # of the bootstrap
_BATCH = 16


@dataclass(frozen=True)
class Figure:
    """A mean and its 95 % interval: percentiles of a bootstrap over utterances."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Listening:
    """Bits are per symbol, an utterance's end counted as one."""

    utterances: int
    right: float  # bits of the targets after their own sources
    wrong: float  # after others
    gained: Figure  # wrong - right: 0 for what does not listen
    preferred: Figure  # share of (own, other) sources of which the own one makes the target likelier; by chance 0.5


def listening(decoder: Model, memories: Sequence[Tensor], targets: Sequence[NDArray[np.int64]], *, others: int = 4,
              draws: int = 1000) -> Listening:  # fmt: skip
    """Of N utterances what the decoder looks at, [T, D] each, and symbols [L] that are right.

    others: K, of utterances with another target; fewer where there are not as many. Raises DataError where no two
    utterances have different targets, ConfigError for K < 1 and for fewer than 2 draws.
    """
    if others < 1 or draws < 2:
        raise ConfigError(f"others={others} and draws={draws}: at least one other source, and two draws")
    chosen = wrong_sources([len(m) for m in memories], targets, others)
    pairs = [(row, row) for row in range(len(targets))] + [(row, other) for row in chosen for other in chosen[row]]
    found = np.array([x for batch in _batches(pairs) for x in _scores(decoder, memories, targets, batch)])
    own, scores = found[: len(targets)], found[len(targets) :]
    rows = np.array([row for row, _ in pairs[len(targets) :]])
    sizes = np.array([len(target) + 1 for target in targets], dtype=np.float64)
    kept = np.array(list(chosen))
    behind = np.array([own[row] - scores[rows == row].mean() for row in kept]) / np.log(2)
    wins = np.array([((own[row] > scores[rows == row]) + (own[row] == scores[rows == row]) / 2).mean() for row in kept])
    right = -own[kept].sum() / np.log(2) / sizes[kept].sum()
    gained = _figure(behind, sizes[kept], draws)
    return Listening(len(kept), float(right), float(right) + gained.value, gained,
                     _figure(wins, np.ones(len(kept)), draws))  # fmt: skip


def wrong_sources(lengths: Sequence[int], targets: Sequence[NDArray[np.int64]], others: int) -> dict[int, list[int]]:
    """Of each utterance the others with another target that are nearest in length, the first of equal ones.

    An utterance whose target is everybody's is left out.
    """
    said = [tuple(target.tolist()) for target in targets]
    sizes = np.array(lengths)
    found = {}
    for row, own in enumerate(said):
        order = np.argsort(np.abs(sizes - sizes[row]), kind="stable").tolist()
        if wrong := [other for other in order if said[other] != own][:others]:
            found[row] = wrong
    if not found:
        raise DataError("whether a model listens needs two utterances with different targets")
    return found


def _batches(pairs: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(pairs), _BATCH):
        yield pairs[start : start + _BATCH]


def _scores(
    decoder: Model, memories: Sequence[Tensor], targets: Sequence[NDArray[np.int64]], pairs: list[tuple[int, int]]
) -> list[float]:
    """Log probabilities of the target of the first after the source of the second."""
    device = memories[0].device
    states = pad_sequence([memories[source] for _, source in pairs], batch_first=True)
    symbols = pad_sequence([torch.from_numpy(targets[row]) for row, _ in pairs], batch_first=True).to(device)
    counts = torch.tensor([len(memories[source]) for _, source in pairs], device=device)
    lengths = torch.tensor([len(targets[row]) for row, _ in pairs], device=device)
    return [float(x) for x in log_likelihoods(decoder, states, counts, symbols, lengths)]


def _figure(values: NDArray[np.float64], weights: NDArray[np.float64], draws: int) -> Figure:
    """sum(values) / sum(weights)."""
    mean = Quotient(values, weights)
    found = bootstrap(mean, num_draws=draws, seed=SEED)
    return Figure(mean.value(), found.low, found.high)

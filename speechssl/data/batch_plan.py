"""Which utterances go into which batch: a function of (lengths, settings, seed, epoch) and nothing else.

So every process, however many there are and however often they were killed, comes to the same batches in the same
order; the place in an epoch is one number.
"""

from dataclasses import dataclass

import numpy as np

from speechssl.errors import ConfigError, DataError


@dataclass(frozen=True)
class Batching:
    """How utterances are put together."""

    seconds: float = 100.0  # of padded audio in a batch (wav2vec 2.0 base: 1.4M samples on each of 64 GPUs = 87.5)
    max_utterances: int = 1024
    crop_s: float = 15.6  # longer ones are cut at a random place, anew in every epoch (wav2vec 2.0 base: 250k samples)
    min_s: float = 0.5  # shorter ones are left out
    bucket_noise: float = 0.1  # lengths are sorted with this much noise, a share: batches differ between epochs
    balance: float = 1.0  # groups (languages) are drawn with p ~ (n / N)^balance, arXiv:2006.13979; 1: as they are

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing."""
        if self.seconds <= 0 or self.crop_s <= 0 or self.crop_s > self.seconds or self.max_utterances < 1:
            raise ConfigError(f"batches need 0 < crop_s <= seconds and max_utterances >= 1, got {self}")
        if not 0 <= self.min_s <= self.crop_s or self.bucket_noise < 0 or not 0 <= self.balance <= 1:
            raise ConfigError(f"batches need 0 <= min_s <= crop_s, bucket_noise >= 0, 0 <= balance <= 1, got {self}")


def plan_batches(
    seconds: np.ndarray, settings: Batching, *, seed: int, epoch: int, groups: np.ndarray | None = None,
    beside: np.ndarray | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """Row numbers of each batch of an epoch, in order. seconds [N]: the utterances' lengths; groups [N]: ints.

    beside [N]: seconds that each brings along, such as its neighbours; they fill batches, and are neither cut nor make
    an utterance long enough. One that is longer than a batch with them is alone in it.

    Every utterance of at least min_s is in one batch; where groups are balanced, as many are drawn as there are, some
    twice and some not at all. Raises DataError where nothing is left.
    """
    random = np.random.default_rng((seed, epoch))
    rows = np.flatnonzero(seconds >= settings.min_s)
    if not len(rows):
        raise DataError(f"no utterance of {len(seconds)} is at least {settings.min_s} s long")
    if groups is not None and settings.balance < 1:
        rows = _balanced(rows, groups, settings.balance, random)
    lengths = np.minimum(seconds[rows], settings.crop_s)
    if beside is not None:
        lengths = lengths + beside[rows]
    noise = random.uniform(1 - settings.bucket_noise, 1 + settings.bucket_noise, len(rows))
    order = np.lexsort((random.random(len(rows)), lengths * noise))
    batches = _cut(rows[order], lengths[order], settings)
    return [batches[i] for i in random.permutation(len(batches))]


def _balanced(rows: np.ndarray, groups: np.ndarray, balance: float, random: np.random.Generator) -> np.ndarray:
    """As many rows, drawn with p(group) ~ (its share)^balance; within a group each row as often as any other, +-1."""
    names, inverse, counts = np.unique(groups[rows], return_inverse=True, return_counts=True)
    weights = (counts / counts.sum()) ** balance
    wanted = random.multinomial(len(rows), weights / weights.sum())
    drawn = []
    for group in range(len(names)):
        members = rows[inverse == group]
        whole, rest = divmod(int(wanted[group]), len(members))
        drawn += [members] * whole + [random.choice(members, rest, replace=False)]
    return np.concatenate(drawn)


def _cut(rows: np.ndarray, lengths: np.ndarray, settings: Batching) -> list[np.ndarray]:
    """Runs of neighbours in the order of length, each as long as its padded audio stays within `seconds`."""
    batches, start, longest = [], 0, 0.0
    for end, length in enumerate(lengths):
        longest_now = max(longest, float(length))
        full = (end - start + 1) * longest_now > settings.seconds or end - start == settings.max_utterances
        if full and end > start:
            batches.append(rows[start:end])
            start, longest_now = end, float(length)
        longest = longest_now
    return [*batches, rows[start:]]

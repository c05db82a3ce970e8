"""Batches of two sets of units in turns, a share of each: such as pairs, and speech without a translation.

Which set a batch is of follows from its number and the share alone, spread evenly, so a training goes on anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from speechssl.data.batch import Batch
from speechssl.data.training_set import Loaded, Place
from speechssl.data.unit_batches import UnitBatches, UnitSet
from speechssl.errors import ConfigError


@dataclass
class MixedBatches:
    """Offers what `training_set.Batches` does, but has no epochs: a place is a batch's number.

    share: of batches that come from `second`, rounded to thousandths. Each set goes through its own epochs.
    """

    first: UnitBatches
    second: UnitBatches
    share: float
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no share of both."""
        if not 0 < self.share < 1 or self.part in (0, 1):
            raise ConfigError(f"a share of batches must be between 0 and 1 without them, got {self.share}")

    @property
    def part(self) -> Fraction:
        """The share."""
        return Fraction(round(self.share * 1000), 1000)

    @property
    def data(self) -> UnitSet:
        """The first set, for its rate."""
        return self.first.data

    def start(self, place: Place) -> Iterator[Loaded]:
        """This process's batches from `place` on, without end."""
        number = place.batch
        while True:
            yield Loaded(self._batch(number + self.rank), (), Place(0, number + self.world))
            number += self.world

    def once(self) -> Iterator[Loaded]:
        """This process's batches of one epoch of both."""
        yield from self.first.once()
        yield from self.second.once()

    def _batch(self, number: int) -> Batch:
        before, after = (int(self.part * (number + more)) for more in (0, 1))
        return self.second.at(before) if after > before else self.first.at(number - before)

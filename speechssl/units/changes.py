"""How much a unit model's units change when the recording does, with the recordings changed in memory.

The same as `speechssl data augment`, `speechssl units` and `speechssl score edits` one after another, but for the
rounding to 16 bit of what `augment` writes.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechssl.audio.augment import Augmentation, augment
from speechssl.data.augmented import draws
from speechssl.errors import ConfigError
from speechssl.metrics.edits import EditCounts, EditScores
from speechssl.units.model import UnitModel

KINDS = {"noise": "snr_db", "reverb": "rt60_s", "pitch": "pitch", "stretch": "stretch"}  # fields of `Augmentation`


@dataclass(frozen=True)
class Change:
    """One kind of change at one strength, in the kind's own unit: dB, s, semitones, times as fast."""

    kind: str
    strength: float

    @property
    def settings(self) -> Augmentation:
        """What `augment` is told. ConfigError for a strength without sense."""
        values: dict[str, Any] = {KINDS[self.kind]: self.strength}
        return Augmentation(**values)


def parse_changes(text: str) -> list[Change]:
    """`noise=20,10 pitch=1,3` to changes, in that order. ConfigError names the part that is wrong."""
    changes: list[Change] = []
    for part in text.split():
        kind, _, values = part.partition("=")
        try:
            found = [Change(kind, float(value)) for value in values.split(",")]
            if not all(math.isfinite(change.strength) for change in found):
                raise ValueError(values)
        except ValueError:
            raise ConfigError(f"{part!r}: expected a kind and numbers, as in noise=20,10") from None
        if kind not in KINDS:
            raise ConfigError(f"{part!r}: choose from {', '.join(KINDS)}")
        for change in found:
            if change in changes or change.settings == Augmentation():
                raise ConfigError(f"{part!r}: {change.strength:g} changes nothing, or stands there twice")
            changes.append(change)
    if not changes:
        raise ConfigError("no changes: expected some as in noise=20,10 pitch=2")
    return changes


def measure(
    model: UnitModel,
    recordings: Iterable[tuple[str, NDArray[np.float32]]],
    changes: Sequence[Change],
    *,
    seed: int = 0,
    done: Callable[[float], None] = lambda seconds: None,
) -> list[EditScores]:
    """Scores of each change over recordings (id, samples [S] at the model's rate), which are taken one at a time.

    What is drawn (rooms, noise) depends on `seed` and the id alone. done: called with the seconds of each recording.
    """
    counts = [EditCounts() for _ in changes]
    for key, samples in recordings:
        clean = model(samples, model.sample_rate).frames()
        for own, change in zip(counts, changes, strict=True):
            changed = augment(samples, model.sample_rate, change.settings, draws(key, seed))
            own.add(clean, model(changed, model.sample_rate).frames())
        done(len(samples) / model.sample_rate)
    return [own.scores() for own in counts]

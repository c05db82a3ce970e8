"""Units of a corpus against its phones, counted utterance by utterance: memory does not grow with the corpus.

The conventions are those of `speechssl score units` and `speechssl score boundaries`, so the numbers are the same.
"""

import numpy as np

from speechssl.errors import DataError
from speechssl.metrics.abx_items import SILENCES
from speechssl.metrics.alignments import Alignments
from speechssl.metrics.boundaries import BoundaryCounts
from speechssl.metrics.unit_report import check_clocks
from speechssl.metrics.units import UnitCounts
from speechssl.report.distributions import LONGEST_RUN
from speechssl.units.units import Units

_MOST_EXAMPLES = 3


class Quality:
    """Counts of the utterances that have labels; the others are counted as such. `shift_s` moves every label."""

    def __init__(
        self, alignments: Alignments, *, num_units: int, rate_hz: float, label_rate: float = 100.0, shift_s: float = 0.0
    ) -> None:
        self.alignments, self.rate_hz, self.label_rate, self.shift_s = alignments, rate_hz, label_rate, shift_s
        self.counts = UnitCounts(num_units, unit_rate=rate_hz, label_rate=label_rate)
        self.boundaries = BoundaryCounts(unit_rate=rate_hz, shift_s=shift_s)
        self.phone_lengths = np.zeros(LONGEST_RUN + 1, np.int64)  # [k]: phones of about k unit frames, silence apart
        self.without = 0  # utterances
        self.examples_without: list[str] = []
        self._label_s = self._units_s = 0.0

    def add(self, key: str, units: Units) -> None:
        """Count one utterance."""
        if key not in self.alignments:
            self.without += 1
            self.examples_without += [key] if len(self.examples_without) < _MOST_EXAMPLES else []
            return
        frames = units.frames()
        phones = self.alignments.frames(key, self.label_rate, shift_s=self.shift_s)
        self.counts.add(frames, phones)
        self.boundaries.add(frames, self.alignments.boundaries(key))
        self._units_s, self._label_s = self._units_s + units.seconds, self._label_s + len(phones) / self.label_rate
        starts, ends, ids = self.alignments.runs[key]
        spoken = [self.alignments.labels[label] not in SILENCES for label in ids.tolist()]
        lengths = (ends - starts)[np.array(spoken, bool)] / (self.alignments.rate_hz or 1.0)
        rounded = np.floor(lengths * self.rate_hz + 0.5).clip(1, LONGEST_RUN).astype(np.int64)
        self.phone_lengths += np.bincount(rounded, minlength=LONGEST_RUN + 1)

    def check(self) -> None:
        """DataError where nothing could be compared, or a stated rate must be wrong."""
        if not self.counts.utterances:
            raise DataError(f"no utterance has labels: {self.without} with units, {len(self.alignments)} with labels")
        timed = self.alignments.rate_hz is None
        check_clocks(self._units_s, self._label_s, self.rate_hz, self.label_rate, timed)

    @property
    def without_units(self) -> int:
        """Utterances with labels that were not among those counted."""
        return len(self.alignments) - self.counts.utterances

    @property
    def labels(self) -> tuple[str, ...]:
        """The phones' names, for the rows of `counts.joint`."""
        return self.alignments.labels[: len(self.counts.joint)]

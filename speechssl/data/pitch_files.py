"""F0 of a corpus on disk: what `speechssl pitch` writes and trainings of vocoders read.

pitch.json       rate, settings, ids, frames of each, speakers' statistics
pitch.npy        F0 in Hz of all frames in that order, float32, 0 where unvoiced
failures.tsv     recordings that could not be used, with their reason
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechssl import config, files
from speechssl.data.pitch import Settings, Statistics, by_speaker, normalized
from speechssl.errors import DataError
from speechssl.npy import read_npy

FORMAT = "speechssl-pitch-1"
_MOST_BYTES = 4 << 30  # 6,000 hours at 50 Hz


@dataclass(frozen=True)
class Card:
    """pitch.json, field by field."""

    format: str
    settings: Settings
    ids: tuple[str, ...]
    frames: tuple[int, ...]
    speaker_of: tuple[str, ...]  # of each utterance; its own id where the corpus does not say
    speakers: dict[str, Statistics]  # of those with voiced frames


@dataclass(frozen=True)
class PitchFolder:
    """F0 of utterances by id."""

    card: Card
    values: NDArray[np.float32]  # [sum of frames], Hz
    rows: dict[str, int]
    starts: NDArray[np.int64]  # [N + 1] of each utterance in `values`

    def f0(self, name: str) -> NDArray[np.float32]:
        """F0 in Hz [T] of an utterance; DataError where it is not there."""
        row = self._row(name)
        return self.values[self.starts[row] : self.starts[row + 1]]

    def statistics(self, name: str) -> Statistics:
        """Of an utterance's speaker; for one of whom nothing is voiced any will do."""
        speaker = self.card.speaker_of[self._row(name)]
        return self.card.speakers.get(speaker, Statistics(0.0, 1.0, 0))

    def normalized(self, name: str, *, scaled: bool = True, above_hz: float | None = None) -> NDArray[np.float32]:
        """[T, 2]: normalised log F0 and voicing, see `pitch.normalized`; not scaled: log Hz from the speaker's mean.

        above_hz: log Hz from there, whoever speaks.
        """
        if above_hz is not None:
            return normalized(self.f0(name), Statistics(math.log(above_hz), 1.0, 0))
        of = self.statistics(name)
        return normalized(self.f0(name), of if scaled else replace(of, std=1.0))

    def _row(self, name: str) -> int:
        if name not in self.rows:
            raise DataError(f"there is no pitch of utterance {name!r}: run speechssl pitch on its recordings")
        return self.rows[name]


def write(folder: Path, settings: Settings, tracks: dict[str, NDArray[np.float32]], speakers: dict[str, str]) -> Card:
    """Write pitch.json and pitch.npy into `folder`, which is there."""
    card = Card(FORMAT, settings, tuple(tracks), tuple(map(len, tracks.values())),
                tuple(speakers[name] for name in tracks), by_speaker(tracks, speakers))  # fmt: skip
    values = np.concatenate([*tracks.values(), np.zeros(0, np.float32)]).astype(np.float32)
    np.save(folder / "pitch.npy", values, allow_pickle=False)
    (folder / "pitch.json").write_text(json.dumps(asdict(card), ensure_ascii=False) + "\n", encoding="utf-8")
    return card


def read(folder: str | Path) -> PitchFolder:
    """A folder that `speechssl pitch` wrote. DataError where it is none, or damaged."""
    folder = Path(folder)
    try:
        raw = files.read_json(folder / "pitch.json", most=1 << 30)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ValueError(f'format is not "{FORMAT}"')
        card = config.build(Card, raw)
        values = read_npy(files.read_bytes(folder / "pitch.npy", most=_MOST_BYTES), str(folder / "pitch.npy"))
        whole = len(card.ids) == len(card.frames) == len(card.speaker_of)
        if not whole or min(card.frames, default=0) < 0 or values.shape != (sum(card.frames),):
            raise ValueError("pitch.json does not describe pitch.npy")
        if values.dtype != np.float32 or not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError("pitch.npy holds what is no F0")
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder}: not an output of speechssl pitch: {error}") from error
    starts = np.cumsum([0, *card.frames]).astype(np.int64)
    return PitchFolder(card, values, {name: row for row, name in enumerate(card.ids)}, starts)


@dataclass(frozen=True)
class FramePitch:
    """Normalised pitch of all utterances of a corpus in one array, in their order."""

    values: NDArray[np.float32]  # [frames, 2]
    starts: NDArray[np.int64]  # [N + 1]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Frames per utterance, [N]; 0 where there is no pitch."""
        return np.diff(self.starts)

    def of(self, row: int) -> NDArray[np.float32]:
        """[T, 2] of an utterance."""
        return self.values[self.starts[row] : self.starts[row + 1]]

    @classmethod
    def read(
        cls, folder: Path, ids: Sequence[str], rate_hz: float, *, scaled: bool = True, above_hz: float | None = None
    ) -> "FramePitch":
        """Of these utterances, see `PitchFolder.normalized`; DataError where none has pitch, or at another rate."""
        found = read(folder)
        if found.card.settings.rate_hz != rate_hz:
            raise DataError(f"{folder}: pitch at {found.card.settings.rate_hz:g} Hz, units have {rate_hz:g} a second")
        none = np.zeros((0, 2), np.float32)
        parts = [
            found.normalized(name, scaled=scaled, above_hz=above_hz) if name in found.rows else none for name in ids
        ]
        if not any(map(len, parts)):
            raise DataError(f"{folder}: has pitch of none of the {len(ids)} utterances")
        return cls(
            np.concatenate(parts), np.concatenate([[0], np.cumsum([len(one) for one in parts])]).astype(np.int64)
        )

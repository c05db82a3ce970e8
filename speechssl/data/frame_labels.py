"""One label per frame of every utterance: what masked prediction learns to predict.

Read from text, a line `id 17 17 4 ...` each: what `speechssl units` writes, and Kaldi's integer vectors as text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechssl.data.lines import read_lines
from speechssl.errors import DataError


@dataclass(frozen=True)
class FrameLabels:
    """Labels of all utterances in one array, in the order of the corpus."""

    values: np.ndarray  # all labels, uint16 or int32
    starts: np.ndarray  # [N + 1] int64: utterance i has values[starts[i] : starts[i + 1]]
    size: int  # labels are 0..size - 1: the codebook's, or as many as the largest label asks for

    @property
    def counts(self) -> np.ndarray:
        """Labels per utterance, [N]."""
        return np.diff(self.starts)

    def of(self, row: int) -> np.ndarray:
        """The labels of an utterance."""
        return self.values[self.starts[row] : self.starts[row + 1]]

    @classmethod
    def read(cls, path: Path, ids: Sequence[str], rate_hz: float) -> "FrameLabels":
        """Labels of these utterances from a file or an output folder of `speechssl units` (its rate is checked).

        Utterances that are not in the file get none. Raises DataError for what is no label, and for merged units.
        """
        path, size = _units_file(path, rate_hz) if path.is_dir() else (path, 0)
        found: dict[str, np.ndarray] = {}
        for number, line in read_lines(path):
            name, _, text = line.partition(" ")
            try:
                labels = np.array(text.split(), dtype=np.int32)
            except (ValueError, OverflowError):
                raise DataError(f"{path}:{number}: expected an id and integers") from None
            if len(labels) and labels.min() < 0:
                raise DataError(f"{path}:{number}: a label cannot be negative")
            found[name] = labels
        parts = [found.get(name, np.zeros(0, np.int32)) for name in ids]
        if not any(map(len, parts)):
            raise DataError(f"{path}: has labels of none of the {len(ids)} utterances")
        values = np.concatenate(parts)
        size = max(size, int(values.max()) + 1)
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return cls(values.astype(np.uint16) if size <= 65536 else values, starts, size)


def _units_file(folder: Path, rate_hz: float) -> tuple[Path, int]:
    """The file, and how many units the codebook has."""
    import json

    try:
        card = json.loads((folder / "units.json").read_text(encoding="utf-8"))
        rate, outputs, size = card["rate_hz"], card["outputs"], int(card["model"]["num_units"])
        merged = next((output["merged"] for output in outputs if output["format"] == "text"), None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: not a finished output of speechssl units ({error})") from None
    if merged is not False:
        raise DataError(f"{folder}: needs units as text, one per frame: speechssl units --format text without --dedup")
    if rate != rate_hz:
        raise DataError(f"{folder}: labels at {rate} Hz, the encoder has {rate_hz} frames a second")
    return folder / "units", size

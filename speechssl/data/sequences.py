"""Targets of sequence-to-sequence training: units or texts from elsewhere, joined to a corpus by utterance id.

Units come from an output folder of `speechssl units` (its text format), or from a text file with a line `id 17 4 4 ...`
each. "Reduced" ones (arXiv:2107.05604) have runs of one unit merged.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speechssl.data.corpus import Corpus
from speechssl.data.lines import read_lines
from speechssl.data.targets import Encode, Targets
from speechssl.data.training_set import TrainingSet
from speechssl.errors import DataError

_NONE = np.zeros(0, np.int32)


@dataclass(frozen=True)
class UnitTargets:
    """Units of utterances, and what is known of where they come from."""

    of: Mapping[str, np.ndarray]  # [L] int32 each
    size: int  # V
    reduced: bool  # runs merged
    rate_hz: float | None = None  # before merging
    model_sha256: str | None = None  # of the unit model


def read_units(path: Path, *, reduced: bool = True, size: int | None = None) -> UnitTargets:
    """Units from an output folder or a text file. size: V, for a file that does not say it; else the largest + 1.

    Raises DataError for what is no unit, merged units where all frames are wanted, and a unit that is not below V.
    """
    rate, sha256, merged = None, None, False
    file = path
    if path.is_dir():
        file, stated, rate, sha256, merged = _folder(path)
        if size not in (None, stated):
            raise DataError(f"{path}: units of a codebook of {stated}, not of {size}")
        size = stated
        if merged and not reduced:
            raise DataError(f"{path}: its units are merged: give those of all frames, or set reduced")
    found = {name: _merged(units) if reduced else units for name, units in _rows(file)}
    largest = max((int(units.max()) for units in found.values() if len(units)), default=0)
    if size is not None and largest >= size:
        raise DataError(f"{file}: unit {largest} is not below {size}")
    return UnitTargets(found, size or largest + 1, reduced, rate, sha256)


def _folder(folder: Path) -> tuple[Path, int, float, str | None, bool]:
    try:
        card = json.loads((folder / "units.json").read_text(encoding="utf-8"))
        model, outputs = card["model"], card["outputs"]
        merged = next((bool(output["merged"]) for output in outputs if output["format"] == "text"), None)
        size, rate, sha256 = int(model["num_units"]), float(card["rate_hz"]), model.get("unit_model")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: not a finished output of speechssl units ({error})") from None
    if merged is None:
        raise DataError(f"{folder}: has no units as text: speechssl units --format text")
    return folder / "units", size, rate, sha256, merged


def _rows(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    for number, line in read_lines(path):
        name, _, text = line.partition(" ")
        try:
            units = np.array(text.split(), dtype=np.int32)
        except (ValueError, OverflowError):
            raise DataError(f"{path}:{number}: expected an id and integers") from None
        if len(units) and units.min() < 0:
            raise DataError(f"{path}:{number}: a unit cannot be negative")
        yield name, units


def _merged(units: np.ndarray) -> np.ndarray:
    return units[np.diff(units, prepend=-1) != 0]


def read_texts(source: Path | Corpus, encode: Encode) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
    """Texts of a corpus, or of a file with a line `id text` each, as numbers; and ids with reasons of those refused."""
    if isinstance(source, Corpus):
        lines = [(utterance.id, utterance.text or "") for utterance in source.utterances]
    else:
        lines = [(name, text) for name, _, text in (line.partition(" ") for _, line in read_lines(source))]
    found, failures = {}, []
    for name, text in lines:
        try:
            found[name] = np.array(encode(text), dtype=np.int32)
        except DataError as error:
            failures.append((name, str(error)))
    return found, failures


def with_targets(
    data: TrainingSet, targets: Mapping[str, np.ndarray], *, most: int, longest_s: float, what: str = "target",
    refused: Sequence[tuple[str, str]] = (),
) -> TrainingSet:  # fmt: skip
    """A training set with a target for each utterance, from a mapping by id.

    Those without one, with more than `most` symbols, or longer than longest_s (a target cannot be cropped) cannot be
    used and become failures; refused: reasons that are known. Raises DataError where nothing is left.
    """
    reasons, seconds = dict(refused), data.seconds.copy()
    parts, failures = [], []
    for row, utterance in enumerate(data.corpus.utterances):
        part, reason = targets.get(utterance.id, _NONE), ""
        if not len(part):
            reason = reasons.get(utterance.id, f"no {what}")
        elif len(part) > most:
            reason = f"{len(part)} symbols of its {what} are more than {most}"
        elif seconds[row] > longest_s:
            reason = f"{seconds[row]:.2f} s are longer than crop_s={longest_s:g}, and a {what} cannot be cropped"
        if reason and seconds[row] > 0:
            failures.append((utterance.id, reason))
            seconds[row] = 0
        parts.append(_NONE if reason else part)
    if not seconds.any():
        shown = ", ".join(sorted({reason for _, reason in failures})[:3])
        raise DataError(f"{data.corpus.source}: none of {len(seconds)} utterances has a usable {what} ({shown})")
    return replace(data, seconds=seconds, failures=(*data.failures, *failures), targets=Targets.join(parts))


def with_task(data: TrainingSet, name: str, targets: Mapping[str, np.ndarray]) -> TrainingSet:
    """A training set with targets of an auxiliary task; an utterance may have none."""
    parts = [targets.get(utterance.id, _NONE) for utterance in data.corpus.utterances]
    return replace(data, tasks={**data.tasks, name: Targets.join(parts)})

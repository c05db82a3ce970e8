"""Files that `speechssl score ... -o FILE` wrote, for a page: of all layers, of ABX, of edits at one strength.

What a file holds is seen from its keys. One of edits does not say what was changed, so its argument does:
`noise=20:FILE`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl import files
from speechssl.errors import DataError

LAYER_SCORES = ("probe", "pnmi", "boundary_f1", "r_value")
_LABELLED = re.compile(r"([^=:/]+)=([-+0-9.e]+):(.+)", re.DOTALL)
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Edits:
    """How much units changed by one change: `speechssl score edits`, or measured for the page."""

    kind: str
    strength: float
    ued: float
    unit_error_rate: float
    utterances: int


@dataclass(frozen=True)
class Layers:
    """`speechssl score layers`. rows: the layer's number and LAYER_SCORES, nan where undefined."""

    encoder: str
    rows: Sequence[dict[str, float]]


@dataclass(frozen=True)
class Abx:
    """`speechssl score abx`, shares from 0 to 1; nan where undefined."""

    within: float
    across: float
    distance: str


@dataclass
class Scores:
    """Of all files given."""

    layers: list[Layers] = field(default_factory=list)
    abx: list[Abx] = field(default_factory=list)
    edits: list[Edits] = field(default_factory=list)
    unit_models: dict[str, set[str]] = field(default_factory=dict)  # hashes of those that files say they are of


def read_scores(arguments: Sequence[str]) -> Scores:
    """Files, those of edits as KIND=STRENGTH:FILE. DataError for what is no score, or one that has no place here."""
    scores = Scores()
    for argument in arguments:
        found = _LABELLED.fullmatch(argument)
        path = Path(found[3] if found else argument)
        row = _read(path)
        try:
            _take(scores, row, path, found)
            models = {one["unit_model"] for one in row.get("made_by", []) if "unit_model" in one}
            if models:
                scores.unit_models[str(path)] = models
        except (KeyError, TypeError, AttributeError):
            raise DataError(f"{path}: damaged: keys or numbers of a score are missing") from None
    return scores


def _take(scores: Scores, row: dict[str, Any], path: Path, found: "re.Match[str] | None") -> None:
    if "ued" in row:
        if found is None:
            raise DataError(f"{path}: scores of edits do not say what was changed; write noise=20:{path} or the like")
        scores.edits.append(Edits(found[1], _strength(found), _number(row["ued"]), _number(row["unit_error_rate"]),
                                  int(row["utterances"])))  # fmt: skip
    elif found is not None:
        raise DataError(f"{path}: {found[1]}={found[2]} goes with scores of edits, and these are none")
    elif "layers" in row:
        keys = ("layer", *LAYER_SCORES)
        rows = [{key: _number(one[key]) for key in keys} for one in row["layers"]]
        if not rows:
            raise DataError(f"{path}: there are no layers in it")
        scores.layers.append(Layers(str(row["encoder"]), rows))
    elif {"within", "across", "distance"} <= row.keys():
        scores.abx.append(Abx(_number(row["within"]), _number(row["across"]), str(row["distance"])))
    else:
        raise DataError(
            f"{path}: no scores of layers, edits or abx; those of units and boundaries the page counts itself"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        row = files.read_json(path, most=_MOST_BYTES)
    except OSError as error:
        raise DataError(f"{path}: no score file: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: no score file: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: no score file: expected one JSON object")
    return row


def _strength(found: "re.Match[str]") -> float:
    try:
        return float(found[2])
    except ValueError:
        raise DataError(f"{found[2]!r} in {found[0]!r} is no number") from None


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(value)
    return float(value)

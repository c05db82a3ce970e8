"""A recogniser of discrete units: units in, text out.

On disk one folder: `card.json`, `model.safetensors` and the vocabulary. The card names the unit model of each stream
and their rate; other units are an error, never another text.

T units, G streams.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl import config, files
from speechssl.data.context import Sessions, units_around
from speechssl.data.sequences import read_units
from speechssl.data.unit_batches import padded, stacked
from speechssl.decoders import unit_ctc
from speechssl.decoders import vocabulary as vocabularies
from speechssl.decoders.collapse import best_path
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.encoders.pretrained import write_tensors
from speechssl.errors import CheckpointError, DataError

FORMAT = "speechssl-unit-recognizer-1"
_MOST_JSON = 16 << 20
Around = tuple[np.ndarray, np.ndarray]  # units before, after


@dataclass(frozen=True)
class Card:
    """card.json, field by field."""

    format: str
    name: str
    model: unit_ctc.Config
    rate_hz: int  # units a second
    unit_models: tuple[str | None, ...]  # sha256 of each stream's
    vocabulary_sha256: str
    sha256: str = ""
    training: dict[str, Any] = field(default_factory=dict)


class UnitRecognizer:
    """Units to text."""

    def __init__(
        self, model: unit_ctc.Model, vocabulary: Vocabulary, *, rate_hz: int, unit_models: Sequence[str | None],
        name: str = "", training: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if len(vocabulary) != model.config.num_symbols or len(unit_models) != len(model.config.sizes):
            raise CheckpointError(
                f"a model of {model.config.num_symbols} symbols and {len(model.config.sizes)} streams does not fit "
                f"{len(vocabulary)} symbols and {len(unit_models)} streams"
            )
        self.model, self.vocabulary = model.eval().requires_grad_(False), vocabulary
        self._card = Card(FORMAT, name, model.config, rate_hz, tuple(unit_models), vocabulary.sha256,
                          training=training or {})  # fmt: skip

    @cached_property
    def card(self) -> Card:
        """The card as it is stored; sha256 is over everything that decides the text."""
        plain = config.to_dict(self._card)
        head = {name: plain[name] for name in ("format", "model", "rate_hz", "unit_models", "vocabulary_sha256")}
        if self._card.model.context is None:  # as in cards of before there were contexts
            del head["model"]["context"]
        digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return replace(self._card, sha256=digest.hexdigest())

    @property
    def frame_s(self) -> float:
        """Seconds from frame to frame of log probabilities."""
        return self.model.factor / self._card.rate_hz

    def transcribe(self, units: Sequence[np.ndarray], around: Sequence[Around] | None = None) -> list[str]:
        """The texts of several utterances' units, each [T] or [T, G]: the best symbol of every frame.

        around: units before and after each, for a model that was trained with a context. Raises DataError for units
        that the model does not know.
        """
        log_probs, counts = self.log_probs(units, around)
        return [self.vocabulary.decode(ids) for ids in best_path(log_probs, counts, self.vocabulary.blank)]

    @torch.inference_mode()
    def log_probs(
        self, units: Sequence[np.ndarray], around: Sequence[Around] | None = None
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Log probabilities [B, T', V] and counts [B]; as `transcribe`."""
        rows = [_as_streams(part) for part in units]
        sides = None if around is None else [(_as_streams(before), _as_streams(after)) for before, after in around]
        if sides is None and self.model.config.context is not None:
            sides = [(row[:0], row[:0]) for row in rows]
        labels, lengths, own = padded(rows, sides)
        device = self.model.output.weight.device
        return self.model(labels.to(device), lengths.to(device), own=None if own is None else own.to(device))

    def emissions(
        self, streams: Sequence[Path], sessions: Sessions | None = None, *, only: Sequence[str] | None = None,
        together: int = 16,
    ) -> Iterator[tuple[str, np.ndarray]]:  # fmt: skip
        """Ids and log probabilities [T', V] of all utterances that have units in every stream, in the first's order.

        streams: output folders of `speechssl units`, or text files. sessions: what is before and after, for a model
        that was trained with a context, and needs them. only: of these utterances, in this order; the others may still
        be neighbours. Raises DataError for units of other unit models, and where one of `only` has none.
        """
        card, context = self._card, self.model.config.context
        if len(streams) != len(card.unit_models):
            raise DataError(f"this recogniser reads {len(card.unit_models)} streams of units, and {len(streams)} came")
        if context is not None and sessions is None:
            raise DataError("this recogniser was trained with a context: give sessions, which utterances are in order")
        if context is None and sessions is not None:
            raise DataError("this recogniser sees no other utterances: give no sessions")
        found = [read_units(path, reduced=False, size=size)
                 for path, size in zip(streams, card.model.sizes, strict=True)]  # fmt: skip
        for path, one, wanted in zip(streams, found, card.unit_models, strict=True):
            if None not in (one.model_sha256, wanted) and one.model_sha256 != wanted:
                raise DataError(f"{path}: units of another unit model ({str(one.model_sha256)[:12]}, "
                                f"trained on {str(wanted)[:12]})")  # fmt: skip
            if one.rate_hz not in (None, card.rate_hz):
                raise DataError(f"{path}: {one.rate_hz:g} units a second, trained on {card.rate_hz}")
        units = stacked(found)
        if missing := sorted(set(only or ()) - set(units)):
            raise DataError(f"{streams[0]}: no units of {missing[0]!r}, or not as many in each stream "
                            f"({len(missing)} such utterances)")  # fmt: skip
        for names in _batched(units if only is None else only, together):
            around = None
            if context is not None and sessions is not None:
                around = [units_around(name, units, sessions, context, factor=self.model.factor) for name in names]
            log_probs, counts = self.log_probs([units[name] for name in names], around)
            for name, values, count in zip(names, log_probs.cpu().numpy(), counts.tolist(), strict=True):
                yield name, values[:count]

    def save(self, folder: str | Path) -> None:
        """Write the recogniser into `folder` (made if absent); the card goes first and comes last."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.json").unlink(missing_ok=True)
        write_tensors(folder / "model.safetensors", self.model.state_dict())
        self.vocabulary.save(folder)
        temporary = folder / ".card.json.tmp"
        text = json.dumps(config.to_dict(self.card), indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(folder / "card.json")

    @classmethod
    def load(cls, folder: str | Path) -> "UnitRecognizer":
        """Read what `save` wrote. Raises CheckpointError where files are missing, damaged, or do not fit together."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = Path(folder)
        try:
            raw = files.read_json(path / "card.json", most=_MOST_JSON)
            if not isinstance(raw, dict) or raw.get("format") != FORMAT:
                raise ValueError(f"format is not {FORMAT}")
            card = config.build(Card, raw)
            vocabulary = vocabularies.load(path)
            with torch.device("meta"):  # no memory, whatever the card says
                model = unit_ctc.Model(card.model)
            files.check_regular(path / "model.safetensors")
            tensors = load_file(path / "model.safetensors")
            needed = {name: tensor.shape for name, tensor in model.state_dict().items()}
            if needed != {name: tensor.shape for name, tensor in tensors.items()}:
                raise ValueError("card.json does not describe the tensors beside it")
            model.load_state_dict(tensors, assign=True)
            found = cls(model, vocabulary, rate_hz=card.rate_hz, unit_models=card.unit_models, name=card.name,
                        training=card.training)  # fmt: skip
        except (OSError, KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError,
                SafetensorError) as error:  # fmt: skip
            raise CheckpointError(f"{path}: no usable recogniser of units: {error}") from error
        if found.card.sha256 != card.sha256:
            raise CheckpointError(f"{path}: card.json does not describe the files beside it; they were changed")
        return found


def is_unit_recognizer(folder: str | Path) -> bool:
    """Whether a folder holds a recogniser of units. Nothing else is looked at."""
    return files.has_format(Path(folder) / "card.json", FORMAT, most=_MOST_JSON)


def _as_streams(units: np.ndarray) -> np.ndarray:
    rows = np.asarray(units, dtype=np.int64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if (rows < 0).any():
        raise DataError("a unit cannot be negative")
    return rows


def _batched(names: Iterable[str], together: int) -> Iterator[list[str]]:
    left = iter(names)
    while some := list(islice(left, together)):
        yield some

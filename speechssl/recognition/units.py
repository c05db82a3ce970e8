"""A recogniser of discrete units: units in, text out.

On disk one folder: `card.json`, `model.safetensors` and the vocabulary. The card names the unit model of each stream
and their rate; other units are an error, never another text.

T units, G streams.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl import config, files
from speechssl.decoders import unit_ctc
from speechssl.decoders import vocabulary as vocabularies
from speechssl.decoders.collapse import best_path
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.encoders.pretrained import write_tensors
from speechssl.errors import CheckpointError, DataError

FORMAT = "speechssl-unit-recognizer-1"
_MOST_JSON = 16 << 20


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
        digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return replace(self._card, sha256=digest.hexdigest())

    @torch.inference_mode()
    def transcribe(self, units: Sequence[np.ndarray]) -> list[str]:
        """The texts of several utterances' units, each [T] or [T, G]: the best symbol of every frame.

        Raises DataError for units that the model does not know.
        """
        rows = [torch.from_numpy(np.asarray(part, dtype=np.int64).reshape(len(part), -1)) for part in units]
        if any(bool((row < 0).any()) for row in rows):
            raise DataError("a unit cannot be negative")
        log_probs, counts = self.log_probs(rows)
        return [self.vocabulary.decode(ids) for ids in best_path(log_probs, counts, self.vocabulary.blank)]

    @torch.inference_mode()
    def log_probs(self, units: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Log probabilities [B, T', V] and counts [B] of units [T, G] int64 each."""
        device = self.model.output.weight.device
        lengths = torch.tensor([len(row) for row in units], device=device)
        padded = pad_sequence(list(units), batch_first=True, padding_value=-1).to(device)
        return self.model(padded, lengths)

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

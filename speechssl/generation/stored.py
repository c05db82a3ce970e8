"""Folders of models: `card.json` and `model.safetensors` beside it, which belong together by a hash in the card."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from speechssl import config, files
from speechssl.decoders import seq2seq, transformer
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.encoders.pretrained import write_tensors
from speechssl.errors import CheckpointError
from speechssl.nn import adaptor
from speechssl.units.vocoder import UNUSABLE, without

T = TypeVar("T")
MOST_JSON = 16 << 20  # bytes


def digest(head: Any, module: nn.Module) -> str:
    """sha256 over plain values and every tensor of a module by sorted name."""
    found = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def plain_model(model: seq2seq.Config) -> dict[str, Any]:
    """A config's values for `digest`, without settings that came later and have no effect."""
    values = config.to_dict(model)
    tasks = [{**task, "decoder": without(task["decoder"], transformer.LATER)} for task in values["tasks"]]
    return {**values, "adaptor": without(values["adaptor"], adaptor.LATER),
            "decoder": without(values["decoder"], transformer.LATER), "tasks": tasks}  # fmt: skip


def plain_decoder(decoder: transformer.Config) -> dict[str, Any]:
    """The same of a decoder alone."""
    return without(config.to_dict(decoder), transformer.LATER)


def write(folder: Path, module: nn.Module, card: Any, vocabulary: Vocabulary | None = None) -> None:
    """A module's tensors and a card dataclass into `folder` (made if absent); the card goes first and comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").unlink(missing_ok=True)
    write_tensors(folder / "model.safetensors", module.state_dict())
    if vocabulary is not None:
        vocabulary.save(folder)
    temporary = folder / ".card.json.tmp"
    text = json.dumps(config.to_dict(card), indent=2, ensure_ascii=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(folder / "card.json")


def read_card(folder: Path, cls: type[T], form: str, what: str) -> T:
    """card.json as a dataclass, checked for its form only. Raises CheckpointError where it is no `what`."""
    try:
        raw = files.read_json(folder / "card.json", most=MOST_JSON)
        if not isinstance(raw, dict) or raw.get("format") != form:
            raise ValueError(f"format is not {form}")
        return config.build(cls, raw)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder}: no {what} there: {error}") from error


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """CheckpointError for whatever foreign or damaged cards and weights raise in the block."""
    from safetensors import SafetensorError

    try:
        yield
    except (*UNUSABLE, SafetensorError) as error:
        raise CheckpointError(f"{folder}: no usable {what}: {error}") from error


def check_identity(folder: Path, found: str, stated: str) -> None:
    """CheckpointError where files beside a card are not those that it was written with."""
    if found != stated:
        raise CheckpointError(f"{folder}: card.json does not describe the files beside it; they were changed")


def fill(module: nn.Module, folder: Path) -> None:
    """Give a module made on the meta device the tensors of model.safetensors. ValueError where they are not its own."""
    from safetensors.torch import load_file

    files.check_regular(folder / "model.safetensors")
    tensors = load_file(folder / "model.safetensors")
    needed = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if needed != {name: tensor.shape for name, tensor in tensors.items()}:
        raise ValueError("card.json does not describe the tensors beside it")
    module.load_state_dict(tensors, assign=True)

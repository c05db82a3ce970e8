"""Folders of models: `card.json` and `model.safetensors` beside it, which belong together by a hash in the card.

A card is a dataclass with the fields `format` and `sha256`.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from speechssl import config, files
from speechssl.encoders.pretrained import write_tensors
from speechssl.errors import CheckpointError

C = TypeVar("C")
M = TypeVar("M", bound=nn.Module)
MOST_BYTES = 16 << 20  # of card.json
# What foreign or damaged cards and weights may raise.
_UNUSABLE = (OSError, KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError)


def without(values: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """A config's values without the settings that came later and have no effect, so that older hashes stay."""
    return {name: value for name, value in values.items() if name not in later or value != later[name]}


def digest(head: Any, module: nn.Module) -> str:
    """sha256 over plain values and every tensor of a module by sorted name."""
    found = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def write(folder: str | Path, module: nn.Module, card: C, *, beside: Callable[[Path], None] | None = None) -> C:
    """A module's tensors and a card into `folder` (made if absent); the card goes first and comes last. Returns it.

    beside: writes what else belongs into the folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").unlink(missing_ok=True)
    write_tensors(folder / "model.safetensors", module.state_dict())
    if beside is not None:
        beside(folder)
    temporary = folder / ".card.json.tmp"
    text = json.dumps(config.to_dict(card), indent=2, ensure_ascii=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(folder / "card.json")
    return card


def is_one(folder: str | Path, form: str) -> bool:
    """Whether a folder's card says that it is of this format."""
    return files.has_format(Path(folder) / "card.json", form, most=MOST_BYTES)


def read_card(folder: str | Path, kind: type[C], form: str, what: str, recipe: str = "") -> C:
    """card.json as a dataclass, checked for its form only. Raises CheckpointError where it is no `what`.

    recipe: what makes one.
    """
    try:
        raw = files.read_json(Path(folder) / "card.json", most=MOST_BYTES)
        if not isinstance(raw, dict) or raw.get("format") != form:
            raise ValueError(f"format is not {form}")
        return config.build(kind, raw)
    except (OSError, ValueError, TypeError) as error:
        made = f" ({recipe} makes one)" if recipe else ""
        raise CheckpointError(f"{folder}: no {what} there{made}: {error}") from error


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """CheckpointError for whatever foreign or damaged cards and weights raise in the block."""
    from safetensors import SafetensorError

    try:
        yield
    except (*_UNUSABLE, SafetensorError) as error:
        raise CheckpointError(f"{folder}: no usable {what}: {error}") from error


def check_identity(folder: Path, found: str, stated: str) -> None:
    """CheckpointError where files beside a card are not those that it was written with."""
    if found != stated:
        raise CheckpointError(f"{folder}: card.json does not describe the files beside it; they do not match its sha256"
                              " and were changed")  # fmt: skip


def read_weights(folder: Path, build: Callable[[], M]) -> M:
    """A module with the tensors of model.safetensors, in eval mode and without gradients; within `reading`."""
    from safetensors.torch import load_file

    files.check_regular(folder / "model.safetensors")
    tensors = load_file(folder / "model.safetensors")
    with torch.device("meta"):  # shapes first: card.json does not decide how much memory is taken
        check_shapes(build(), tensors)
    module = build()
    module.load_state_dict(tensors, strict=True)
    return module.eval().requires_grad_(False)


def check_shapes(module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """ValueError where tensors are not a module's own."""
    if {name: t.shape for name, t in module.state_dict().items()} != {name: t.shape for name, t in tensors.items()}:
        raise ValueError("card.json does not describe the tensors beside it")

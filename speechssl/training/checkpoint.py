"""Training state on disk: safetensors + JSON in a folder per checkpoint, written aside, hashed, renamed.

RUN/checkpoints/update-0001000/{model,optimizer}.safetensors state.json manifest.json. The manifest holds the sha256 of
the others; the newest checkpoint whose files agree with it is the one to go on from, so a kill at any moment (or a
full disk) costs the updates since the one before, never the training.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speechssl.errors import CheckpointError

_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


@dataclass(frozen=True)
class State:
    """All that a training needs to go on exactly where it was."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    progress: dict[str, Any]  # plain values


def save(folder: Path, state: State, *, update: int, keep: int) -> Path:
    """Write a checkpoint and remove older ones beyond `keep`. Raises OSError; nothing that was there is lost then."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".tmp-*"):
        shutil.rmtree(left)
    final = folder / f"update-{update:09d}"
    scratch = folder / f".tmp-{update}"
    scratch.mkdir()
    try:
        save_file(_plain(state.model), scratch / "model.safetensors")
        save_file(_plain(state.optimizer), scratch / "optimizer.safetensors")
        (scratch / "state.json").write_text(json.dumps(state.progress, indent=2) + "\n", encoding="utf-8")
        hashes = {name: _sync_and_hash(scratch / name) for name in _FILES}
        (scratch / "manifest.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
        _sync_and_hash(scratch / "manifest.json")
        if final.exists():  # a damaged one of the same update
            shutil.rmtree(final)
        scratch.rename(final)
    except SafetensorError as error:  # the library's way to say that the disk is full
        raise OSError(f"{scratch}: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _sync_folder(folder)
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old)
    return final


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are whole, and a line for each newer one that is not."""
    problems: list[str] = []
    for path in _newest_first(folder):
        problem = _problem(path)
        if problem is None:
            return path, problems
        problems.append(problem)
    return None, problems


def load(path: Path) -> State:
    """Read a checkpoint. Raises CheckpointError where it is damaged."""
    if problem := _problem(path):
        raise CheckpointError(problem)
    try:
        model, optimizer = (load_file(path / name) for name in _FILES[:2])
        progress = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return State(model, optimizer, progress)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's state dict with tensors that share memory named once."""
    names = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}  # of shared ones the first
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and counts as `number of the parameter.name`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": _tensor(value) for index, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`. Raises CheckpointError where parameters differ in number or shape."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, values in state.items():
        shape = parameters[number].shape if number < len(parameters) else None
        fits = shape is not None and all(v.numel() == 1 or v.shape == shape for v in values.values())
        if not fits:
            raise CheckpointError("the checkpoint's optimizer is that of another model")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("update-*") if p.is_dir()), reverse=True)


def _problem(path: Path) -> str | None:
    try:
        hashes = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name in _FILES:
            if _hash(path / name) != hashes[name]:
                return f"{path / name}: changed since it was written, not used"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{path}: not a whole checkpoint ({error}), not used"
    return None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_and_hash(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

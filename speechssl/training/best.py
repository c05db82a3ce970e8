"""The best model of a training by a figure of its validation, kept apart from the checkpoints that it goes on from.

RUN/best/{model.safetensors,best.json}. The figure and its update are part of the progress that a checkpoint holds, so a
training that was killed and goes on keeps what an undisturbed one would have kept.
"""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechssl import files
from speechssl.errors import CheckpointError


def save(folder: Path, tensors: dict[str, Tensor], figures: dict[str, float], update: int) -> None:
    """Write the model as the best one so far, whole or not at all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".model.tmp"
    try:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(plain, temporary, metadata={"update": str(update)})
    except SafetensorError as error:
        raise OSError(f"{temporary}: {error}") from error
    temporary.replace(folder / "model.safetensors")
    text = folder / ".best.tmp"
    text.write_text(json.dumps({"update": update, **figures}, indent=2) + "\n", encoding="utf-8")
    text.replace(folder / "best.json")


def load(folder: Path) -> dict[str, Tensor]:
    """The tensors that `save` wrote. Raises CheckpointError."""
    path = folder / "model.safetensors"
    try:
        files.check_regular(path)
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {error}") from error

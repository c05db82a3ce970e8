"""Files that hold tensors: safetensors, pickled `.pt` / `.bin` (through the inert reader only), sharded folders."""

from pathlib import Path
from typing import Any

from torch import Tensor

from speechssl import files
from speechssl.convert import pickle_reader
from speechssl.errors import CheckpointError

_MOST_JSON = 16 * 2**20  # bytes; the index of the largest model is far below
_MOST_YAML = 2**16  # bytes; the loader is slow
_MOST_BRACKETS = 500


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError for anything else."""
    try:
        values = files.read_json(path, most=_MOST_JSON)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: a JSON object was expected, found {type(values).__name__}")
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """The first document of a YAML file, by the loader that makes plain values only; {} where it is no mapping.

    Raises CheckpointError.
    """
    import yaml

    try:
        text = files.read_text(path, most=_MOST_YAML)
        if text.count("[") + text.count("{") > _MOST_BRACKETS:  # the scanner's time is their square
            raise CheckpointError(f"{path}: nested too deeply for settings of a model")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise CheckpointError(f"{path}: YAML aliases, with which a few lines stand for any amount, are not read")
        values = next(yaml.safe_load_all(text), None)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: not readable YAML: {error}") from error
    return values if isinstance(values, dict) else {}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file. Raises CheckpointError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        files.check_regular(path)
        return load_file(path)
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a usable safetensors file: {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A flat state dict from a `.safetensors` file or a pickled one."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return as_tensors(pickle_reader.read_pickle_file(path), where=str(path))


def as_tensors(tree: object, *, where: str) -> dict[str, Tensor]:
    """`tree` as a state dict: a dict from names to tensors. Raises CheckpointError."""
    if not isinstance(tree, dict) or not tree:
        raise CheckpointError(f"{where}: a dict of tensors was expected, found {type(tree).__name__}")
    for key, value in tree.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{where}: {key!r} is a {type(value).__name__}, not a named tensor")
    return dict(tree)


def read_folder(folder: Path) -> dict[str, Tensor]:
    """The weights in a Hugging Face folder: one file or shards under an index, safetensors before pickles."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return read_tensors(folder / name)
        if (folder / f"{name}.index.json").is_file():
            return _read_shards(folder, f"{name}.index.json")
    raise CheckpointError(f"{folder}: holds neither model.safetensors nor pytorch_model.bin")


def shard_names(index: Path) -> list[str]:
    """The files that a `*.index.json` names, all of its own folder. Raises CheckpointError."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index}: no weight_map of file names")
    for name in places.values():
        if Path(name).name != name or name in {"", ".", ".."} or "\0" in name:
            raise CheckpointError(f"{index}: shard {name!r} is not a file of this folder")
    return sorted(set(places.values()))


def _read_shards(folder: Path, index: str) -> dict[str, Tensor]:
    names = shard_names(folder / index)
    places = read_json(folder / index)["weight_map"]
    tensors: dict[str, Tensor] = {}
    for name in names:
        shard = read_tensors(folder / name)
        if stray := [key for key in shard if places.get(key) != name]:
            raise CheckpointError(f"{folder / name}: {stray[0]!r} is not where the index says")
        tensors |= shard
    if missing := sorted(set(places) - set(tensors)):
        raise CheckpointError(f"{folder}: {len(missing)} tensors of the index are in no shard, {missing[0]!r} first")
    return tensors

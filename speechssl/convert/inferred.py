"""A configuration from the weights alone, for formats that store none (torchaudio, bare fairseq2 files).

Shapes show every size but three: the convolutions' strides, the number of heads, and whether norms come first. All
released models agree on these given the rest, and that is all that is assumed: strides 5,2,2,2,2,2,2 for the kernels
10,3,3,3,3,2,2; heads by width; norms first where the front end has layer norms. Anything else must be said in a hints
file beside the weights (`model.pth` -> `model.toml`).
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechssl import files
from speechssl.errors import CheckpointError

_STRIDES = {(10, 3, 3, 3, 3, 2, 2): (5, 2, 2, 2, 2, 2, 2)}
_HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}  # width -> heads, base to XLS-R 2B


def read_hints(path: Path) -> dict[str, Any]:
    """The TOML file beside a weights file: Config fields, `family`, `normalize`. Empty where there is none."""
    beside = path.with_suffix(".toml")
    try:
        return tomllib.loads(files.read_text(beside, most=1 << 20))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{beside}: hints must be TOML: {error}") from error


def config_of(tensors: Mapping[str, Tensor], hints: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Plain Config values from tensors under our names; `hints` win. Raises CheckpointError that says what to hint."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    position = shapes.get("pos_conv.conv.weight") or shapes.get("pos_conv.layers.0.conv.weight")
    convolutions = _matching(shapes, r"conv\.layers\.(\d+)\.conv\.weight")
    up = shapes.get("transformer.layers.0.ffn.up.weight")
    ranks_fit = position and len(position) == 3 and position[1] and up and len(up) == 2 and convolutions
    if not ranks_fit or position is None or up is None or any(len(shape) != 3 for shape in convolutions.values()):
        raise CheckpointError(f"{where}: the tensors are not those of a wav2vec 2.0-like encoder")
    ffn_dim, dim = up
    conv_norm = "layer" if "conv.layers.1.norm.weight" in shapes else "group"
    values: dict[str, Any] = {
        "conv_bias": "conv.layers.0.conv.bias" in shapes,
        "conv_norm": conv_norm,
        "projection": "projection.linear.weight" in shapes,
        "projection_norm": "projection.norm.weight" in shapes,
        "dim": dim,
        "ffn_dim": ffn_dim,
        "num_layers": 1 + max(_matching(shapes, r"transformer\.layers\.(\d+)\.ffn\.up\.weight")),
        "norm_first": conv_norm == "layer",
        "pos_conv_kernel": position[2],
        "pos_conv_groups": dim // position[1],
        "pos_conv_depth": max(1, len(_matching(shapes, r"pos_conv\.layers\.(\d+)\.conv\.weight"))),
        "pos_conv_norm": "batch" if "pos_conv.norm.weight" in shapes else "weight",
    }
    if "num_heads" not in hints:
        gate = shapes.get("transformer.relative_embedding.weight")  # WavLM's shows the heads
        values["num_heads"] = gate[1] if gate and len(gate) == 2 else _HEADS.get(dim)
        if values["num_heads"] is None:
            raise _unknown(where, f"how many attention heads a model of width {dim} has", "num_heads = 12")
    if "conv_layers" not in hints:
        values["conv_layers"] = _conv_layers(convolutions, where)
    return values | dict(hints)


def _conv_layers(convolutions: Mapping[int, tuple[int, ...]], where: str) -> list[list[int]]:
    ordered = [convolutions[i] for i in sorted(convolutions)]
    kernels = tuple(shape[2] for shape in ordered)
    if kernels not in _STRIDES:
        raise _unknown(
            where, f"the strides of convolutions with kernels {kernels}", "conv_layers = [[512, 10, 5], ...]"
        )
    return [[shape[0], shape[2], stride] for shape, stride in zip(ordered, _STRIDES[kernels], strict=True)]


def _unknown(where: str, what: str, example: str) -> CheckpointError:
    return CheckpointError(f"{where}: the weights do not show {what}; say it in a .toml file beside them: {example}")


def _matching(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> dict[int, tuple[int, ...]]:
    found = ((re.fullmatch(pattern, name), shape) for name, shape in shapes.items())
    return {int(match[1]): shape for match, shape in found if match}

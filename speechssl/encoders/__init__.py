"""Encoders: waveform to frames. One family per file, each with `Config` (frozen dataclass) and `Model(Config)`.

Nothing is registered: the module's name is the family's name. `families()` lists the folder.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from speechssl import config
from speechssl.errors import ConfigError

_NOT_FAMILIES = {"pretrained"}


@runtime_checkable
class Encoder(Protocol):
    """What every `Model` in this folder offers. B utterances, S samples, T frames, C channels.

    Frames: `T = floor((S - receptive_field) / hop) + 1`, 0 where S < receptive_field. What an utterance gives does not
    depend on its neighbours in the batch nor on the padding behind it.
    """

    sample_rate: int  # Hz of the waveform it takes
    hop: int  # samples from frame to frame
    receptive_field: int  # samples the first frame sees
    dim: int  # C of the output and of every layer, see `layer_dim`
    num_layers: int  # blocks; `layers` returns num_layers + 1 entries at most

    def __call__(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Final output [B, T, C] of wav [B, S] and the frame counts [B]; lengths [B] are real samples."""
        ...

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Layers 0..upto (all by default), each [B, T, C], and the frame counts [B]; nothing above upto is computed.

        `layers[0]` enters the first block, `layers[k]` is what block k returns (before any final norm).
        """
        ...

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, both int64 of any shape."""
        ...


def families() -> list[str]:
    """The names of the families: the public modules of this folder."""
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_") and name not in _NOT_FAMILIES)


def layer_dim(encoder: Any, layer: int) -> int:
    """Channels of a layer: the encoder's `dim`, but for CPC's layer 0, which is as wide as its convolutions."""
    own = getattr(encoder, "layer_dims", None)
    return int(encoder.dim if own is None else own[layer])


def preset(family: str, name: str | None) -> dict[str, Any]:
    """The plain values of a family's preset; none for None. ConfigError for an unknown one."""
    if name is None:
        return {}
    if family not in families():
        raise ConfigError(f"unknown encoder family {family!r} (known: {', '.join(families())})")
    presets = getattr(importlib.import_module(f"{__name__}.{family}"), "PRESETS", {})
    if name not in presets:
        raise ConfigError(f"{family} has no preset {name!r} (known: {', '.join(presets)})")
    return config.to_dict(presets[name])


def build(family: str, values: Mapping[str, Any]) -> torch.nn.Module:
    """A freshly initialised model of a family from the plain values of its Config."""
    if family not in families():
        raise ConfigError(f"unknown encoder family {family!r} (known: {', '.join(families())})")
    module = importlib.import_module(f"{__name__}.{family}")
    return module.Model(config.build(module.Config, values))

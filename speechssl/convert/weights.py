"""Tensors to a model: weight norm folded, names and shapes checked before memory is used, an encoder built.

Weight norm (arXiv:1602.07868) keeps a tensor as direction `v` and length `g`: `w = g * v / |v|`, with one length per
slice along one dimension (the kernel's time axis in wav2vec 2.0's positional convolution). We store `w`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from speechssl import config, encoders
from speechssl.convert import keys
from speechssl.encoders.pretrained import EncoderCard, Pretrained, build_empty
from speechssl.errors import CheckpointError

M = TypeVar("M", bound=torch.nn.Module)
_WEIGHT_NORM = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)
_CODEBOOK = {
    "quantizer.weight_proj.weight": "weight", "quantizer.entry_proj.weight": "weight",  # the second: fairseq2's
    "quantizer.weight_proj.bias": "bias", "quantizer.entry_proj.bias": "bias",
    "quantizer.vars": "codebook", "quantizer.codevectors": "codebook", "quantizer.entries": "codebook",
    "project_q.weight": "projection", "final_target_proj.weight": "projection",
}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """An encoder and what reading it left out or had to decide."""

    pretrained: Pretrained
    format: str  # "speechssl", "fairseq", "huggingface", "torchaudio", "fairseq2", "s3prl"
    dropped: tuple[str, ...] = ()  # tensors that only training or a head needs
    notes: tuple[str, ...] = ()  # what a user should know
    codebook: Mapping[str, Tensor] = field(default_factory=dict)  # of `dropped`: `codebook_tensors`, see `codebooks`
    outside: Mapping[str, Tensor] = field(default_factory=dict, repr=False)  # of `dropped`: a CTC head and adapters


def codebook_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of wav2vec 2.0's quantizer, by what they are: weight, bias, codebook; and projection, what is behind it."""
    return {_CODEBOOK[name]: tensor for name, tensor in tensors.items() if name in _CODEBOOK}


def fold_weight_norm(tensors: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Tensors with every weight-normalised pair replaced by its `.weight`."""
    folded = dict(tensors)
    for length_end, direction_end in _WEIGHT_NORM:
        for key in [key for key in folded if key.endswith(length_end)]:
            stem = key.removesuffix(length_end)
            length, direction = folded.pop(key), folded.pop(stem + direction_end, None)
            if direction is None or stem + ".weight" in folded:
                raise CheckpointError(
                    f"{where}: {key!r} has no {direction_end!r} beside it, or the weight is there too"
                )
            folded[stem + ".weight"] = _fold(length, direction, where=f"{where}: {stem}")
    return folded


def _fold(length: Tensor, direction: Tensor, *, where: str) -> Tensor:
    fits = length.ndim == direction.ndim and all(
        a in (1, b) for a, b in zip(length.shape, direction.shape, strict=True)
    )
    if not fits or not direction.is_floating_point():
        raise CheckpointError(f"{where}: weight norm of shapes {tuple(length.shape)} and {tuple(direction.shape)}")
    norm = _slice_norm(direction.float(), length)
    scale = torch.where(norm == 0, torch.zeros_like(norm), length.float() / norm)  # a slice of zeros stays one
    return direction.float() * scale


def unfold_weight_norm(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Length [1, 1, K] and direction [C, C', K] of a convolution's weight, one length per tap; exact to fold back."""
    length = _slice_norm(weight, weight.new_empty(1, 1, weight.shape[2]))
    zero = length == 0  # 0 / 0 in other implementations
    return length, torch.where(zero, torch.ones_like(weight), weight)


def _slice_norm(direction: Tensor, length: Tensor) -> Tensor:
    dims = [d for d, size in enumerate(length.shape) if size == 1]
    return direction.double().square().sum(dims, keepdim=True).sqrt().to(direction.dtype)


def build_encoder(
    family: str, values: Mapping[str, Any], tensors: Mapping[str, Tensor], *, where: str
) -> torch.nn.Module:
    """A family's model in eval mode with these float32 weights.

    Names and shapes are checked on a model without memory first, so that a small file that claims to be huge is an
    error. Raises CheckpointError.
    """
    with _as_checkpoint_error(where):
        model = build_empty(family, values)
        if not 0 < model.hop <= model.sample_rate:  # shapes show kernels, not strides
            raise CheckpointError(f"{where}: strides of {model.hop} samples in all cannot be right")
        held = _held(model, tensors, where)
        if not {name for name, _ in model.named_buffers()} <= set(held):
            model = encoders.build(family, values)  # it computes buffers of its own
            model.load_state_dict(held, strict=True)
        else:
            model.load_state_dict(held, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def build(make: Callable[[], M], tensors: Mapping[str, Tensor], *, where: str) -> M:
    """What `make` makes, in eval mode, with these float32 weights; all its buffers are among them.

    Checked without memory first, as `build_encoder` does. Raises CheckpointError.
    """
    with _as_checkpoint_error(where):
        with torch.device("meta"):
            model = make()
        model.load_state_dict(_held(model, tensors, where), strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _held(model: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Copies of our own, for a model without memory; their names and shapes are its own."""
    wanted = model.state_dict()
    keys.check_complete(tensors, wanted, where=where)
    return {name: _as_parameter(tensors[name], like, f"{where}: {name}") for name, like in wanted.items()}


@contextlib.contextmanager
def _as_checkpoint_error(where: str) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{where}: not a model that can be built: {error}") from error


def _as_parameter(tensor: Tensor, like: Tensor, where: str) -> Tensor:
    """A copy of our own in float32 (counters stay integers): mapped files may change below us."""
    if tensor.is_floating_point() != like.is_floating_point():
        raise CheckpointError(f"{where} is {tensor.dtype}, which is no weight's type")
    copy = tensor.detach().to("cpu", like.dtype, copy=True).contiguous()
    if copy.is_floating_point() and copy.numel() and not torch.stack(copy.aminmax()).isfinite().all():
        raise CheckpointError(f"{where} holds values that are not finite")
    return copy


def make_card(family: str, model: torch.nn.Module, *, normalize: bool, eps: float, name: str, source: str,
              licence: str = "") -> EncoderCard:  # fmt: skip
    """The card of a freshly converted model, its config as resolved."""
    return EncoderCard(family, config.to_dict(model.config), normalize, eps, name, source, licence)


def resolve(family: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A family's complete Config as plain values."""
    with torch.device("meta"):
        return config.to_dict(encoders.build(family, values).config)

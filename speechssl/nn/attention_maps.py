"""Attention weights of every block, for analysis: what the fused kernels never write down.

B utterances, T frames, H heads.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from speechssl.nn.attention import Attention


def attention_maps(model: nn.Module, run: Callable[[], object]) -> list[Tensor]:
    """Weights [B, H, T, T] (queries, then keys) of each `Attention` in `model`, in its order, while `run()` uses it.

    A query's weights sum to 1 over the keys; padding has none. Relative biases and their gates are in them, dropout is
    not. Takes H T^2 numbers for each block. Blocks that `run` leaves out give no frames, [0].
    """
    modules = [module for module in model.modules() if isinstance(module, Attention)]
    pieces: list[list[Tensor]] = [[] for _ in modules]  # some modules take their queries a few at a time
    try:
        for module, own in zip(modules, pieces, strict=True):
            _record(module, own)
        run()
    finally:
        for module in modules:
            module.__dict__.pop("weigh", None)
    return [torch.cat(own, dim=2) if own else torch.zeros(0) for own in pieces]


def num_maps(model: nn.Module) -> int:
    """How many `attention_maps` gives: 0 for models without attention."""
    return sum(isinstance(module, Attention) for module in model.modules())


def _record(module: Attention, found: list[Tensor]) -> None:
    weigh = module.weigh

    def recorded(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, **kernel: Any) -> Tensor:
        found.append(weights(query, key, bias, **kernel))
        return weigh(query, key, value, bias, **kernel)

    module.__dict__["weigh"] = recorded  # before the class's own; nn.Module keeps only modules and tensors elsewhere


def weights(query: Tensor, key: Tensor, bias: Tensor | None, *, scale: float | None = None) -> Tensor:
    """[B, H, T, T]: what the fused kernel weighs values by, for the arguments it gets."""
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None and bias.dtype == torch.bool:
        scores = scores.masked_fill(~bias, float("-inf"))
    elif bias is not None:
        scores = scores + bias
    return scores.softmax(-1)

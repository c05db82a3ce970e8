"""Optimisers and learning-rate schedules of the papers, by their usual names."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Optimizer:
    """AdamW with wav2vec 2.0 base's settings; "adam" adds the decay to the gradient, which fairseq's does not."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 5e-4  # peak
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.01
    decay_vectors: bool = True  # whether biases, norms and other 1-d parameters decay too (fairseq: they do)
    momentum: float = 0.9  # sgd only
    encoder_factor: float = 1.0  # of lr, for the parameters of an objective's encoder: what is fine-tuned learns slower

    def __post_init__(self) -> None:
        """Refuse what cannot learn."""
        if (
            self.lr <= 0
            or self.encoder_factor <= 0
            or self.weight_decay < 0
            or not all(0 <= beta < 1 for beta in self.betas)
        ):
            raise ConfigError(
                f"an optimizer needs lr and encoder_factor > 0, weight_decay >= 0 and betas in 0..1, got {self}"
            )


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the updates, as a factor of the optimizer's lr.

    polynomial: warm up, then down to `final` with the given power (1: a straight line; wav2vec 2.0, HuBERT).
    tri_stage: warm up from `initial`, hold, fall exponentially to `final` (fine-tuning; data2vec).
    cosine: warm up, then half a cosine to `final` (data2vec 2.0). constant: warm up, then 1.
    inverse_sqrt: warm up, then down with one over the root of the updates (arXiv:1706.03762; BEST-RQ).
    """

    name: Literal["polynomial", "tri_stage", "cosine", "constant", "inverse_sqrt"] = "polynomial"
    warmup: float = 0.08  # share of all updates
    hold: float = 0.0  # tri_stage only, share of all updates
    initial: float = 0.0  # factor at the first update
    final: float = 0.0  # factor at the last
    power: float = 1.0  # polynomial only

    def __post_init__(self) -> None:
        """Refuse shares that do not add up."""
        if not 0 <= self.warmup <= 1 or not 0 <= self.hold <= 1 - self.warmup or not 0 <= self.initial <= 1:
            raise ConfigError(f"warmup + hold must be in 0..1 and initial in 0..1, got {self}")
        if self.hold and self.name != "tri_stage":
            raise ConfigError(f"hold has no effect with the {self.name} schedule")
        if self.name == "tri_stage" and self.final <= 0:
            raise ConfigError("tri_stage falls exponentially: final must be above 0 (papers: 0.05)")
        if self.name == "inverse_sqrt" and (not self.warmup or self.final):
            raise ConfigError(f"inverse_sqrt needs a warmup, and final has no effect with it, got {self}")

    def factor(self, update: int, total: int) -> float:
        """The factor for update number `update` (from 0) of `total`."""
        progress = min(1.0, update / max(1, total))
        if progress < self.warmup:
            risen = min(1.0, (update + 1) / (self.warmup * total))  # the first update is no update without this 1
            return self.initial + (1 - self.initial) * risen
        start = self.warmup + self.hold
        if self.name == "constant" or progress < start or start >= 1:
            return 1.0
        left = (progress - start) / (1 - start)  # 0..1
        match self.name:
            case "polynomial":
                return self.final + (1 - self.final) * (1 - left) ** self.power
            case "inverse_sqrt":
                return math.sqrt(start / progress)
            case "cosine":
                return self.final + (1 - self.final) * (1 + math.cos(math.pi * left)) / 2
            case _:
                return self.final**left


FACTOR = "lr_factor"  # key of a parameter group: what the schedule's rate is multiplied by


def make_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """An optimizer over the parameters that require a gradient, in the order of their names."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise ConfigError("nothing to train: every parameter is frozen")
    groups: list[dict[str, Any]] = []
    for factor in dict.fromkeys((settings.encoder_factor, 1.0)):
        own = [p for name, p in named if _factor(name, settings) == factor]
        matrices = [p for p in own if p.ndim > 1 or settings.decay_vectors]
        vectors = [p for p in own if p.ndim <= 1 and not settings.decay_vectors]
        groups += [{"params": matrices, FACTOR: factor}, {"params": vectors, "weight_decay": 0.0, FACTOR: factor}]
    groups = [group for group in groups if group["params"]]
    match settings.name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps,
                                     weight_decay=settings.weight_decay, fused=True)  # fmt: skip
        case "adam":
            return torch.optim.Adam(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps,
                                    weight_decay=settings.weight_decay, fused=True)  # fmt: skip
        case "sgd":
            return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum,
                                   weight_decay=settings.weight_decay)  # fmt: skip


def _factor(name: str, settings: Optimizer) -> float:
    return settings.encoder_factor if name.startswith("encoder.") else 1.0

"""Objectives: an encoder and a batch to a loss. One per file, each with `Config` (frozen dataclass) and `Objective`.

Nothing is registered: the module's name is the objective's name. `objectives()` lists the folder.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from speechssl import config
from speechssl.data.batch import Batch
from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Outcome:
    """What an objective says of a batch.

    The trainer divides the gradient by the sum of `count` over everything that goes into one update (micro-batches and
    processes), so that the result does not depend on how an update is cut up.
    """

    loss: Tensor  # [] float32 with gradient: a sum over `count` items
    count: int  # items that it is a sum over, such as masked frames; 0 where the batch has none
    scalars: Mapping[str, Tensor | float] = field(default_factory=dict)  # means over the items, for the log
    frames: Tensor | None = None  # [N, C] of the encoder's output, detached: their rank is watched
    codes: Tensor | None = None  # [N] or [N, G] int64 chosen by a codebook or teacher: their perplexity is watched
    tallies: Mapping[str, int] = field(default_factory=dict)  # counts for the log, which are added up


@runtime_checkable
class Objective(Protocol):
    """What every `Objective` in this folder offers, a module that is made of an encoder and its Config.

    A loss must not depend on padding, and what is drawn at random comes from the batch's seeds. Attributes: `encoder`,
    what is trained and kept. Modules that get no gradient (teachers) have requires_grad False. `in_step = False` says
    that labels need not be in step with frames, so that speech may be stretched; `skips_parameters = True` that some
    of what is trained gets no gradient in some updates.
    """

    encoder: nn.Module

    def __call__(self, batch: Batch) -> Outcome:
        """The loss of a batch."""
        ...

    def after_step(self, step: int) -> None:
        """Called after each update, which was number `step`, from 1 (teachers follow, temperatures fall)."""
        ...


def objectives() -> list[str]:
    """The names of the objectives: the public modules of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def config_class(name: str) -> type:
    """The Config of an objective. Raises ConfigError for an unknown name."""
    if name not in objectives():
        raise ConfigError(f"unknown objective {name!r} (known: {', '.join(objectives())})")
    return importlib.import_module(f"{__name__}.{name}").Config


def build(name: str, encoder: nn.Module, values: Mapping[str, Any], *, num_labels: int | None = None) -> nn.Module:
    """An objective from the plain values of its Config.

    num_labels: of the training data's labels, for objectives that predict them. Raises ConfigError where an objective
    lacks labels or cannot use them.
    """
    cls = config_class(name)
    takes_labels = "num_labels" in {f.name for f in dataclasses.fields(cls)}
    if takes_labels and num_labels is None and "num_labels" not in values:
        raise ConfigError(f"{name} predicts labels: give data.labels (made by speechssl units)")
    if not takes_labels and num_labels is not None:
        raise ConfigError(f"{name} uses no labels: leave data.labels out")
    if takes_labels and num_labels is not None:
        stated = values.get("num_labels", num_labels)
        if stated < num_labels:
            raise ConfigError(f"num_labels={stated}, and the labels go up to {num_labels - 1}")
        values = {**values, "num_labels": stated}
    module = importlib.import_module(f"{__name__}.{name}")
    return module.Objective(encoder, config.build(cls, values))

"""What stands behind an encoder in a sequence-to-sequence model: an adaptor, a decoder, heads of auxiliary tasks.

Speech-to-unit translation (arXiv:2107.05604): fewer frames, a stack of blocks, a decoder of units, and heads that
predict source or target text from blocks in between. With characters for targets and a CTC head on the same symbols it
is the hybrid CTC/attention recogniser (Watanabe et al. 2017).

B utterances, T frames, L symbols of a target, V symbols.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from speechssl.decoders import transformer
from speechssl.decoders.transformer import ended, shifted
from speechssl.errors import ConfigError
from speechssl.nn.adaptor import Adaptor
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.dropout import Dropout, set_dropout


@dataclass(frozen=True)
class DecoderShape:
    """`decoders.transformer.Config` without what follows from the targets."""

    dim: int = 512
    ffn_dim: int = 2048
    num_layers: int = 6
    num_heads: int = 8
    norm_first: bool = True
    activation: Literal["relu", "gelu", "swish"] = "relu"
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    max_positions: int = 3000
    first_position: int = 0
    scale_embedding: bool = True
    tied: bool = True
    silent: int = 0
    stack: int = 1

    def config(self, num_symbols: int) -> transformer.Config:
        """With V symbols."""
        return transformer.Config(num_symbols, **vars(self))


@dataclass(frozen=True)
class Task:
    """An auxiliary task: what is predicted from where."""

    name: str  # of its targets in a batch
    num_symbols: int = 0  # V of its targets; 0: taken from the data
    kind: Literal["ctc", "attention"] = "ctc"  # attention: a decoder of its own, `decoder`
    side: Literal["adaptor", "decoder"] = "adaptor"  # decoder: CTC over its states, one of which stands for a target
    layer: int = 0  # block whose states it sees, from 1; 0: the output
    weight: float = 1.0  # loss_weight
    decoder: DecoderShape = field(default_factory=lambda: DecoderShape(256, num_layers=2, num_heads=4))

    def __post_init__(self) -> None:
        """Refuse what has no effect."""
        if self.weight <= 0 or self.layer < 0 or self.num_symbols < 0 or not self.name:
            raise ConfigError(f"a task needs a name, weight > 0, layer >= 0 and num_symbols >= 0, got {self}")
        if self.side == "decoder" and self.kind != "ctc":
            raise ConfigError(f"task {self.name}: on the decoder's side there is CTC only")
        if self.decoder.stack != 1:
            raise ConfigError(f"task {self.name}: stacks are for units of the target, not for a task's symbols")


@dataclass(frozen=True)
class Config:
    """All of it. Defaults: fairseq's s2ut_transformer."""

    num_symbols: int  # V of the targets: units, or a vocabulary's symbols with its blank, which the decoder never says
    blank: int | None = None  # of the CTC head over the targets; None: a column of its own behind the others
    ctc: bool = False  # whether there is a CTC head over the targets, on the adaptor's output
    adaptor: AdaptorConfig = field(default_factory=AdaptorConfig)
    decoder: DecoderShape = field(default_factory=DecoderShape)
    tasks: tuple[Task, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.num_symbols < 1 or not 0 <= (self.blank or 0) < self.num_symbols:
            raise ConfigError(f"num_symbols={self.num_symbols} must be >= 1 and blank={self.blank} one of them")
        if len({task.name for task in self.tasks}) != len(self.tasks):
            raise ConfigError("tasks need different names")
        for task in self.tasks:
            most = self.adaptor_layers if task.side == "adaptor" else self.decoder.num_layers
            if task.layer > most:
                raise ConfigError(f"task {task.name}: layer {task.layer} does not exist, there are {most}")

    @property
    def adaptor_layers(self) -> int:
        """Blocks of the adaptor, or stacks of a zipformer."""
        adaptor = self.adaptor
        return len(adaptor.factors) if adaptor.kind == "zipformer" else adaptor.num_layers

    @property
    def ctc_blank(self) -> int:
        """The CTC head's column of the blank."""
        return self.num_symbols if self.blank is None else self.blank


@dataclass(frozen=True)
class Scores:
    """What the model says of a batch in training."""

    logits: Tensor  # [B, L', V + 1] of each symbol and the end; L' > L, a multiple of the decoder's stack
    targets: Tensor  # [B, L'] with the end, V behind it
    target_lengths: Tensor  # [B], the end counted
    states: Tensor  # [B, T, D] the adaptor's output
    lengths: Tensor  # [B] its frames
    ctc: Tensor | None  # [B, T, V or V + 1] log probabilities
    tasks: dict[str, tuple[Tensor, Tensor]]  # log probabilities and counts: [B, T, V + 1] and [B] of CTC, the blank
    # last; of attention logits [B, L' + 1, V + 1] and targets' lengths with the end


class Model(nn.Module):
    """Frames [B, T, in_dim] of an encoder to symbols."""

    def __init__(self, config: Config, in_dim: int) -> None:
        super().__init__()
        if missing := [task.name for task in config.tasks if not task.num_symbols]:
            raise ConfigError(f"task {missing[0]}: num_symbols is not known")
        self.config = config
        self.adaptor = Adaptor(config.adaptor, in_dim)
        self.decoder = transformer.Model(config.decoder.config(config.num_symbols), config.adaptor.dim)
        self.ctc: nn.Linear | None = None
        if config.ctc:
            self.ctc = nn.Linear(config.adaptor.dim, max(config.num_symbols, config.ctc_blank + 1))
        self.heads = nn.ModuleDict({task.name: self._head(task) for task in config.tasks})

    def _head(self, task: Task) -> nn.Module:
        dim = self.config.adaptor.dim if task.side == "adaptor" else self.config.decoder.dim
        if task.kind == "ctc":
            return nn.Linear(dim, task.num_symbols + 1)
        return transformer.Model(task.decoder.config(task.num_symbols), dim)

    def set_dropout(self, dropout: Dropout) -> None:
        """Use these probabilities from now on."""
        set_dropout(self, dropout)

    def encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder looks at, [B, T', D], and its counts [B]."""
        return self.adaptor(frames, lengths)

    def ctc_log_probs(self, states: Tensor) -> Tensor:
        """Of the targets' symbols and the blank, for what `encode` gave."""
        if self.ctc is None:
            raise ConfigError("this model has no CTC head over its targets: train it with ctc_weight > 0")
        return self.ctc(states).float().log_softmax(-1)

    def forward(self, frames: Tensor, lengths: Tensor, targets: Tensor, tasks: dict[str, Tensor]) -> Scores:
        """targets and those of tasks: [B, L], -1 behind the end. The decoder reads the true symbols."""
        config = self.config
        states, lengths = self.adaptor.states(frames, lengths)
        output = states[-1]
        stack = config.decoder.stack
        wanted, sizes = ended(targets, self.decoder.end, stack)
        inner = self.decoder.states(shifted(wanted, self.decoder.end, stack), output, lengths)
        steps = -torch.div(-sizes, stack, rounding_mode="floor")
        found = {}
        for task in config.tasks:
            head = self.heads[task.name]
            here = states if task.side == "adaptor" else inner
            x = here[task.layer] if task.layer else here[-1] if task.side == "adaptor" else self.decoder.norm(here[-1])
            if task.kind == "ctc":
                counts = lengths if task.side == "adaptor" else steps
                found[task.name] = (head(x).float().log_softmax(-1), counts)
            else:
                own, own_sizes = ended(tasks[task.name], head.end)
                found[task.name] = (head(shifted(own, head.end), x, lengths), own_sizes)
        ctc = None if self.ctc is None else self.ctc_log_probs(output)
        return Scores(self.decoder.scores(inner[-1]), wanted, sizes, output, lengths, ctc, found)

"""Slow teachers and students in float64, one utterance at a time, for the oracles of self-distillation."""

import copy
import math

import torch
from torch import Tensor, nn

from speechssl import encoders, objectives
from speechssl.data.batch import Batch
from speechssl.nn.ema import Teacher
from speechssl.nn.speech_encoder import SpeechEncoder
from tests.encoders.parity import randomize

CONV = ((8, 10, 5), (8, 8, 8), (12, 8, 8))  # 320 samples a frame
SMALL = {"conv_layers": CONV, "dim": 16, "ffn_dim": 20, "num_layers": 3, "num_heads": 2, "pos_conv_kernel": 5,
         "pos_conv_groups": 4}  # fmt: skip


def make(name: str, settings: dict[str, object], family: str = "hubert", **encoder: object) -> nn.Module:
    """An objective in float64 whose teacher is not its student, without dropout, in training mode."""
    torch.manual_seed(0)
    model = encoders.build(family, {**SMALL, **encoder})
    randomize(model)
    objective = objectives.build(name, model, settings)
    assert isinstance(objective.teacher, Teacher)
    randomize(objective.teacher, seed=5)
    objective.teacher.follow(model, 1.0)  # its shared parts
    return objective.double().train()


def make_batch(lengths: tuple[int, ...] = (6000, 3000, 4321)) -> Batch:
    """Noise with NaN behind each utterance."""
    wav = torch.full((len(lengths), max(lengths)), float("nan"), dtype=torch.float64)
    for row, length in enumerate(lengths):
        wav[row, :length] = torch.randn(length, dtype=torch.float64, generator=torch.Generator().manual_seed(length))
    return Batch(wav, torch.tensor(lengths), torch.arange(len(lengths)) + 11, tuple(map(str, lengths)))


def attend(attention: nn.Module, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of x [T, C] with bias [H, T, T], a head at a time."""
    heads, width = attention.num_heads, x.shape[1] // attention.num_heads
    parts = []
    for head in range(heads):
        channels = slice(head * width, (head + 1) * width)
        query, key, value = (layer(x)[:, channels] for layer in (attention.query, attention.key, attention.value))
        scores = query @ key.T / math.sqrt(width)
        parts.append((scores if bias is None else scores + bias[head]).softmax(-1) @ value)
    return attention.out(torch.cat(parts, 1))


def blocks(encoder: SpeechEncoder, x: Tensor, bias: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
    """The final output [T, C] of a post-norm transformer, and the feed-forward output of each of its blocks."""
    transformer = encoder.transformer
    x, branches = transformer.norm(x), []
    for block in transformer.layers:
        x = block.attention_norm(x + attend(block.attention, x, bias))
        branches.append(block.ffn.down(torch.nn.functional.gelu(block.ffn.up(x))))
        x = block.ffn_norm(x + branches[-1])
    return x, branches


def normalised(x: Tensor) -> Tensor:
    """x [T, C], each channel with zero mean and unit variance, a channel at a time."""
    columns = []
    for column in x.T:
        mean = sum(column) / len(column)
        variance = sum((value - mean) ** 2 for value in column) / len(column)
        columns.append((column - mean) / (variance + 1e-5).sqrt())
    return torch.stack(columns, 1)


def frontend(objective: nn.Module, batch: Batch, row: int) -> Tensor:
    """Projected frames [T, C] of one utterance without its padding."""
    length = int(batch.lengths[row])
    return objective.encoder.frontend(batch.wav[row : row + 1, :length])[0][0]


def teacher_layers(objective: nn.Module, x: Tensor, top: int, bias: Tensor | None = None) -> list[Tensor]:
    """Normalised feed-forward outputs [T, C] of the teacher's last blocks for frames x [T, C]."""
    teacher = copy.deepcopy(objective.teacher.encoder)
    with torch.no_grad():
        x = x.detach() + teacher.pos_conv(x.detach().unsqueeze(0))[0]
        return [normalised(branch) for branch in blocks(teacher, x, bias)[1][-top:]]


def assert_same_gradients(objective: nn.Module, loss: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    """Of all trained parameters, of both losses."""
    named = [(name, p) for name, p in objective.named_parameters() if p.requires_grad]
    parameters = [p for _, p in named]
    found = torch.autograd.grad(loss, parameters, retain_graph=True)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    scale = max(float(gradient.abs().max()) for gradient in wanted if gradient is not None)
    for (name, _), ours, theirs in zip(named, found, wanted, strict=True):
        assert theirs is not None, name
        assert float((ours - theirs).abs().max()) <= tolerance * scale, name

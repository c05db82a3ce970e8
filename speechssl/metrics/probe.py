"""Linear phone probe: how much of the phones a linear map finds in frames. Multinomial logistic regression.

Frames are standardised by the training frames; the weights (not the biases) carry a small L2 penalty; the optimum is
unique and L-BFGS goes there from zero, so that nothing depends on a seed. Works on a CPU and on a GPU.

N frames, C channels, V labels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.errors import DataError
from speechssl.metrics.alignments import Alignments

_BLOCK = 65_536  # frames at once


@dataclass(frozen=True)
class Probe:
    """Standardisation and weights."""

    mean: Tensor  # [C]
    scale: Tensor  # [C]
    weight: Tensor  # [V, C]
    bias: Tensor  # [V]

    def logits(self, frames: Tensor) -> Tensor:
        """[N, V] of frames [N, C]."""
        frames = frames.to(self.weight)
        return F.linear((frames - self.mean) * self.scale, self.weight, self.bias)

    def predict(self, frames: Tensor) -> Tensor:
        """The most likely label of each frame, [N] on the CPU."""
        return torch.cat([self.logits(block).argmax(-1).cpu() for block in frames.split(_BLOCK)])

    def accuracy(self, frames: Tensor, labels: Tensor) -> float:
        """Share of frames [N, C] whose label [N] is found. DataError without frames."""
        if not len(frames):
            raise DataError("a probe cannot be tested on no frames")
        return float((self.predict(frames) == labels.cpu()).double().mean())


def fit_probe(
    frames: Tensor, labels: Tensor, *, num_labels: int | None = None, l2: float = 1e-6, iterations: int = 100,
    device: str = "cpu",
) -> Probe:  # fmt: skip
    """Learn labels [N] (0..V-1) from frames [N, C].

    l2: weight of |W|² / 2 beside the mean cross entropy (scikit-learn's 1 / (C N)). iterations: of L-BFGS at most.
    Raises DataError where there are fewer than two labels.
    """
    if len(frames) != len(labels) or not len(frames):
        raise DataError(f"a probe needs as many labels as frames, at least one: got {len(frames)} and {len(labels)}")
    size = int(labels.max()) + 1 if num_labels is None else num_labels
    if size < 2 or int(labels.min()) < 0 or int(labels.max()) >= size:
        raise DataError(f"a probe needs labels of 0..{size - 1} with at least two of them, got {labels.unique()[:5]}")
    frames, labels = frames.to(device, torch.float32), labels.to(device)
    mean, deviation = frames.mean(0), frames.std(0, correction=0)
    scale = torch.where(deviation > 1e-8, 1 / deviation.clamp_min(1e-8), 0.0)
    frames = (frames - mean).mul_(scale)  # once, and held: every step would spend more on this than on its products
    weight = torch.zeros(size, frames.shape[1], device=device, requires_grad=True)
    bias = torch.zeros(size, device=device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, history_size=10, line_search_fn="strong_wolfe",
                                  tolerance_grad=1e-5, tolerance_change=1e-7)  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros((), device=device)
        for x, y in zip(frames.split(_BLOCK), labels.split(_BLOCK), strict=True):
            loss = F.cross_entropy(F.linear(x, weight, bias), y, reduction="sum") / len(frames)
            loss.backward()
            total += loss.detach()
        penalty = l2 / 2 * weight.square().sum()
        penalty.backward()
        return total + penalty.detach()

    optimizer.step(closure)
    return Probe(mean, scale, weight.detach(), bias.detach())


def label_frames(
    frames: Tensor, alignments: Alignments, utterance: str, vocabulary: dict[str, int], *, rate_hz: float,
    centre_s: float, shift_s: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The frames of [T, C] that have a label, [N, C], and their labels [N]; see `label_numbers`."""
    labels = label_numbers(len(frames), alignments, utterance, vocabulary, rate_hz=rate_hz, centre_s=centre_s,
                           shift_s=shift_s)  # fmt: skip
    known = labels >= 0
    return frames[known], labels[known]


def label_numbers(
    num_frames: int, alignments: Alignments, utterance: str, vocabulary: dict[str, int], *, rate_hz: float,
    centre_s: float, shift_s: float = 0.0,
) -> Tensor:  # fmt: skip
    """The label of each frame, [num_frames] int64, -1 where there is none.

    Frame t's centre is at t / rate_hz + centre_s. Labels are numbered by `vocabulary`, which takes up new ones; shift_s
    moves every label.
    """
    shift = shift_s - centre_s + 0.5 / rate_hz  # `Alignments.frames` has the first centre half a frame behind 0
    own = torch.from_numpy(alignments.frames(utterance, rate_hz, shift_s=shift)).long()[:num_frames]
    numbers = torch.tensor([*(vocabulary.setdefault(name, len(vocabulary)) for name in alignments.labels), -1])
    return F.pad(numbers[own], (0, num_frames - len(own)), value=-1)  # own -1, no label, takes the last


def majority(labels: Tensor, tested: Tensor) -> float:
    """Accuracy on `tested` [M] of always saying the most frequent of labels [N]: the floor."""
    return float((tested == labels.mode().values).double().mean())

"""Linear phone probe: how much of the phones a linear map finds in frames. Multinomial logistic regression.

Frames are standardised by the training frames; the weights (not the biases) carry a small L2 penalty; the optimum is
unique and L-BFGS goes there from zero weights, so that nothing depends on a seed. Works on a CPU and on a GPU.

N frames, C channels, V labels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.errors import DataError
from speechssl.metrics.alignments import Alignments
from speechssl.metrics.lbfgs import minimize

_BLOCK = 65_536  # frames at once
_CACHED = 2_048  # frames at once on a CPU: still in its cache when the gradient wants them
_RIDGE = 1e-3  # of the variance: directions that hold less are not made any larger


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

    l2: weight of |W|² / 2 beside the mean cross entropy (scikit-learn's 1 / (C N)). iterations: of L-BFGS at most; 20
    come as near to the optimum as 100 over standardised frames themselves (see `_Problem`).
    Raises DataError where there are fewer than two labels, or NaN or infinity in frames.
    """
    if len(frames) != len(labels) or not len(frames):
        raise DataError(f"a probe needs as many labels as frames, at least one: got {len(frames)} and {len(labels)}")
    size = int(labels.max()) + 1 if num_labels is None else num_labels
    if size < 2 or int(labels.min()) < 0 or int(labels.max()) >= size:
        raise DataError(f"a probe needs labels of 0..{size - 1} with at least two of them, got {labels.unique()[:5]}")
    frames, labels = frames.to(device, torch.float32), labels.to(device)
    mean, deviation = frames.mean(0), frames.std(0, correction=0)
    if not bool(deviation.isfinite().all()):
        raise DataError("a probe cannot learn from frames that contain NaN or infinity")
    scale = torch.where(deviation > 1e-8, 1 / deviation.clamp_min(1e-8), 0.0)
    frames = (frames - mean).mul_(scale)  # once, and held: every step would spend more on this than on its products
    return Probe(mean, scale, *_Problem(frames, labels, size, l2).solve(iterations))


class _Problem:
    """Mean cross entropy and penalty of standardised frames, and a way to their optimum.

    L-BFGS sees other variables: weights = stretch * variables @ whiten, where frames times whiten have unit covariance
    and stretch is 1 / a label's standard deviation. At the start all their second derivatives are about alike, however
    much channels hold of one another, and a fifth of the steps is enough.
    """

    def __init__(self, frames: Tensor, labels: Tensor, size: int, l2: float) -> None:
        self.frames, self.labels, self.l2 = frames, labels, l2
        covariance = sum(x.T @ x for x in frames.split(_BLOCK)).double() / len(frames)
        covariance.diagonal().add_(_RIDGE)
        root = torch.linalg.cholesky(covariance)
        identity = torch.eye(len(root), dtype=root.dtype, device=root.device)
        self.whiten = torch.linalg.solve_triangular(root, identity, upper=False).float()  # [C, C]
        shares = torch.bincount(labels, minlength=size).float() / len(labels)
        self.log_shares = shares.clamp_min(0.5 / len(labels)).log()
        self.stretch = (shares * (1 - shares)).clamp_min(1e-4).rsqrt()  # [V]

    def solve(self, iterations: int) -> tuple[Tensor, Tensor]:
        """Weights [V, C] and biases [V], after so many iterations at most."""

        def function(both: Tensor) -> tuple[float, Tensor]:
            loss, by_weight, by_bias = self.loss(*self.original(both))
            by_variables = self.stretch.unsqueeze(1) * (by_weight @ self.whiten.T)
            return loss, torch.cat([by_variables.flatten(), self.stretch * by_bias])

        nothing = torch.zeros(len(self.stretch) * self.frames.shape[1], device=self.frames.device)
        start = torch.cat([nothing, self.log_shares / self.stretch])
        return self.original(minimize(function, start, iterations=iterations))

    def original(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [V, C] and biases [V]."""
        variables, offsets = both[: -len(self.stretch)], both[-len(self.stretch) :]
        variables = variables.view(len(self.stretch), -1)
        return self.stretch.unsqueeze(1) * (variables @ self.whiten), self.stretch * offsets

    def loss(self, weight: Tensor, bias: Tensor) -> tuple[float, Tensor, Tensor]:
        """And its gradients by weights and biases."""
        total, by_weight, by_bias = 0.0, self.l2 * len(self.frames) * weight, torch.zeros_like(bias)
        step = _BLOCK if self.frames.is_cuda else _CACHED
        for x, y in zip(self.frames.split(step), self.labels.split(step), strict=True):
            found = F.log_softmax(torch.addmm(bias, x, weight.T), dim=1)
            own = y.unsqueeze(1)
            total -= float(found.gather(1, own).sum())
            error = found.exp_()
            error.scatter_add_(1, own, error.new_full((1, 1), -1.0).expand(len(y), 1))
            by_weight.addmm_(error.T, x)
            by_bias += error.sum(0)
        count = len(self.frames)
        return total / count + self.l2 / 2 * float(weight.square().sum()), by_weight / count, by_bias / count


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

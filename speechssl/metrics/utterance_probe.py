"""Utterance probe: how much of a speaker, keyword, intent, emotion or language a linear map finds in pooled frames.

As in SUPERB's utterance tasks (arXiv:2105.01051: keywords, intents, speakers, emotions), a softmax-weighted sum of all
layers of a frozen encoder is averaged over time and goes into a linear classifier with cross entropy. As the mean is
linear, the weighted sum of the layers' means is exactly the mean of the weighted sum of layers: an utterance is encoded
once and one vector per layer is kept. (Standard deviations, where asked for, are those of single layers; their weighted
sum is not that of the sum.)

differs from SUPERB, where layers are summed as they are and training is so many steps of Adam: every channel of every
layer is standardised by the training utterances, and so is that of their sum, so that neither scales nor a mixture of
layers meet another L2 penalty; L-BFGS goes to an optimum from zero weights and equal layers, and nothing depends on a
seed. The linear map to 256 channels before SUPERB's mean is left out, as two linear maps are one.
With more than one layer the loss is not convex: the optimum is local, and layers that hold much the same share a weight
or leave it all to one of them. Their weights say what was used, not what there is (`--each-layer` says that).

N utterances, L layers, T frames, C channels, V labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.errors import DataError

POOLINGS = ("mean", "mean_std")
L2_GRID = (0.1, 0.01, 1e-3, 1e-4)  # strongest first: of equally good ones the strongest is taken
_TINY = 1e-12  # beside variances
_PARTS = 10  # of what is learned from, two are set aside to choose the L2 weight


@dataclass(frozen=True)
class UtteranceProbe:
    """Standardisation and weights, float64."""

    mean: Tensor  # [L, C]
    scale: Tensor  # [L, C]
    layer_weights: Tensor  # [L], at least 0, sum 1
    weight: Tensor  # [V, C]
    bias: Tensor  # [V]
    loss: float  # mean cross entropy and penalty at the end
    gradient: float  # its largest partial derivative there: 0 at an optimum

    def logits(self, pooled: Tensor) -> Tensor:
        """[N, V] of pooled layers [N, L, C]."""
        standard = (pooled.to(self.weight) - self.mean) * self.scale
        return F.linear(torch.einsum("l,nlc->nc", self.layer_weights, standard), self.weight, self.bias)

    def predict(self, pooled: Tensor) -> Tensor:
        """The most likely label of each utterance, [N] on the CPU."""
        return self.logits(pooled).argmax(-1).cpu()


def pool(layers: Sequence[Tensor], *, pooling: str = "mean", layer_norm: bool = False) -> Tensor:
    """[L, C] of the frames [T, C] of every layer of an utterance; [L, 2 C] with pooling "mean_std".

    layer_norm: every frame of every layer gets zero mean and unit variance over its channels first, as s3prl's
    featurizer does where asked. Raises DataError without frames, and where layers differ in shape.
    """
    if pooling not in POOLINGS:
        raise DataError(f"unknown pooling {pooling!r} (known: {', '.join(POOLINGS)})")
    if len({x.shape for x in layers}) != 1 or not len(layers[0]):
        raise DataError(
            f"layers to be pooled need the same frames and channels, got {[tuple(x.shape) for x in layers]}"
        )
    frames = torch.stack([x.double() for x in layers])
    if layer_norm:
        frames = F.layer_norm(frames, frames.shape[-1:])
    parts = [frames.mean(1)] + ([frames.std(1, correction=0)] if pooling == "mean_std" else [])
    return torch.cat(parts, dim=-1)


def fit_utterance_probe(
    pooled: Tensor, labels: Tensor, *, num_labels: int | None = None, l2: float = 1e-3,
    layer_weights: Tensor | None = None, iterations: int = 500, tolerance: float = 1e-5, device: str = "cpu",
) -> UtteranceProbe:  # fmt: skip
    """Learn labels [N] (0..V-1) from pooled layers [N, L, C].

    l2: weight of |W|² / 2 beside the mean cross entropy (scikit-learn's 1 / (C N)), not on biases or layers.
    layer_weights: [L], fixed instead of learned; the loss is convex then. iterations: of L-BFGS at most; it ends where
    no partial derivative is above `tolerance`. Raises DataError where there are fewer than two labels.
    """
    if pooled.ndim != 3 or len(pooled) != len(labels) or not len(pooled):
        raise DataError(
            f"a probe needs pooled layers [N, L, C] and N labels, got {tuple(pooled.shape)} and {len(labels)}"
        )
    size = int(labels.max()) + 1 if num_labels is None else num_labels
    if size < 2 or int(labels.min()) < 0 or int(labels.max()) >= size:
        raise DataError(f"a probe needs labels of 0..{size - 1} with at least two of them, got {labels.unique()[:5]}")
    x, y = pooled.to(device, torch.float64).transpose(0, 1), labels.to(device)  # [L, N, C]
    num_layers, num, dim = x.shape
    if layer_weights is not None and (layer_weights.shape != (num_layers,) or bool((layer_weights < 0).any())):
        raise DataError(f"layer weights must be {num_layers} numbers of at least 0, got {layer_weights.tolist()}")
    mean, deviation = x.mean(1), x.std(1, correction=0)
    scale = torch.where(deviation > 1e-8, 1 / deviation.clamp_min(1e-8), 0.0)
    x = ((x - mean[:, None]) * scale[:, None]).reshape(num_layers, num * dim)
    products = torch.einsum("lnc,mnc->clm", *[x.view(num_layers, num, dim)] * 2) / num

    def spread(weights: Tensor) -> Tensor:  # [C]: of the sum of layers, without going through all utterances again
        return (torch.einsum("l,clm,m->c", weights, products, weights).clamp_min(0) + _TINY).rsqrt()

    weight = x.new_zeros(size, dim).requires_grad_()
    bias = x.new_zeros(size).requires_grad_()
    scores = x.new_zeros(num_layers).requires_grad_()
    given = x.new_ones(num_layers) if layer_weights is None else layer_weights.to(x)
    given = given / given.sum()
    learned = layer_weights is None and num_layers > 1
    parameters = [weight, bias, scores] if learned else [weight, bias]
    summed = (given @ x).view(num, dim)
    optimizer = torch.optim.LBFGS(parameters, max_iter=iterations, max_eval=4 * iterations, history_size=20,
                                  tolerance_grad=tolerance, tolerance_change=1e-12,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        weights = scores.softmax(0) if learned else given
        z = (weights @ x).view(num, dim) if learned else summed
        loss = F.cross_entropy(F.linear(z, weight * spread(weights), bias), y) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss.detach()

    optimizer.step(closure)
    loss = float(closure())
    gradient = max(float(p.grad.abs().max()) for p in parameters if p.grad is not None)
    weights = scores.detach().softmax(0) if learned else given
    return UtteranceProbe(mean, scale, weights, weight.detach() * spread(weights), bias.detach(), loss, gradient)


def validation_part(labels: Sequence[int], groups: Sequence[str] | None, *, seed: int) -> Tensor:
    """[N] bool, True for the about fifth of the training utterances on which the L2 weight is chosen; drawn by `seed`.

    Without groups a fifth of every label, rounded down, so that what has one utterance stays in training. With groups
    (speakers, say) whole ones, at least one. DataError where that leaves one side empty.
    """
    generator = torch.Generator().manual_seed(seed)
    aside = torch.zeros(len(labels), dtype=torch.bool)
    keys: Sequence[int | str] = labels if groups is None else groups
    names = sorted(set(keys))
    if groups is not None:
        order = torch.randperm(len(names), generator=generator).tolist()
        chosen = {names[i] for i in order[: max(1, 2 * len(names) // _PARTS)]}
        aside = torch.tensor([key in chosen for key in keys], dtype=torch.bool)
    else:
        for name in names:
            own = torch.tensor([i for i, key in enumerate(keys) if key == name])
            aside[own[torch.randperm(len(own), generator=generator)[: 2 * len(own) // _PARTS]]] = True
    if bool(aside.all()) or not bool(aside.any()):
        kind = "labels" if groups is None else "groups"
        raise DataError(f"{len(labels)} utterances of {len(names)} {kind} cannot be divided to choose the L2 weight: "
                        "give --l2, or more speech")  # fmt: skip
    return aside


def choose_l2(
    pooled: Tensor, labels: Tensor, aside: Tensor, *, num_labels: int, grid: Sequence[float] = L2_GRID,
    tolerance: float = 1e-4, device: str = "cpu",
) -> tuple[float, list[float]]:  # fmt: skip
    """The L2 weight of `grid` whose probe, learned from the others, is right most often on those `aside` [N] (bool).

    Of equally good ones the first. Also the accuracies of all. tolerance: see `fit_utterance_probe`; looser here, where
    probes are only compared.
    """
    found = []
    for l2 in grid:
        probe = fit_utterance_probe(pooled[~aside], labels[~aside], num_labels=num_labels, l2=l2, tolerance=tolerance,
                                    device=device)  # fmt: skip
        found.append(float((probe.predict(pooled[aside]) == labels[aside]).double().mean()))
    return grid[found.index(max(found))], found

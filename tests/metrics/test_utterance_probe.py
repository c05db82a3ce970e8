"""The utterance probe: its sum of layers against frames, its optimum against scikit-learn and a slow gradient."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from speechssl.errors import DataError
from speechssl.metrics.utterance_probe import (
    UtteranceProbe,
    choose_l2,
    fit_utterance_probe,
    pool,
    validation_part,
)


def clouds(num: int = 300, *, seed: int = 0, layers: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled layers [N, L, 5] of very different scales: the second tells three labels apart, the first some."""
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=num)
    centres = np.random.default_rng(5).normal(size=(3, 5))
    x = random.normal(size=(num, layers, 5))
    x[:, min(1, layers - 1)] += 1.5 * centres[labels]
    x[:, 0, :2] += 0.5 * centres[labels][:, :2]
    scales = np.array([1.0, 100.0, 0.01])[:layers, None] * np.array([1, 3, 0.1, 1, 0])
    return torch.from_numpy(x * scales + 7).float(), torch.from_numpy(labels)


def utterance(num_frames: int, *, label: int, seed: int = 0) -> list[torch.Tensor]:
    """Three layers [T, 5]; the first tells label 0 from others, the last label 1."""
    generator = torch.Generator().manual_seed(seed)
    layers = [torch.randn(num_frames, 5, generator=generator) for _ in range(3)]
    layers[0][:, 0] += label == 0
    layers[2][:, 1] += label == 1
    return [x * scale + 1 for x, scale in zip(layers, (1, 10, 0.1), strict=True)]


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_sum_of_pooled_layers_is_the_pooled_sum_of_layers(layer_norm: bool) -> None:
    """Frame by frame through the same standardisation, layer weights and classifier, then averaged: the same logits."""
    utterances = [utterance(5 + i, label=i % 3, seed=i) for i in range(40)]
    pooled = torch.stack([pool(layers, layer_norm=layer_norm) for layers in utterances])
    probe = fit_utterance_probe(pooled, torch.arange(40) % 3)
    assert probe.layer_weights.max() < 0.99  # that more than one layer plays a part
    for layers, expected in zip(utterances, probe.logits(pooled), strict=True):
        frames = torch.stack([x.double() for x in layers], dim=1)  # [T, L, C]
        if layer_norm:
            frames = (frames - frames.mean(-1, keepdim=True)) / (
                frames.var(-1, correction=0, keepdim=True) + 1e-5
            ).sqrt()
        torch.testing.assert_close(probe.logits(frames).mean(0), expected, rtol=1e-9, atol=1e-9)


def test_pooling_by_hand() -> None:
    layers = [torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])]
    assert pool(layers).tolist() == [[2, 2], [1, 1]]
    assert pool(layers, pooling="mean_std").tolist() == [[2, 2, 1, 2], [1, 1, 0, 0]]
    normed = pool(layers, layer_norm=True)  # (1, 0) and (3, 4) become (1, -1) and (-1, 1) but for the 1e-5
    torch.testing.assert_close(normed, torch.zeros(2, 2, dtype=torch.float64), rtol=0, atol=1e-3)
    for wrong in ([torch.zeros(0, 2)], [torch.zeros(2, 2), torch.zeros(2, 3)], []):
        with pytest.raises(DataError, match="same frames"):
            pool(wrong)
    with pytest.raises(DataError, match="unknown pooling"):
        pool(layers, pooling="max")


@pytest.mark.parametrize("weights", [None, [1.0], [0.2, 0.5, 0.3], [0.0, 2.0, 6.0]])
def test_with_fixed_layers_it_is_the_logistic_regression_of_scikit_learn(weights: list[float] | None) -> None:
    pooled, labels = clouds(layers=len(weights or [1]))
    fixed = None if weights is None else torch.tensor(weights)
    ours = fit_utterance_probe(pooled, labels, l2=1e-3, layer_weights=fixed, tolerance=1e-8)
    share = np.array(weights or [1.0]) / sum(weights or [1.0])
    layers = [StandardScaler().fit(pooled[:, i].double()) for i in range(pooled.shape[1])]
    summed = sum(w * s.transform(pooled[:, i].double()) for i, (w, s) in enumerate(zip(share, layers, strict=True)))
    scaled = StandardScaler().fit(summed)
    theirs = LogisticRegression(C=1 / (1e-3 * len(labels)), tol=1e-10, max_iter=2000).fit(
        scaled.transform(summed), labels
    )
    expected = theirs.decision_function(scaled.transform(summed))
    logits = ours.logits(pooled).numpy()
    np.testing.assert_allclose(
        logits - logits.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), atol=1e-4
    )
    assert (ours.predict(pooled).numpy() == theirs.predict(scaled.transform(summed))).all()
    assert ours.gradient < 1e-6


def slow_loss(pooled: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray, scores: np.ndarray,
              l2: float) -> float:  # fmt: skip
    """The loss in its plain form: standardise, add up layers, standardise the sum, softmax, cross entropy, penalty."""
    shares = np.exp(scores) / np.exp(scores).sum()
    summed = np.zeros((len(pooled), pooled.shape[2]))
    for layer, share in enumerate(shares):
        x = pooled[:, layer]
        deviation = x.std(0)
        summed += share * np.where(deviation > 1e-8, (x - x.mean(0)) / np.maximum(deviation, 1e-8), 0)
    deviation = summed.std(0)
    logits = np.where(deviation > 1e-5, summed / np.maximum(deviation, 1e-5), 0) @ weight.T + bias
    logits -= logits.max(1, keepdims=True)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    return float(losses.mean() + l2 / 2 * (weight**2).sum())


def parts(probe: UtteranceProbe, pooled: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight (of the standardised sum), bias, and scores whose softmax are the layer weights."""
    standard = (pooled.double() - probe.mean) * probe.scale
    spread = torch.einsum("l,nlc->nc", probe.layer_weights, standard).std(0, correction=0)
    return (probe.weight * spread).numpy(), probe.bias.numpy(), probe.layer_weights.clamp_min(1e-30).log().numpy()


def test_its_optimum_is_one_of_the_slow_loss() -> None:
    """The same loss, a vanishing gradient by differences in every direction, and lower values nowhere near."""
    pooled, labels = clouds(layers=3)
    probe = fit_utterance_probe(pooled, labels, l2=0.01, tolerance=1e-8)
    x, y, own = pooled.double().numpy(), labels.numpy(), parts(probe, pooled)
    lowest = slow_loss(x, y, *own, l2=0.01)
    assert lowest == pytest.approx(probe.loss, abs=1e-9) and probe.gradient < 1e-7
    random = np.random.default_rng(0)
    for _ in range(30):
        direction = [random.normal(size=p.shape) for p in own]
        up, down = (slow_loss(x, y, *[p + step * d for p, d in zip(own, direction, strict=True)], l2=0.01)
                    for step in (1e-4, -1e-4))  # fmt: skip
        assert abs(up - down) / 2e-4 < 1e-5 and up > lowest and down > lowest
    assert probe.layer_weights.argmax() == 1 and float(probe.layer_weights.sum()) == pytest.approx(1)


def test_it_tells_new_utterances_apart_by_the_layer_that_can() -> None:
    probe = fit_utterance_probe(*clouds())
    tested, labels = clouds(2000, seed=1)
    assert float((probe.predict(tested) == labels).double().mean()) > 0.7
    uniform = fit_utterance_probe(*clouds(), layer_weights=torch.ones(3))
    assert probe.loss < uniform.loss
    again = fit_utterance_probe(*clouds())
    assert torch.equal(again.weight, probe.weight) and torch.equal(again.layer_weights, probe.layer_weights)


def test_scales_and_offsets_of_layers_play_no_part() -> None:
    pooled, labels = clouds()
    moved = pooled.double() * torch.tensor([3.0, 0.5, 100.0])[:, None] - 5
    one, other = fit_utterance_probe(pooled, labels), fit_utterance_probe(moved, labels)
    torch.testing.assert_close(one.layer_weights, other.layer_weights, atol=1e-3, rtol=0)
    torch.testing.assert_close(one.logits(pooled), other.logits(moved), atol=1e-2, rtol=0)


def test_nothing_is_found_in_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    noise, tested = (torch.randn(n, 2, 5, generator=generator) for n in (400, 4000))
    probe = fit_utterance_probe(noise, torch.arange(400) % 4)
    assert float((probe.predict(tested) == torch.arange(4000) % 4).double().mean()) == pytest.approx(0.25, abs=0.04)


def test_a_label_without_an_utterance_is_never_said_and_constant_layers_do_no_harm() -> None:
    pooled, labels = clouds()
    pooled[:, 2] = 4.0
    probe = fit_utterance_probe(pooled, labels, num_labels=5)
    assert int(probe.predict(pooled).max()) <= 2 and bool(torch.isfinite(probe.weight).all())
    nothing = fit_utterance_probe(torch.zeros(9, 2, 3), torch.tensor([0, 1, 1] * 3))
    assert nothing.predict(torch.randn(5, 2, 3)).tolist() == [1] * 5  # all it can say is what is most frequent


@pytest.mark.parametrize(
    ("pooled", "labels"),
    [(torch.zeros(0, 1, 2), torch.zeros(0, dtype=torch.long)), (torch.zeros(3, 1, 2), torch.zeros(3, dtype=torch.long)),
     (torch.zeros(3, 1, 2), torch.tensor([0, 1])), (torch.zeros(2, 1, 2), torch.tensor([-1, 1])),
     (torch.zeros(2, 2), torch.tensor([0, 1]))],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(pooled: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(DataError):
        fit_utterance_probe(pooled, labels)
    with pytest.raises(DataError, match="layer weights must be 1 numbers"):
        fit_utterance_probe(torch.zeros(2, 1, 2), torch.tensor([0, 1]), layer_weights=torch.ones(2))


def test_a_fifth_of_every_label_or_whole_groups_are_set_aside() -> None:
    labels = [0] * 10 + [1] * 5 + [2]
    aside = validation_part(labels, None, seed=0)
    assert [int(aside[:10].sum()), int(aside[10:15].sum()), bool(aside[15])] == [2, 1, False]
    assert torch.equal(aside, validation_part(labels, None, seed=0))
    assert len({tuple(validation_part(labels, None, seed=seed).tolist()) for seed in range(8)}) > 1
    groups = [f"s{i % 5}" for i in range(16)]
    aside = validation_part(labels, groups, seed=1)
    assert len({g for g, a in zip(groups, aside, strict=True) if a}) == 1
    assert not {g for g, a in zip(groups, aside, strict=True) if a} & {
        g for g, a in zip(groups, aside, strict=True) if not a
    }
    for few, own in (([0, 1], None), ([0, 1], ["a", "a"]), ([], None)):
        with pytest.raises(DataError, match="cannot be divided"):
            validation_part(few, own, seed=0)


def test_the_penalty_that_is_right_most_often_aside_is_taken_and_the_strongest_of_equals() -> None:
    pooled, labels = clouds(60)
    aside = validation_part(labels.tolist(), None, seed=0)
    best, found = choose_l2(pooled, labels, aside, num_labels=3, grid=(1e3, 1.0, 0.1), tolerance=1e-5)
    direct = [
        float((fit_utterance_probe(pooled[~aside], labels[~aside], l2=l2).predict(pooled[aside]) == labels[aside])
              .double().mean())
        for l2 in (1e3, 1.0, 0.1)
    ]  # fmt: skip
    assert found == direct and best == (1e3, 1.0, 0.1)[direct.index(max(direct))]
    easy = torch.eye(3)[labels][:, None]
    assert choose_l2(easy, labels, aside, num_labels=3)[0] == 0.1

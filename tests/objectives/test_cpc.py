"""CPC's loss against loops in float64 and by hand; the Lipschitz penalty; where distractors come from."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl import encoders, objectives
from speechssl.data.batch import Batch
from speechssl.encoders import cpc
from speechssl.errors import ConfigError, DataError
from speechssl.nn.critic import between, gradient_penalty
from speechssl.nn.negatives import all_future_scores, draw_negatives, future_scores
from speechssl.objectives.cpc import TransformerPredictor, bilinear, info_nce, without
from tests.encoders.tiny import TINY


def build(settings: dict[str, object], dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(0)
    return objectives.build(
        "cpc", cpc.Model(cpc.Config(conv_layers=TINY["cpc"][0]["conv_layers"], dim=12)), settings
    ).to(dtype)


def batch(lengths: tuple[int, ...] = (4000, 3000, 3500), groups: tuple[int, ...] = (0, 1, 0)) -> Batch:
    wav = torch.randn(len(lengths), max(lengths), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seeds = torch.arange(len(lengths)) + 5
    return Batch(wav, torch.tensor(lengths), seeds, tuple("abc"), None, torch.tensor(groups))


def slow_loss(objective: torch.nn.Module, data: Batch) -> tuple[Tensor, int]:
    """Eq. (4) over eq. (3), one frame, step and distractor at a time, each utterance encoded alone."""
    config = objective.config
    frames, contexts = [], []
    for row, length in enumerate(data.lengths.tolist()):
        layers, _ = objective.encoder.layers(data.wav[row : row + 1, :length])
        frames.append(layers[0][0])
        contexts.append(layers[1][0])
    total, count = torch.zeros((), dtype=torch.float64), 0
    width = frames[0].shape[1]
    for row in range(len(frames)):
        match config.negatives_from:
            case "utterance":
                members = [row]
            case "batch":
                members = list(range(len(frames)))
            case _:
                members = [i for i in range(len(frames)) if data.groups[i] == data.groups[row]]
        pool = [frame for member in members for frame in frames[member]]
        before = sum(len(frames[member]) for member in members if member < row)
        drawn = np.random.default_rng(int(data.seeds[row]) ^ 1).integers(
            0, len(pool) - 1, (len(frames[row]), config.negatives)
        )
        for k in range(1, config.steps + 1):
            matrix = objective.predictor.linear.weight[(k - 1) * width : k * width]
            for t in range(len(frames[row]) - k):
                own = before + t + k
                others = [i + (i >= own) for i in drawn[t + k]] if config.negatives else set(range(len(pool))) - {own}
                guess = matrix @ contexts[row][t] / (width if config.divide_scores else 1)
                top = (guess @ pool[own]).exp()
                total = total - (top / (top + sum((guess @ pool[i]).exp() for i in others))).log()
                count += 1
    return total, count


@pytest.mark.parametrize("source", ["utterance", "speaker", "batch"])
@pytest.mark.parametrize("negatives", [4, 0])
def test_loss_and_gradients_are_the_papers_formula(source: str, negatives: int) -> None:
    objective = build({"steps": 2, "negatives": negatives, "negatives_from": source})
    data = batch()
    found = objective(data)
    expected, count = slow_loss(objective, data)
    assert found.count == count and float(found.loss) == pytest.approx(float(expected), rel=1e-5)
    found.loss.backward()
    ours = {name: p.grad.clone() for name, p in objective.named_parameters()}
    objective.zero_grad()
    expected.backward()
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_divided_scores_are_means_over_channels() -> None:
    objective, data = build({"steps": 2, "negatives": 4, "divide_scores": True}), batch()
    expected, _ = slow_loss(objective, data)
    found = objective(data)
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(found.loss) != pytest.approx(float(build({"steps": 2, "negatives": 4})(data).loss), rel=1e-4)


def test_by_hand() -> None:
    """Scores 1 against 0 and 2."""
    loss = info_nce(torch.tensor([1.0]), torch.tensor([[0.0, 2.0]]))
    assert float(loss) == pytest.approx(-math.log(math.e / (math.e + 1 + math.e**2)))
    true, others = future_scores(torch.eye(3), torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]),
                                 torch.tensor([[1], [2], [0]]), step=1)  # fmt: skip
    assert true.tolist() == [4, 8] and others.tolist() == [[7], [2]]
    scores = torch.arange(8.0).view(2, 4)
    assert without(scores, 1).tolist() == [[0, 2, 3], [4, 5, 7]]


def test_all_steps_at_once_are_the_steps_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, pool = (torch.randn(*shape, generator=generator).double() for shape in ((6, 4, 3), (11, 3)))
    negatives = draw_negatives(6, 5, 1, pool=11, start=2)
    parts = [future_scores(predicted[:, i], pool, negatives, step=3 + i, start=2) for i in range(4)]
    true, others = all_future_scores(predicted, pool, negatives, first=3, start=2)
    assert len(true) == 3 + 2 + 1  # the fourth step has no future left
    torch.testing.assert_close(true, torch.cat([t for t, _ in parts]))
    torch.testing.assert_close(others, torch.cat([o for _, o in parts]))


def test_negatives_of_a_pool_are_all_but_the_frame_itself() -> None:
    drawn = draw_negatives(2, 5000, 3, pool=5, start=2)
    assert [set(row) for row in drawn.tolist()] == [{0, 1, 3, 4}, {0, 1, 2, 4}]
    with pytest.raises(ValueError, match="1 frame"):
        draw_negatives(1, 3, 0)


def test_the_transformer_sees_no_future_context() -> None:
    config = objectives.config_class("cpc")(steps=2, predictor="transformer", heads=2, ffn_dim=8)
    torch.manual_seed(0)
    predictor = TransformerPredictor(8, config).double()
    c = torch.randn(1, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(predictor(c)[:, :, :4], predictor(c[:, :4]))
    assert predictor(c).shape == (1, 2, 6, 8)


def test_slope_penalty_of_a_linear_critic_by_hand() -> None:
    """f(z, c) = a.z + b.c has the gradient (a, b) everywhere: |(3, 0, 4)| = 5, so (5 - 1)^2 for each of two pairs."""
    a = torch.tensor([3.0, 0.0], requires_grad=True)
    b = torch.tensor([4.0], requires_grad=True)
    z, c = torch.randn(2, 2), torch.randn(2, 1)
    penalty = gradient_penalty(lambda z, c: z @ a + c @ b, z, c)
    assert float(penalty) == pytest.approx(32)
    penalty.backward()  # 2 pairs x 2 x (5 - 1) x a / 5
    torch.testing.assert_close(a.grad, torch.tensor([16 * 3 / 5, 0.0]))
    torch.testing.assert_close(b.grad, torch.tensor([16 * 4 / 5]))
    with torch.no_grad():
        assert float(gradient_penalty(lambda z, c: z @ a + c @ b, z, c)) == pytest.approx(32)
        assert float(gradient_penalty(lambda z, c: z @ a + c @ b, z, c, slope=4)) == pytest.approx(2 * (5 / 4 - 1) ** 2)


def test_slope_penalty_of_the_bilinear_critic_and_its_gradients() -> None:
    """The gradient of z'Wc is (Wc, W'z)."""
    generator = torch.Generator().manual_seed(0)
    z, c, w = (torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
               for shape in ((3, 4), (3, 2), (4, 2)))  # fmt: skip

    def penalty(z: Tensor, c: Tensor, w: Tensor) -> Tensor:
        return gradient_penalty(lambda a, b: bilinear(w, a, b), z, c)

    slopes = torch.cat([c @ w.T, z @ w], 1).norm(dim=1)
    assert float(penalty(z, c, w)) == pytest.approx(float((slopes - 1).square().sum()), rel=1e-5)
    penalty(z, c, w).backward()
    ours = [x.grad.clone() for x in (z, c, w)]
    for x in (z, c, w):
        x.grad = None
    (torch.cat([c @ w.T, z @ w], 1).norm(dim=1) - 1).square().sum().backward()
    for mine, x in zip(ours, (z, c, w), strict=True):
        torch.testing.assert_close(mine, x.grad, rtol=1e-4, atol=1e-5)


def test_points_between_lie_on_the_line() -> None:
    points = between(torch.zeros(50, 2), torch.tensor([1.0, 2.0]).expand(50, 2), torch.Generator().manual_seed(0))
    assert torch.equal(points[:, 1], 2 * points[:, 0]) and points.min() >= 0 and 0.2 < points[:, 0].std() < 0.4


def test_the_penalty_is_added_and_works_in_validation() -> None:
    plain, critic = build({"steps": 2, "negatives": 4}), build({"steps": 2, "negatives": 4, "lipschitz": 10.0})
    data = batch()
    with torch.no_grad():
        one, other = plain(data), critic(data)
    slope = float(other.scalars["slope_penalty"]) * other.count
    assert slope > 0 and float(other.loss) == pytest.approx(float(one.loss) + 10 * slope, rel=1e-5)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="lipschitz"):
        build({"predictor": "transformer", "lipschitz": 1.0})
    with pytest.raises(ConfigError, match="slope"):
        build({"slope": 2.0})
    with pytest.raises(ConfigError, match="equal width"):
        build({"predictor": "transformer"})
    data = batch()
    with pytest.raises(DataError, match="group_by"):
        build({"negatives_from": "speaker"})(Batch(data.wav, data.lengths, data.seeds, data.ids))


def test_presets_have_the_papers_sizes() -> None:
    original = encoders.preset("cpc", "original")
    assert [layer[0] for layer in original["conv_layers"]] == [512] * 5 and original["dim"] == 256
    assert cpc.Model(cpc.PRESETS["modified"]).layer_dims == (256, 256)

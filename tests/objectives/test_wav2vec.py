"""wav2vec's loss, alone and with quantized frames, against loops in float64 and by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl import encoders, objectives
from speechssl.data.batch import Batch
from speechssl.errors import ConfigError
from speechssl.objectives.wav2vec import step_loss
from tests.encoders.parity import randomize
from tests.encoders.tiny import BASE, TINY


def build(name: str, case: int, settings: dict[str, object]) -> torch.nn.Module:
    torch.manual_seed(0)
    encoder = encoders.build(name, TINY[name][case])
    randomize(encoder)
    return objectives.build(name, encoder, settings).double().eval()


def batch(lengths: tuple[int, ...] = (4000, 3000)) -> Batch:
    wav = torch.randn(len(lengths), max(lengths), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(wav, torch.tensor(lengths), torch.arange(len(lengths)) + 5, tuple("ab"))


def slow_loss(linear: torch.nn.Linear, z: Tensor, c: Tensor, seed: int, contrast: object) -> tuple[Tensor, int]:
    """Eq. (1) summed over steps, one frame, step and distractor at a time. z, c [T, C] of one utterance."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    drawn = np.random.default_rng(seed ^ 1).integers(0, len(z) - 1, (len(z), contrast.negatives))
    for i, k in enumerate(range(contrast.offset, contrast.offset + contrast.steps)):
        weight = linear.weight[i * z.shape[1] : (i + 1) * z.shape[1]]
        bias = linear.bias[i * z.shape[1] : (i + 1) * z.shape[1]]
        for t in range(len(z) - k):
            h = weight @ c[t] + bias
            others = [j + (j >= t + k) for j in drawn[t + k]]
            mean = sum((1 - (z[j] @ h).sigmoid()).log() for j in others) / len(others)
            total = total - (z[t + k] @ h).sigmoid().log() - contrast.weight * mean
            count += 1
    return total, count


@pytest.mark.parametrize(("case", "offset", "weight"), [(0, 1, 10.0), (1, 3, 2.0)])
def test_loss_and_gradients_are_the_papers_formula(case: int, offset: int, weight: float) -> None:
    objective = build("wav2vec", case, {"steps": 2, "offset": offset, "weight": weight, "negatives": 4})
    data = batch()
    found = objective(data)
    parts = []
    for row, length in enumerate(data.lengths.tolist()):
        layers, _ = objective.encoder.layers(data.wav[row : row + 1, :length])
        seed = int(data.seeds[row])
        parts.append(slow_loss(objective.predictions.linear, layers[0][0], layers[1][0], seed, objective.config))
    expected = sum(part for part, _ in parts)
    assert found.count == sum(count for _, count in parts)
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-5)
    compare_gradients(objective, found.loss, expected)


def compare_gradients(objective: torch.nn.Module, loss: Tensor, expected: Tensor) -> None:
    loss.backward()
    ours = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
    objective.zero_grad()
    expected.backward()
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("case", [0, 1], ids=["gumbel", "kmeans"])
def test_quantized_loss_and_gradients_are_the_papers_formula(case: int) -> None:
    """The quantizer as itself is tested elsewhere: here the task on what it gives, and eq. (3) for k-means."""
    objective = build("vq_wav2vec", case, {"contrast": {"steps": 2, "negatives": 4}})
    data = batch()
    found = objective(data)
    expected = torch.zeros((), dtype=torch.float64)
    encoder = objective.encoder
    for row, length in enumerate(data.lengths.tolist()):
        x, counts = encoder.frontend(data.wav[row : row + 1, :length])
        latent = encoder.quantize(x, counts)
        c = encoder.context(latent.z, counts)
        linear, seed = objective.predictions.linear, int(data.seeds[row])
        expected = expected + slow_loss(linear, latent.z[0], c[0], seed, objective.config.contrast)[0]
        if case == 1:
            for frame, codes in zip(latent.inputs, latent.quantized.codes.tolist(), strict=True):
                entry = torch.cat([encoder.quantizer.codebook[group, code] for group, code in enumerate(codes)])
                pull, stay = frame.detach() - entry, frame - entry.detach()
                expected = expected + 2 * (pull @ pull + 0.25 * (stay @ stay)) / len(frame)  # 2 steps
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-5)
    compare_gradients(objective, found.loss, expected)


def test_by_hand() -> None:
    """Scores 0 and, for two distractors, 0 and ln 3: -log 1/2 and twice the mean of -log 1/2 and -log 1/4."""
    loss = step_loss(torch.tensor([0.0]), torch.tensor([[0.0, math.log(3)]]), weight=2)
    assert float(loss) == pytest.approx(math.log(2) + math.log(2) + math.log(4))


def test_the_temperature_falls_in_a_straight_line_and_is_kept() -> None:
    objective = build("vq_wav2vec", 0, {"gumbel_updates": 10})
    found = []
    for step in (0, 4, 10, 20):
        objective.after_step(step)
        found.append(objective.encoder.quantizer.temperature)
    assert found == pytest.approx([2, 1.4, 0.5, 0.5])
    objective.after_step(4)
    other = build("vq_wav2vec", 0, {"gumbel_updates": 10})
    other.load_state_dict(objective.state_dict())
    assert other.encoder.quantizer.temperature == pytest.approx(1.4)


def test_diversity_adds_the_unused_share_of_the_codebooks() -> None:
    plain, other = (build("vq_wav2vec", 0, {"contrast": {"steps": 2}, "diversity": weight}) for weight in (0.0, 0.5))
    other.load_state_dict(plain.state_dict())
    found, more = plain(batch()), other(batch())
    config = plain.encoder.config
    size = config.groups * config.entries
    expected = 0.5 * (size - float(found.scalars["perplexity"])) / size * found.count
    assert float(more.loss.detach() - found.loss.detach()) == pytest.approx(expected, rel=1e-3)


def test_noise_is_an_utterances_own() -> None:
    objective = build("vq_wav2vec", 0, {"contrast": {"steps": 2}}).train()
    data = batch()
    alone = Batch(data.wav[1:, :3000], data.lengths[1:], data.seeds[1:], ("b",))
    codes = objective(data).codes
    assert torch.equal(codes[-len(objective(alone).codes) :], objective(alone).codes)
    assert not torch.equal(codes, objective.eval()(data).codes)


def test_an_encoder_without_quantizer_is_refused() -> None:
    with pytest.raises(ConfigError, match="quantizer"):
        objectives.build("vq_wav2vec", encoders.build("wav2vec2", BASE), {})


@pytest.mark.parametrize(("case", "settings"), [(0, {"restart_after": 3}), (1, {"diversity": 0.1})])
def test_settings_of_the_other_quantizer_are_refused(case: int, settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="no effect"):
        build("vq_wav2vec", case, settings)

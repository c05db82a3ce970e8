"""Discriminators: what they see, against reshapes and transforms by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechssl.errors import ConfigError
from speechssl.vocoders.discriminators import (
    Config,
    Discriminators,
    PeriodDiscriminator,
    ScaleDiscriminator,
    SpectrumDiscriminator,
    fold,
)

SMALL = Config(periods=(2, 3), num_scales=2, fft_sizes=(128, 64), width=1 / 16)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_folding_seven_samples_by_three_by_hand() -> None:
    wav = torch.arange(1.0, 8.0).unsqueeze(0)
    assert fold(wav, 3).tolist() == [[[1, 2, 3], [4, 5, 6], [7, 6, 5]]]  # the end is mirrored about 7
    assert fold(wav[:, :6], 3).tolist() == [[[1, 2, 3], [4, 5, 6]]]


@given(period=st.sampled_from([2, 3, 5, 7, 11]), samples=st.integers(12, 80))
@settings(max_examples=40, deadline=None)
def test_folding_puts_sample_by_sample_where_the_loop_does(period: int, samples: int) -> None:
    wav = noise(1, samples)
    folded = fold(wav, period)[0]
    assert folded.shape == (-(-samples // period), period)
    for place in range(folded.numel()):
        source = place if place < samples else 2 * (samples - 1) - place
        assert folded[place // period, place % period] == wav[0, source]


def test_the_period_discriminator_sees_each_column_alone() -> None:
    """A change of sample n moves only scores of column n mod P."""
    torch.manual_seed(0)
    judge = PeriodDiscriminator(5, width=1 / 16)
    wav = noise(1, 400)
    changed = wav.clone()
    changed[0, 203] += 1
    with torch.no_grad():
        moved = (judge(wav).scores - judge(changed).scores).abs().sum((0, 1, 2))
    assert moved[3] > 0 and moved[[0, 1, 2, 4]].tolist() == [0, 0, 0, 0]


def test_the_spectrum_discriminator_sees_the_dft_of_windowed_frames() -> None:
    torch.manual_seed(0)
    judge = SpectrumDiscriminator(32, width=0.25)
    seen: list[Tensor] = []
    judge.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    wav = noise(1, 100)
    judge(wav)
    n = torch.arange(32)
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * n / 32)
    for frame in range((100 - 32) // 8 + 1):
        piece = wav[0, 8 * frame : 8 * frame + 32] * hann / hann.square().sum().sqrt()
        for k in (0, 3, 16):
            angle = 2 * math.pi * k * n / 32
            expected = torch.stack([(piece * angle.cos()).sum(), -(piece * angle.sin()).sum()])
            torch.testing.assert_close(seen[0][0, :, frame, k], expected, atol=1e-4, rtol=1e-4)


def test_full_size_channels_are_the_papers() -> None:
    period, scale = PeriodDiscriminator(2), ScaleDiscriminator()
    counts = [sum(p.numel() for p in judge.parameters()) for judge in (period, scale)]
    assert [layer.weight.shape[0] for layer in period.layers] == [32, 128, 512, 1024, 1024]
    assert [layer.weight.shape[0] for layer in scale.layers] == [128, 128, 256, 512, 1024, 1024, 1024]
    assert 5 * counts[0] == pytest.approx(41.1e6, rel=1e-3) and 3 * counts[1] == pytest.approx(29.6e6, rel=1e-2)


def test_each_gives_scores_and_features_and_every_parameter_a_gradient() -> None:
    torch.manual_seed(0)
    judges = Discriminators(SMALL)
    judgements = judges(noise(2, 700))
    assert len(judgements) == 6
    for judgement in judgements:
        assert judgement.scores.shape[0] == 2 and judgement.features[-1] is judgement.scores
    sum(j.scores.square().mean() for j in judgements).backward()
    for name, parameter in judges.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_utterances_are_judged_one_by_one() -> None:
    torch.manual_seed(0)
    judges = Discriminators(SMALL)
    wav = noise(2, 700)
    for both, alone in zip(judges(wav), judges(wav[:1]), strict=True):
        torch.testing.assert_close(both.scores[:1], alone.scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"periods": (), "fft_sizes": ()},
        {"periods": (1,)},
        {"fft_sizes": (8,)},
        {"num_scales": -1},
        {"width": 0.0},
    ],
)
def test_what_cannot_be_built_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Config(**wrong)


def test_crops_that_are_too_short_are_refused_with_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"crop_s"):
        Discriminators(SMALL)(noise(1, 100))

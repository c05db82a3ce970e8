"""The common architecture: what its config refuses, and its parts put together from outside."""

import dataclasses
from typing import Any

import pytest
import torch

from speechssl.errors import ConfigError
from speechssl.nn.conv import Moments
from speechssl.nn.speech_encoder import Architecture, SpeechEncoder

SMALL = Architecture(
    conv_layers=((8, 10, 5), (8, 3, 2), (12, 2, 2)), dim=16, ffn_dim=24, num_layers=2, num_heads=2, pos_conv_kernel=6,
    pos_conv_groups=2,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"conv_layers": ()}, "conv_layers"),
        ({"conv_layers": ((8, 10, 0),)}, "conv_layers"),
        ({"dim": 15}, "dim=15"),
        ({"num_heads": 3}, "num_heads=3"),
        ({"pos_conv_groups": 5}, "pos_conv_groups=5"),
        ({"num_layers": -1}, "num_layers=-1"),
        ({"pos_conv_kernel": 0}, "pos_conv_kernel"),
        ({"projection": False}, "projection=false"),
        ({"pos_conv_depth": 2, "pos_conv_norm": "batch"}, "pos_conv_norm"),
    ],
)
def test_configs_without_meaning_are_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        dataclasses.replace(SMALL, **changes)


def test_frontend_and_context_make_up_layers() -> None:
    model = SpeechEncoder(SMALL).eval()
    wav, lengths = torch.randn(2, 900), torch.tensor([900, 500])
    x, frames = model.frontend(wav, lengths)
    for ours, expected in zip(model.context(x, frames), model.layers(wav, lengths)[0], strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("norm_first", [False, True])
def test_forward_is_the_last_layer_normalised_once_more_in_pre_norm_models(norm_first: bool) -> None:
    model = SpeechEncoder(dataclasses.replace(SMALL, norm_first=norm_first)).eval()
    model.transformer.norm.bias.data.fill_(0.5)
    wav = torch.randn(1, 900)
    last, final = model.layers(wav)[0][-1], model(wav)[0]
    assert torch.equal(final, model.transformer.norm(last) if norm_first else last)


def test_pieces_of_a_recording_with_its_moments_give_its_frames() -> None:
    model = SpeechEncoder(SMALL).double().eval()
    wav = torch.randn(1, 3000, dtype=torch.float64)
    first = model.conv.layers[0].conv(wav.unsqueeze(1))
    moments = Moments(first.mean(-1), first.var(-1, unbiased=False))
    whole, _ = model.frontend(wav)
    start = 7 * model.hop
    piece, _ = model.frontend(wav[:, start : start + 1000], moments=moments)
    torch.testing.assert_close(piece[0], whole[0, 7 : 7 + piece.shape[1]], rtol=1e-10, atol=1e-10)


def test_a_waveform_without_batch_axis_is_refused_with_its_shape() -> None:
    with pytest.raises(ValueError, match=r"\(500,\)"):
        SpeechEncoder(SMALL)(torch.zeros(500))

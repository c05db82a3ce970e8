"""Dilated convolutions over log-mel frames, against a loop over frames."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl import objectives
from speechssl.encoders.tdnn import Config, Model
from speechssl.errors import ConfigError
from speechssl.nn import fast
from speechssl.nn.dilated import DilatedBlocks, DilatedConv
from speechssl.nn.initialize import initialize
from tests.encoders.parity import randomize

SMALL = Config(num_mels=20, dim=32, ffn_dim=48, kernel=3, dilations=(1, 2, 3))


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def make(config: Config = SMALL) -> Model:
    model = Model(config)
    randomize(model)
    return model.double().eval()


def slow_conv(conv: DilatedConv, x: Tensor) -> Tensor:
    """x [T, C]: frame by frame, tap by tap."""
    weight, bias = conv.conv.weight, conv.conv.bias
    taps, step = weight.shape[2], conv.conv.dilation[0]
    rows = []
    for t in range(len(x)):
        total = bias
        for tap in range(taps):
            place = t + step * (tap - taps // 2)
            if 0 <= place < len(x):
                total = total + weight[:, :, tap] @ x[place]
        rows.append(F.gelu(total))
    return torch.stack(rows)


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_blocks_equal_a_loop_over_frames(norm_first: bool) -> None:
    blocks = DilatedBlocks(dim=6, ffn_dim=8, kernel=5, dilations=(1, 3), norm_first=norm_first, eps=1e-5)
    randomize(blocks)
    blocks = blocks.double().eval()
    x = noise(2, 11, 6)
    valid = torch.ones(2, 11, dtype=torch.bool)
    valid[1, 7:] = False
    found = blocks(x, valid)
    for row, length in ((0, 11), (1, 7)):
        state = x[row, :length]
        state = state if norm_first else blocks.norm(state)
        for block in blocks.layers:
            if norm_first:
                state = state + slow_conv(block.attention, block.attention_norm(state))
                state = state + block.ffn(block.ffn_norm(state))
            else:
                state = block.attention_norm(state + slow_conv(block.attention, state))
                state = block.ffn_norm(state + block.ffn(state))
        state = blocks.norm(state) if norm_first else state
        torch.testing.assert_close(found[row, :length], state, atol=1e-12, rtol=1e-12)


def test_a_frame_sees_as_far_as_the_blocks_reach_and_no_further() -> None:
    blocks = make().transformer
    assert isinstance(blocks, DilatedBlocks) and blocks.reach == 6
    x = noise(1, 31, 32).requires_grad_()
    blocks(x)[0, 15].square().sum().backward()
    seen = x.grad[0].abs().sum(1).nonzero().flatten().tolist()
    assert seen == list(range(9, 22))


def test_a_long_recording_in_windows_equals_the_whole() -> None:
    """Not only up to attention, as for transformers: frames see nothing beyond the overlap."""
    from speechssl.encoders.pretrained import EncoderCard, Pretrained

    pretrained = Pretrained(make().float(), EncoderCard("tdnn", {}))
    wav = 0.1 * noise(16_000 * 9).float()
    for layer in (0, 2, 3):
        whole = pretrained.features(wav, layer)
        windows = pretrained.features_long(wav, layer, window_s=2.0, overlap_s=0.5)
        torch.testing.assert_close(windows, whole, atol=1e-4, rtol=1e-4)


def test_fresh_weights_come_from_the_generator_and_keep_the_variance() -> None:
    one, two = (Model(Config(num_mels=20)) for _ in range(2))
    for model in (one, two):
        initialize(model, torch.Generator().manual_seed(3))
    for (name, mine), theirs in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    conv = one.transformer.layers[0].attention
    assert float(conv.conv(noise(1, 256, 400).float()).detach().var()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("wrong", [{"kernel": 4}, {"dilations": (1, 0)}, {"num_mels": 0}, {"projection": False}])
def test_what_cannot_be_built_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Config(**wrong)


@pytest.mark.parametrize("name", ["data2vec2", "mp3"])
def test_objectives_that_need_attention_refuse_it(name: str) -> None:
    with pytest.raises(ConfigError, match=r"attention|frames out"):
        objectives.build(name, Model(SMALL), {"top_layers": 1} if name == "data2vec2" else {})


def test_there_is_no_fast_form() -> None:
    assert not fast.supports(make().float())

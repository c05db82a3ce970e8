"""Windows over a stream of blocks: the frames of the whole, once each, in order; statistics in one pass."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechssl.errors import ConfigError
from speechssl.nn.windows import Grid, conv_moments, wave_moments


def blocks_of(wav: Tensor, sizes: list[int]) -> Iterator[Tensor]:
    """The waveform in blocks of these sizes, again and again."""
    start = i = 0
    while start < len(wav):
        yield wav[start : start + sizes[i % len(sizes)]]
        start, i = start + sizes[i % len(sizes)], i + 1


@settings(max_examples=300, deadline=None)
@given(
    samples=st.integers(0, 700),
    receptive_field=st.integers(1, 9),
    hop=st.integers(1, 5),
    overlap=st.integers(0, 6),
    keep=st.integers(1, 9),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4),
)
def test_kept_frames_are_those_of_the_whole_recording_for_any_blocks_and_windows(
    samples: int, receptive_field: int, hop: int, overlap: int, keep: int, sizes: list[int]
) -> None:
    wav = torch.arange(samples).float()
    grid = Grid(receptive_field, hop, 2 * overlap + keep, overlap)
    windows = list(grid.windows(blocks_of(wav, sizes)))
    num_frames = max(0, (samples - receptive_field) // hop + 1)
    if num_frames <= grid.size:
        assert len(windows) == 1 and windows[0].whole and torch.equal(windows[0].samples, wav)
        return
    frames, contexts = [], []
    for window in windows:
        inside = window.samples.unfold(0, receptive_field, hop)
        kept = torch.arange(len(inside))[window.keep]
        assert len(kept) and not window.whole
        frames.append(inside[kept])
        contexts.append((int(kept[0]), len(inside) - 1 - int(kept[-1])))
        assert len(inside) == grid.size
    assert torch.equal(torch.cat(frames), wav.unfold(0, receptive_field, hop))
    assert all(before >= overlap for before, _ in contexts[1:]) and contexts[0][0] == 0
    assert all(behind >= overlap for _, behind in contexts[:-1]) and contexts[-1][1] == 0
    assert windows[-1].samples[-1] == samples - 1, "the last window holds all samples to the end"


def test_seconds_become_frames() -> None:
    grid = Grid.of_seconds(60, 1.28, sample_rate=16000, receptive_field=400, hop=320)
    assert (grid.size, grid.overlap) == ((960000 - 400) // 320 + 1, 64)
    assert Grid.of_seconds(60, 1.281, sample_rate=16000, receptive_field=400, hop=320).overlap == 65


@pytest.mark.parametrize(("window_s", "overlap_s"), [(10, 5), (10, -1), (0.01, 0)])
def test_windows_that_keep_nothing_are_refused(window_s: float, overlap_s: float) -> None:
    with pytest.raises(ConfigError, match="window"):
        Grid.of_seconds(window_s, overlap_s, sample_rate=16000, receptive_field=400, hop=320)


def test_a_block_that_is_no_waveform_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 100\)"):
        list(Grid(400, 320, 10, 1).windows([torch.zeros(1, 100)]))


@pytest.mark.parametrize("sizes", [[1000], [1, 7, 300], [3]])
def test_wave_moments_equal_those_of_the_whole_even_far_from_zero(sizes: list[int]) -> None:
    wav = 1000 + torch.randn(3001, dtype=torch.float64)
    mean, variance = wave_moments(blocks_of(wav, sizes))
    assert mean == pytest.approx(float(wav.mean()), rel=1e-14)
    assert variance == pytest.approx(float(wav.var(correction=0)), rel=1e-10)


@pytest.mark.parametrize(("kernel", "stride"), [(10, 5), (3, 3), (1, 1), (2, 7)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [[5000], [1, 7, 300], [3]])
def test_conv_moments_equal_those_of_the_convolved_waveform(
    kernel: int, stride: int, bias: bool, sizes: list[int]
) -> None:
    conv = torch.nn.Conv1d(1, 6, kernel, stride=stride, bias=bias).double()
    wav = 0.3 + torch.randn(4321, dtype=torch.float64).cumsum(0) / 30
    convolved = conv(wav[None, None])[0]
    moments = conv_moments(blocks_of(wav, sizes), conv)
    torch.testing.assert_close(moments.mean[0], convolved.mean(1), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(moments.var[0], convolved.var(1, correction=0), rtol=1e-10, atol=1e-12)

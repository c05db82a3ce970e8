"""Spans as the paper draws them."""

import numpy as np
import pytest
import torch

from speechssl.errors import ConfigError
from speechssl.nn.masking import BlockMask, SpanMask, block_mask, channel_mask, span_mask


def draw(settings: SpanMask, lengths: list[int], num_frames: int, seed: int = 0) -> torch.Tensor:
    return span_mask(settings, torch.tensor(lengths), num_frames, torch.arange(seed, seed + len(lengths)))


def test_the_masked_share_is_the_one_the_paper_states() -> None:
    """arXiv:2006.11477, section 3.1: p = 0.065 and M = 10 mask about 49 % of all frames."""
    settings = SpanMask(share=0.65, span=10)
    assert settings.expected == pytest.approx(0.49, abs=0.003)
    mask = draw(settings, [1500] * 200, 1500)
    assert float(mask.float().mean()) == pytest.approx(settings.expected, abs=0.005)


def test_it_agrees_with_an_independent_implementation() -> None:
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

    np.random.seed(0)  # noqa: NPY002 (it draws from there)
    theirs = _compute_mask_indices((400, 200), 0.65, 10, min_masks=2).mean()
    ours = draw(SpanMask(), [200] * 400, 200).float().mean()
    assert float(ours) == pytest.approx(theirs, abs=0.01)


def test_masked_frames_come_in_spans_of_at_least_the_length() -> None:
    for row in draw(SpanMask(share=0.3, span=7), [300] * 20, 300).tolist():
        runs = "".join("x" if masked else " " for masked in row).split()
        assert runs and min(map(len, runs)) >= 7


def test_an_utterance_has_its_mask_whatever_stands_beside_it() -> None:
    alone = draw(SpanMask(), [77], 77, seed=5)
    together = span_mask(SpanMask(), torch.tensor([300, 77, 12]), 300, torch.tensor([1, 5, 2]))
    assert torch.equal(together[1, :77], alone[0]) and not together[1, 77:].any()


@pytest.mark.parametrize("length", range(25))
def test_short_utterances_keep_a_frame_and_have_a_masked_one_where_they_can(length: int) -> None:
    for seed in range(50):
        row = draw(SpanMask(share=1.0), [length], 30, seed)[0]
        assert not row[length:].any()
        if length >= 2:
            assert 0 < int(row.sum()) < length


def test_channels_are_masked_the_same_way() -> None:
    mask = channel_mask(SpanMask(share=0.5, span=4), 64, torch.arange(300))
    assert mask.shape == (300, 64)
    assert float(mask.float().mean()) == pytest.approx(SpanMask(share=0.5, span=4).expected, abs=0.01)


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(ConfigError):
        SpanMask(share=1.5)


def draw_blocks(settings: BlockMask, lengths: list[int], num_frames: int, seed: int = 0) -> torch.Tensor:
    return block_mask(settings, torch.tensor(lengths), num_frames, torch.arange(seed, seed + len(lengths)))


def test_inverse_blocks_mask_exactly_their_share_and_keep_blocks() -> None:
    """arXiv:2212.07525, section 3: frames stay in blocks; their number is the same for all of one length."""
    for share in (0.5, 0.6, 0.8):
        mask = draw_blocks(BlockMask(share=share), [200] * 50, 200)
        assert mask.sum(1).tolist() == [round(200 * share)] * 50
    kept = ["".join("x" if stays else " " for stays in row).split() for row in (~mask).tolist()]
    runs = [len(run) for row in kept for run in row]
    assert 3.5 < sum(runs) / len(runs) < 10  # single frames would give 1.25 in the mean


@pytest.mark.parametrize("length", range(12))
def test_inverse_blocks_of_short_utterances(length: int) -> None:
    for share in (0.01, 0.5, 0.99):
        for seed in range(30):
            row = draw_blocks(BlockMask(share=share), [length], 15, seed)[0]
            assert not row[length:].any()
            assert int(row.sum()) == (min(max(round(length * share), 1), length - 1) if length >= 2 else 0)


def test_inverse_blocks_depend_on_the_utterance_alone() -> None:
    alone = draw_blocks(BlockMask(), [77], 77, seed=5)
    together = block_mask(BlockMask(), torch.tensor([300, 77, 12]), 300, torch.tensor([1, 5, 2]))
    assert torch.equal(together[1, :77], alone[0]) and not together[1, 77:].any()
    with pytest.raises(ConfigError):
        BlockMask(share=1.0)

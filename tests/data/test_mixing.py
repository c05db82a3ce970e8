"""WavLM's algorithm 1 by hand: where, how long, how loud."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl.data.mixing import Mixing, mix_batch, mixing_scale
from speechssl.errors import ConfigError

LENGTHS = torch.tensor([4000, 1000, 3000])
ALWAYS = Mixing(share=1.0)


def constants(padding: float = 0.0) -> Tensor:
    """Utterances of one value each, so that what was added, and from whom, can be read off."""
    wav = torch.full((3, 4200), padding)
    for row, length in enumerate(LENGTHS.tolist()):
        wav[row, :length] = float(2**row)
    return wav


def test_the_scale_by_hand() -> None:
    """Energy 4 against 1: 0 dB needs the secondary twice as loud, 20 dB a fifth, -6.02 dB four times."""
    primary, secondary = torch.tensor([2.0, -2.0]), torch.tensor([1.0, -1.0, 1.0])
    found = [float(mixing_scale(primary, secondary, db)) for db in (0.0, 20.0, -20 * math.log10(2))]
    assert found == pytest.approx([2.0, 0.2, 4.0])
    assert float(mixing_scale(primary, torch.zeros(5), 0.0)) == 0


def test_mixed_parts_are_runs_within_half_the_utterance_at_the_drawn_energy() -> None:
    sizes, starts, decibels = [], [], []
    for seed in range(300):
        mixed, chosen = mix_batch(constants(), LENGTHS, torch.tensor([seed, seed + 1000, seed + 2000]), ALWAYS)
        assert chosen.all()
        for row, length in enumerate(LENGTHS.tolist()):
            added = (mixed - constants())[row]
            places = added.nonzero().squeeze(1)
            assert len(places) == places[-1] - places[0] + 1 <= length // 2 and int(places[-1]) < length
            assert added[places].max() == added[places].min()
            # the energy of what is added is that of the primary, less r dB, whoever the secondary is
            decibels.append(-20 * math.log10(float(added[places[0]]) / 2**row))
            sizes.append(len(places) / length)
            starts.append(int(places[0]) / length)
    assert min(decibels) >= -5.001 and max(decibels) <= 5.001 and abs(np.mean(decibels)) < 0.5
    assert np.mean(sizes) == pytest.approx(0.225, abs=0.03)  # 0.25, but 1000 samples are all that one of three has
    assert max(starts) > 0.9 and min(starts) < 0.05


def test_noise_has_its_own_range_and_share() -> None:
    settings = Mixing(share=1.0, noise_share=1.0)
    decibels = []
    for seed in range(200):
        mixed, _ = mix_batch(constants(), LENGTHS, torch.tensor([seed] * 3), settings, noise=torch.full((700,), 0.25))
        added = (mixed - constants())[0]
        decibels.append(-20 * math.log10(float(added.max())))
        assert 1 <= added.count_nonzero() <= 700
    assert -5.001 <= min(decibels) < -2 and 17 < max(decibels) <= 20.001
    never = Mixing(share=1.0, noise_share=0.0)
    noise = torch.full((700,), math.nan)
    assert mix_batch(constants(), LENGTHS, torch.tensor([1, 2, 3]), never, noise)[0].isfinite().all()


def test_as_many_utterances_are_mixed_as_asked_for() -> None:
    wav, lengths = torch.randn(2000, 10), torch.full((2000,), 10)
    mixed, chosen = mix_batch(wav, lengths, torch.arange(2000), Mixing(share=0.2))
    assert float(chosen.float().mean()) == pytest.approx(0.2, abs=0.03)
    assert torch.equal((mixed != wav).any(1), chosen)


def test_padding_is_neither_heard_nor_changed() -> None:
    seeds = torch.tensor([1, 2, 3])
    plain, _ = mix_batch(constants(), LENGTHS, seeds, ALWAYS)
    padded, _ = mix_batch(constants(math.nan), LENGTHS, seeds, ALWAYS)
    for row, length in enumerate(LENGTHS.tolist()):
        assert torch.equal(plain[row, :length], padded[row, :length]) and padded[row, length:].isnan().all()


def test_utterances_of_nothing_are_left_alone() -> None:
    mixed, chosen = mix_batch(torch.ones(2, 1), torch.tensor([0, 1]), torch.tensor([1, 2]), ALWAYS)
    assert torch.equal(mixed, torch.ones(2, 1)) and not chosen.any()


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="share"):
        Mixing(share=1.5)
    with pytest.raises(ConfigError, match="decibels"):
        Mixing(noise_db=(20.0, -5.0))

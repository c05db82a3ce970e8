"""Noise under whole utterances: how loud, of which colour, of whom."""

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl.data.noise import Noise, coloured, noisy_batch
from speechssl.errors import ConfigError

LENGTHS = torch.tensor([4000, 1000, 3000])
COLOURED = Noise(share=1.0, babble_share=0.0, snr_db=(10.0, 10.0))
BABBLE = Noise(share=1.0, babble_share=1.0, snr_db=(0.0, 0.0))


def utterances() -> Tensor:
    """Values 1, 2, 4 up to their lengths, and a mark in the padding."""
    wav = torch.full((3, 4200), 99.0)
    for row, length in enumerate(LENGTHS.tolist()):
        wav[row, :length] = float(2**row)
    return wav


def test_coloured_noise_has_the_drawn_energy_in_every_utterance_and_none_in_padding() -> None:
    wav = utterances()
    noisy = noisy_batch(wav, LENGTHS, torch.tensor([1, 2, 3]), COLOURED)
    for row, length in enumerate(LENGTHS.tolist()):
        added = (noisy - wav)[row]
        assert float(added[:length].square().mean()) == pytest.approx(4.0**row / 10, rel=1e-3)
        assert not added[length:].any()


def test_babble_is_another_utterance_repeated_and_as_loud_as_asked() -> None:
    """At 0 dB a constant is as loud as the utterance's own: its value comes twice."""
    for seed in range(20):
        wav = utterances()
        noisy = noisy_batch(wav, LENGTHS, torch.tensor([seed, seed + 50, seed + 100]), BABBLE)
        for row, length in enumerate(LENGTHS.tolist()):
            assert torch.allclose(noisy[row, :length], wav[row, :length] * 2)
    marked = utterances()
    marked[1, 0] = -2.0  # one sample of the second utterance that can be told from the others
    first = noisy_batch(marked, LENGTHS[:2], torch.tensor([0, 1]), BABBLE)
    added = (first - marked)[0, :4000]
    places = (added < 0).nonzero().squeeze(1)
    assert len(places) == 4 and places.diff().tolist() == [1000, 1000, 1000]


def test_an_utterance_alone_gets_coloured_noise_and_silence_stays_silent() -> None:
    wav = utterances()
    alone = noisy_batch(wav[:1], LENGTHS[:1], torch.tensor([3]), BABBLE)
    assert float((alone - wav[:1])[0, :4000].std()) > 0.1
    assert not noisy_batch(torch.zeros(2, 50), torch.tensor([50, 0]), torch.tensor([3, 4]), COLOURED).any()


def test_what_is_drawn_comes_from_the_seed_alone_and_the_share_holds() -> None:
    wav = utterances()
    order = torch.tensor([2, 0, 1])
    here = noisy_batch(wav, LENGTHS, torch.tensor([5, 6, 7]), COLOURED)
    there = noisy_batch(wav[order], LENGTHS[order], torch.tensor([7, 5, 6]), COLOURED)
    assert torch.equal(here[order], there)
    half = Noise(share=0.5)
    changed = [not torch.equal(noisy_batch(wav[:1], LENGTHS[:1], torch.tensor([n]), half), wav[:1]) for n in range(400)]
    assert 160 < sum(changed) < 240


def test_the_slope_by_a_line_through_the_spectrum() -> None:
    for slope in (0.0, 1.0, 2.0):
        random = np.random.default_rng(0)
        power = np.mean([np.abs(np.fft.rfft(coloured(4096, slope, random))) ** 2 for _ in range(50)], axis=0)[1:-1]
        found = np.polyfit(np.log(np.arange(1, len(power) + 1)), np.log(power), 1)[0]
        assert found == pytest.approx(-slope, abs=0.05)
    assert coloured(1, 1.0, random).tolist() == [0.0]


@pytest.mark.parametrize(
    "wrong", [{"share": 1.5}, {"babble_share": -0.1}, {"snr_db": (5.0, 0.0)}, {"slope": (2.0, 0.0)}]
)
def test_what_is_no_share_or_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="noise"):
        Noise(**wrong)  # type: ignore[arg-type]

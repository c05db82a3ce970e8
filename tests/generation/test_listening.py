"""Whether a translator listens: against a loop over pairs, for one that cannot hear; which sources are wrong ones."""

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl.decoders.likelihood import log_likelihoods
from speechssl.decoders.transformer import Config, Model
from speechssl.errors import ConfigError, DataError
from speechssl.generation.listening import listening, wrong_sources

DIM = 12


def decoder(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(Config(5, dim=16, ffn_dim=24, num_layers=1, num_heads=2, max_positions=50), DIM).eval()


def said(*texts: str) -> list[np.ndarray]:
    return [np.array(list(map(int, text)), dtype=np.int64) for text in texts]


def memories(*lengths: int) -> list[Tensor]:
    return [torch.randn(length, DIM, generator=torch.Generator().manual_seed(length)) for length in lengths]


def test_wrong_sources_are_the_nearest_in_length_that_say_something_else() -> None:
    targets = said("01", "2", "01", "3", "4")
    found = wrong_sources([10, 11, 10, 14, 8], targets, 2)
    assert found == {0: [1, 4], 1: [0, 2], 2: [1, 4], 3: [1, 0], 4: [0, 2]}
    assert wrong_sources([5, 5, 5], said("1", "1", "2"), 4) == {0: [2], 1: [2], 2: [0, 1]}
    with pytest.raises(DataError, match="two utterances"):
        wrong_sources([5, 6], said("1", "1"), 4)


def test_bits_and_shares_are_those_of_a_loop_over_pairs() -> None:
    model, heard, targets = decoder(), memories(9, 4, 7, 6, 12), said("0123", "", "44", "2", "31")
    found = listening(model, heard, targets, others=2)
    right, gained, wins = 0.0, 0.0, []
    for row, target in enumerate(targets):
        own, *wrong = [
            float(log_likelihoods(model, heard[source][None], torch.tensor([len(heard[source])]),
                                  torch.from_numpy(target)[None], torch.tensor([len(target)])))
            for source in [row, *wrong_sources([len(m) for m in heard], targets, 2)[row]]
        ]  # fmt: skip
        right -= own / np.log(2)
        gained += (own - np.mean(wrong)) / np.log(2)
        wins.append(np.mean([own > other for other in wrong]))
    symbols = 4 + 0 + 2 + 1 + 2 + 5
    assert (found.utterances, found.right) == (5, pytest.approx(right / symbols, rel=1e-5))
    assert found.gained.value == pytest.approx(gained / symbols, rel=1e-4)
    assert found.wrong - found.right == pytest.approx(found.gained.value)
    assert found.preferred.value == pytest.approx(np.mean(wins))
    assert found.gained.low < found.gained.value < found.gained.high


def test_a_decoder_that_cannot_hear_gains_nothing_and_prefers_nothing() -> None:
    model = decoder()
    for name, parameter in model.named_parameters():
        if ".cross." in name:
            parameter.data.zero_()
    found = listening(model, memories(9, 4, 7), said("0123", "1", "44"))
    assert found.gained.value == pytest.approx(0, abs=1e-6) and found.gained.high == pytest.approx(0, abs=1e-6)
    assert found.preferred.value == pytest.approx(0.5)


def test_a_decoder_that_was_taught_to_hear_gains_what_there_is_to_know() -> None:
    """Four sources, four targets of one symbol, each equally often: two bits, one for each of symbol and end."""
    model, heard, targets = decoder(1), memories(5, 6, 7, 8), said("0", "1", "2", "3")
    states = torch.nn.utils.rnn.pad_sequence(heard, batch_first=True)
    counts, read = torch.tensor([5, 6, 7, 8]), torch.tensor([[5, 0], [5, 1], [5, 2], [5, 3]])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(model(read, states, counts).flatten(0, 1),
                                                 torch.tensor([0, 5, 1, 5, 2, 5, 3, 5]))  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = listening(model, heard, targets, others=3)
    assert found.right < 0.1 and found.gained.low > 1 and found.preferred.value == 1.0


def test_what_says_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="others=0"):
        listening(decoder(), memories(5, 6), said("1", "2"), others=0)

"""A transducer's decoding against its loss, text by text."""

import itertools
import math

import pytest
import torch

from speechssl.decoders.transducer import Shape, Transducer, beam_search, greedy
from speechssl.errors import ConfigError
from speechssl.nn.transducer_loss import transducer_losses

BLANK, SYMBOLS = 1, 3


def make(prediction: str = "lstm", seed: int = 0) -> Transducer:
    torch.manual_seed(seed)
    model = Transducer(Shape(prediction, dim=6, joint=5), SYMBOLS, BLANK).double().eval()  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def log_prob(model: Transducer, frames: torch.Tensor, ids: tuple[int, ...]) -> float:
    targets = torch.tensor([ids]).reshape(1, len(ids)).long()
    with torch.no_grad():
        logits = model.join(frames[None, :, None], model.predictions(targets)[:, None])
        return -float(transducer_losses(logits, torch.tensor([len(frames)]), targets, blank=BLANK))


@pytest.mark.parametrize("prediction", ["stateless", "lstm"])
def test_steps_predict_what_the_whole_text_does(prediction: str) -> None:
    model = make(prediction)
    targets = torch.tensor([[0, 2, 2, 0], [2, 0, 0, 2]])
    whole = model.predictions(targets)
    state, symbols = model.start(2), torch.full((2,), BLANK)
    for u in range(5):
        found, state = model.step(symbols, state)
        torch.testing.assert_close(found, whole[:, u])
        symbols = targets[:, min(u, 3)]


@pytest.mark.parametrize("prediction", ["stateless", "lstm"])
def test_a_wide_beam_scores_every_text_as_the_loss_does(prediction: str) -> None:
    """With as many symbols in a frame as the text has, no path is missing."""
    model, frames = make(prediction), torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = {text.ids: text.log_prob for text in beam_search(model, frames, beam=2000, max_symbols=3)}
    for length in range(4):
        for ids in itertools.product([0, 2], repeat=length):
            assert found[ids] == pytest.approx(log_prob(model, frames, ids), abs=1e-9), ids


@pytest.mark.parametrize("seed", range(4))
def test_greedy_of_a_batch_is_that_of_each_and_its_score_is_at_most_the_texts(seed: int) -> None:
    model = make(seed=seed)
    frames = torch.randn(3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    lengths = torch.tensor([6, 4, 0])
    together = greedy(model, frames, lengths, max_symbols=2)
    for row, length in enumerate(lengths.tolist()):
        (alone,) = greedy(model, frames[row : row + 1, :length], lengths[row : row + 1], max_symbols=2)
        assert alone.ids == together[row].ids and alone.frames == together[row].frames
        assert all(a <= b < length for a, b in itertools.pairwise((*alone.frames, length - 1)) if length)
        assert max([alone.frames.count(t) for t in range(length)], default=0) <= 2
        if length:
            assert alone.log_prob <= log_prob(model, frames[row, :length], alone.ids) + 1e-9
    assert together[2].ids == () and together[2].log_prob == 0


def test_without_frames_a_beam_has_the_empty_text() -> None:
    (found,) = beam_search(make(), torch.zeros(0, 5, dtype=torch.float64), beam=4)
    assert found.ids == () and math.exp(found.log_prob) == 1


def test_sizes_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ConfigError, match="sizes"):
        Shape(context=0)

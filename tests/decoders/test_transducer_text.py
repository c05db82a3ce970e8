"""Words, times and confidences of a transducer that says what its frames show, each once."""

import math

import pytest
import torch
from torch import Tensor

from speechssl.decoders.spelling import Spelling
from speechssl.decoders.transducer import Shape, Transducer, beam_search, emission_log_probs, greedy
from speechssl.decoders.transducer_text import TransducerDecoder
from speechssl.errors import ConfigError

SYMBOLS = ("<blank>", "|", "a", "b")
SPELLING = Spelling(SYMBOLS, 0, "|")


def parrot() -> Transducer:
    """Scores are 5 tanh(frame - 4 * what was said last): a symbol is said once, then blank's 5 tanh(0.5) is more."""
    model = Transducer(Shape(context=1, dim=4, joint=4), 4, 0).eval()
    said = -4 * torch.eye(4)
    said[0, 0] = 0
    with torch.no_grad():
        model.embedding.weight.copy_(torch.eye(4))
        model.projection.weight.copy_(said)
        model.output.weight.copy_(5 * torch.eye(4))
        model.output.bias.zero_()
    return model


def shown(text: str) -> Tensor:
    """Frames [T, 4] of a symbol each, "." for none."""
    frames = torch.zeros(len(text), 4)
    frames[:, 0] = 0.5
    for t, letter in enumerate(text):
        if letter != ".":
            frames[t, SYMBOLS.index(letter)] = 2.0
    return frames


def share(frame: Tensor, last: int, symbol: int) -> float:
    """By hand: the softmax of 5 tanh."""
    scores = [5 * math.tanh(float(frame[i]) - (4 if i == last and i else 0)) for i in range(4)]
    return math.exp(scores[symbol]) / sum(map(math.exp, scores))


@pytest.mark.parametrize("beam", [1, 4])
def test_words_last_from_the_frame_of_their_first_symbol_to_the_end_of_their_lasts(beam: int) -> None:
    frames = shown(".ab.|..b.")
    (found,) = TransducerDecoder(parrot(), SPELLING, beam).decode(frames, frame_s=0.02)
    assert found.text == "ab b"
    times = [(word.text, round(word.start_s, 6), round(word.end_s, 6)) for word in found.words]
    assert times == [("ab", 0.02, 0.06), ("b", 0.14, 0.16)]
    sure = [math.sqrt(share(frames[1], 0, 2) * share(frames[2], 2, 3)), share(frames[7], 1, 3)]
    assert [word.confidence for word in found.words] == pytest.approx(sure, rel=1e-5)


def test_without_a_frame_length_there_are_no_times() -> None:
    decoder = TransducerDecoder(parrot(), SPELLING)
    (found,) = decoder.decode(shown("ab").numpy())
    assert found.text == "ab" and found.words == () and found.posterior == 1 and found.score == found.acoustic
    assert decoder.facts() == {"decoding": "greedy", "max_symbols": 5}


def test_the_n_best_are_the_beams_texts_each_once_with_its_share() -> None:
    """Symbols that are not written make one text of several."""
    torch.manual_seed(0)
    model = Transducer(Shape("lstm", dim=6, joint=5), 4, 0).eval()
    frames = torch.randn(5, 5)
    spelling = Spelling(SYMBOLS, 0, None, silent=("b",))
    found = TransducerDecoder(model, spelling, 40).decode(frames, num=40)
    shares: dict[str, float] = {}
    for spoken in beam_search(model, frames, beam=40):
        text = " ".join(SYMBOLS[i] for i in spoken.ids if SYMBOLS[i] != "b")
        shares[text] = shares.get(text, 0.0) + math.exp(spoken.log_prob)
    assert [text.text for text in found] == list(shares) and 1 < len(found) < 40
    assert [text.posterior for text in found] == pytest.approx([s / sum(shares.values()) for s in shares.values()])


def test_probabilities_of_emissions_and_of_blanks_make_up_the_greedy_path() -> None:
    torch.manual_seed(1)
    model = Transducer(Shape(dim=6, joint=5), 4, 0).eval()
    frames = torch.randn(6, 5)
    (spoken,) = greedy(model, frames[None], torch.tensor([6]))
    assert len(spoken.ids) > 2
    total, (prediction, state) = 0.0, model.step(torch.tensor([0]), model.start(1))
    with torch.no_grad():
        for t in range(6):
            for place, symbol in enumerate(spoken.ids):
                if spoken.frames[place] == t:
                    prediction, state = model.step(torch.tensor([symbol]), state)
            total += float(model.join(frames[t], prediction[0]).log_softmax(-1)[0])
    assert total + float(emission_log_probs(model, frames, spoken).sum()) == pytest.approx(spoken.log_prob, rel=1e-5)


def test_no_frames_are_an_empty_text() -> None:
    for beam in (1, 3):
        (found,) = TransducerDecoder(parrot(), SPELLING, beam).decode(torch.zeros(0, 4), frame_s=0.02)
        assert found.text == "" and found.words == () and found.score == 0


@pytest.mark.parametrize(("frames", "num"), [(torch.zeros(3, 5), 1), (torch.zeros(4), 1), (torch.zeros(3, 4), 0)])
def test_frames_of_another_size_are_refused(frames: Tensor, num: int) -> None:
    with pytest.raises(ConfigError, match=r"\[T, 4\]"):
        TransducerDecoder(parrot(), SPELLING).decode(frames, num=num)

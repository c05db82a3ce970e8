"""Tuning: the whole grid, never worse than greedy."""

import numpy as np
import pytest

from speechssl.decoders.decoder import Decoder, Settings
from speechssl.decoders.ngram_fit import fit_ngrams
from speechssl.decoders.tune import tune
from speechssl.errors import DataError
from tests.decoders.test_decoder import LETTERS, spoken


def doubtful() -> np.ndarray:
    log_probs = spoken("ab|ab")
    log_probs[3] = np.log([0.45, 0.02, 0.48, 0.05])
    return log_probs


def test_a_model_that_knows_the_text_is_chosen() -> None:
    model = fit_ngrams([["ab", "b"]] * 5 + [["ab"]], order=2).model
    found = tune([doubtful(), spoken("ab")], ["ab b", "ab"], spelling=LETTERS, base=Settings(beam=10), model=model,
                 lm_weights=(0.5, 1.0), bonuses=(0.0, -1.0))  # fmt: skip
    assert found.settings.beam == 10 and [t.settings.beam for t in found.trials] == [1, 10, 10, 10, 10]
    assert [(t.settings.lm_weight, t.settings.bonus) for t in found.trials[1:]] == [
        (0.5, 0), (0.5, -1), (1, 0), (1, -1)]  # fmt: skip
    assert found.trials[0].words.errors == 1 and found.trials[0].characters.errors == 1
    best = next(trial for trial in found.trials if trial.settings == found.settings)
    assert best.words.errors == 0 and best.words.reference == 3


def test_a_model_that_only_harms_leaves_greedy() -> None:
    model = fit_ngrams([["b"]] * 5, order=1).model
    log_probs = [doubtful()]
    found = tune(log_probs, ["ab ab"], spelling=LETTERS, base=Settings(beam=10, unknown=-20), model=model)
    assert found.settings.beam == 1 and Decoder(LETTERS, found.settings).decode(log_probs[0])[0].text == "ab ab"
    assert max(trial.words.errors for trial in found.trials) > 0


def test_texts_must_be_as_many() -> None:
    for texts in ([], ["ab"]):
        with pytest.raises(DataError, match="to tune on"):
            tune([doubtful()] * (2 * len(texts)), texts, spelling=LETTERS, base=Settings(beam=2))

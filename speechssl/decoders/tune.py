"""Settings of a decoder chosen on a set with known texts: every combination of a grid is tried."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from speechssl.decoders.decoder import Decoder, Settings
from speechssl.decoders.lexicon import Lexicon
from speechssl.decoders.ngram import FloatArray, NgramModel
from speechssl.decoders.spelling import Spelling
from speechssl.errors import DataError
from speechssl.metrics.word_errors import EditCounts, count_edits


@dataclass(frozen=True)
class Trial:
    """One combination and its errors."""

    settings: Settings
    words: EditCounts
    characters: EditCounts


@dataclass(frozen=True)
class Tuned:
    """The best of `trials`, which begin with greedy decoding, so it is never worse than that on the same set."""

    settings: Settings
    trials: tuple[Trial, ...]


def tune(
    log_probs: Sequence[FloatArray], texts: Sequence[str], *, spelling: Spelling, base: Settings,
    model: NgramModel | None = None, lexicon: Lexicon | None = None,
    lm_weights: Sequence[float] = (0.25, 0.5, 0.75, 1.0, 1.5), bonuses: Sequence[float] = (-1.0, 0.0, 1.0, 2.0),
    by: Literal["words", "characters"] = "words", normalize: Callable[[str], str] = str,
) -> Tuned:  # fmt: skip
    """Weight and bonus with the fewest errors; of equally good ones the first, and greedy comes first.

    log_probs: [T, V] of each utterance; texts: what was said, in words that `Spelling.text` gives. `normalize` is done
    to both sides. base: everything else, its beam above 1. Without a model only the bonus is tried.
    """
    if len(log_probs) != len(texts) or not len(texts):
        raise DataError(
            f"{len(log_probs)} utterances and {len(texts)} texts to tune on: there must be as many, above 0"
        )
    weights = (0.0,) if model is None else tuple(lm_weights)
    greedy = Decoder(spelling, replace(base, beam=1))
    trials = [_trial(greedy, log_probs, texts, normalize)]
    for weight, bonus in itertools.product(weights, bonuses):
        decoder = Decoder(spelling, replace(base, lm_weight=weight, bonus=bonus), model=model, lexicon=lexicon)
        lexicon = decoder.lexicon  # made once, where it comes from a model's words
        trials.append(_trial(decoder, log_probs, texts, normalize))
    best = min(trials, key=lambda trial: (trial.words if by == "words" else trial.characters).errors)
    return Tuned(best.settings, tuple(trials))


def _trial(
    decoder: Decoder, log_probs: Sequence[FloatArray], texts: Sequence[str], normalize: Callable[[str], str]
) -> Trial:
    words, characters = EditCounts(), EditCounts()
    for values, text in zip(log_probs, texts, strict=True):
        found = decoder.decode(values)
        said, heard = normalize(text), normalize(found[0].text if found else "")
        words += count_edits(said.split(), heard.split())
        characters += count_edits(said, heard)
    return Trial(decoder.settings, words, characters)

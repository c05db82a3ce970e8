"""From log probabilities to the n best texts with times and confidences: greedy, or a beam with a language model.

Why not a library (looked at in November 2026, Python 3.11): pyctcdecode 0.5.0 (January 2023) wants numpy < 2;
flashlight-text 0.0.7 (March 2024), which torchaudio's `ctc_decoder` is made of, takes language models through KenLM,
which comes as source that needs a compiler and cannot train a model from Python. This one is numpy alone, sums over
alignments exactly, finds words without a symbol between them, and takes chunks. docs/decoding.md has speeds.
T frames, V symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from speechssl.decoders.alignment import align, confidences
from speechssl.decoders.arpa import read_arpa
from speechssl.decoders.greedy import best_path
from speechssl.decoders.hypothesis import Hypothesis, Word, by_text
from speechssl.decoders.lexicon import Lexicon, read_lexicon, spelled
from speechssl.decoders.ngram import BEGIN, END, UNKNOWN, FloatArray, NgramModel
from speechssl.decoders.prefix_beam import Candidate, PrefixBeam
from speechssl.decoders.scorers import NoScorer, Scorer, SymbolScorer
from speechssl.decoders.spelling import Spelling
from speechssl.decoders.word_scorer import WordScorer
from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """How to decode. beam 1: greedy, without language model or lexicon.

    lm_weight: factor of the language model's natural log probabilities. bonus: added for each word where a lexicon or
    a model of words is used, else for each symbol. unknown: what a word that the lexicon or the model of words lacks
    costs beside the model's <unk>, a negative number; None: there are none such.
    """

    beam: int = 1
    lm_weight: float = 0.5
    bonus: float = 0.0
    unknown: float | None = -10.0
    beam_threshold: float = 20.0  # hypotheses so much below the best are given up
    symbol_threshold: float = 12.0  # symbols so much below the best of a frame are not tried

    def __post_init__(self) -> None:
        if self.beam < 1 or self.lm_weight < 0 or not self.beam_threshold > 0 or not self.symbol_threshold > 0:
            raise ConfigError(f"beam, lm_weight and thresholds must be positive: {self}")
        if self.unknown is not None and self.unknown > 0:
            raise ConfigError(f"unknown={self.unknown}: a word outside the lexicon costs something, so 0 at most")


class Decoder:
    """Decodes one utterance after another. model: of words where they are not all symbols, else of symbols."""

    def __init__(
        self, spelling: Spelling, settings: Settings = Settings(), *,
        model: NgramModel | None = None, lexicon: Lexicon | None = None,
    ) -> None:  # fmt: skip
        if settings.beam == 1 and (model is not None or lexicon is not None):
            raise ConfigError("a language model or a lexicon has no effect on greedy decoding: give a beam above 1")
        self.spelling, self.settings, self.model, self.lexicon = spelling, settings, model, lexicon
        self.scorer: Scorer | None = None if settings.beam == 1 else self._scorer()

    def _scorer(self) -> Scorer:
        spelling, settings, model, lexicon = self.spelling, self.settings, self.model, self.lexicon
        if model is not None and settings.lm_weight == 0:
            model = None
        blank, num_symbols = spelling.blank, len(spelling.symbols)
        if lexicon is None and (self.model is None or not _of_words(self.model, spelling)):
            if model is None:
                return NoScorer(num_symbols, blank=blank, bonus=settings.bonus)
            return SymbolScorer(model, spelling.symbols, blank=blank, weight=settings.lm_weight, bonus=settings.bonus)
        boundary = spelling.boundary_id
        if lexicon is None:
            if boundary is None:
                raise ConfigError("a language model of words, and no symbol stands between words: give a lexicon")
            assert self.model is not None
            special = {BEGIN, END, UNKNOWN}
            letters = [s if i not in (blank, boundary) else "" for i, s in enumerate(spelling.symbols)]
            lexicon = self.lexicon = spelled((w for w in self.model.words if w not in special), letters)
        unknown = settings.unknown if boundary is not None else None
        return WordScorer(lexicon, model, num_symbols=num_symbols, blank=blank, boundary=boundary,
                          weight=settings.lm_weight, bonus=settings.bonus, unknown=unknown)  # fmt: skip

    def decode(self, log_probs: Tensor | FloatArray, *, num: int = 1, frame_s: float | None = None) -> list[Hypothesis]:
        """The `num` best texts of log probabilities [T, V], best first, each text once.

        frame_s: seconds from frame to frame, for words with times. Empty where a lexicon allows nothing that fits.
        """
        stream = Stream(self)
        stream.feed(log_probs)
        return stream.finish(num=num, frame_s=frame_s)

    def stream(self) -> "Stream":
        """For speech that comes in chunks."""
        return Stream(self)


class Stream:
    """One utterance in chunks: what `finish` gives is what `Decoder.decode` gives for all of it, however it was cut."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder, self._chunks = decoder, list[FloatArray]()
        settings = decoder.settings
        self._beam = None if decoder.scorer is None else PrefixBeam(
            decoder.scorer, blank=decoder.spelling.blank, beam=settings.beam,
            beam_threshold=settings.beam_threshold, symbol_threshold=settings.symbol_threshold)  # fmt: skip

    def feed(self, log_probs: Tensor | FloatArray) -> None:
        """Frames: log probabilities [T, V]. Raises ConfigError for another V, or numbers that are none."""
        chunk = log_probs.detach().cpu().float().numpy() if isinstance(log_probs, Tensor) else np.asarray(log_probs)
        if chunk.ndim != 2 or chunk.shape[1] != len(self._decoder.spelling.symbols):
            raise ConfigError(f"log probabilities must be [T, {len(self._decoder.spelling.symbols)}], "
                              f"found {list(chunk.shape)}")  # fmt: skip
        if np.isnan(chunk).any() or (len(chunk) and chunk.max() > 1e-3):
            raise ConfigError("log probabilities must be 0 at most and no nan: apply log_softmax first")
        self._chunks.append(chunk.astype(np.float64))
        if self._beam is not None:
            self._beam.step(self._chunks[-1])

    def partial(self) -> str:
        """The best text of what came so far, its last word perhaps not whole."""
        if self._beam is None:
            return self._decoder.spelling.text(self._greedy()[0].labels)
        found = self._beam.candidates(finished=False)
        return self._decoder.spelling.text(self._symbols(found[0])) if found else ""

    def finish(self, *, num: int = 1, frame_s: float | None = None) -> list[Hypothesis]:
        """The `num` best texts, as `Decoder.decode` has them."""
        if num < 1:
            raise ConfigError(f"num={num}: ask for one text at least")
        if self._beam is None:
            found = self._greedy()
        else:
            found = self._beam.candidates(self._decoder.settings.beam)
        if not found:
            return []
        words = [self._words(candidate) for candidate in found]
        texts = [" ".join(word for word, _, _ in parts) for parts in words]
        chosen = by_text(texts, [candidate.score for candidate in found])
        log_probs = None if frame_s is None else self._all()
        hypotheses = []
        for text, (place, posterior) in list(chosen.items())[:num]:
            best, symbols = found[place], self._symbols(found[place])
            timed = _timed(log_probs, symbols, words[place], frame_s, self._blank)
            hypotheses.append(Hypothesis(text, symbols, timed, best.score, best.acoustic, best.language, posterior))
        return hypotheses

    @property
    def _blank(self) -> int:
        return self._decoder.spelling.blank

    def _all(self) -> FloatArray:
        return np.concatenate([*self._chunks, np.zeros((0, len(self._decoder.spelling.symbols)))])

    def _greedy(self) -> list[Candidate]:
        path = best_path(self._all(), blank=self._blank)
        return [Candidate(tuple(path.symbols.tolist()), path.score, path.score, 0.0)]

    def _symbols(self, candidate: Candidate) -> tuple[int, ...]:
        scorer = self._decoder.scorer
        return candidate.labels if scorer is None else tuple(scorer.symbol_of[list(candidate.labels)].tolist())

    def _words(self, candidate: Candidate) -> list[tuple[str, int, int]]:
        symbols, scorer = self._symbols(candidate), self._decoder.scorer
        if not isinstance(scorer, WordScorer):
            return self._decoder.spelling.words(symbols)
        spelling = self._decoder.spelling
        found = scorer.words(candidate.labels)
        return [(spelling.join(symbols[a:b]) if text is None else text, a, b) for text, a, b in found]


def load_decoder(
    spelling: Spelling, settings: Settings, *, lm: Path | None = None, lexicon: Path | None = None
) -> Decoder:
    """A decoder with an ARPA language model and a lexicon from files."""
    entries = None if lexicon is None else read_lexicon(lexicon, spelling.symbols, boundary=spelling.boundary)
    return Decoder(spelling, settings, model=None if lm is None else read_arpa(lm), lexicon=entries)


def _of_words(model: NgramModel, spelling: Spelling) -> bool:
    """Whether a model's words are more than symbols and single characters."""
    symbols = {*spelling.symbols, BEGIN, END, UNKNOWN}
    return any(len(word) > 1 and word not in symbols for word in model.words)


def _timed(
    log_probs: FloatArray | None, symbols: Sequence[int], words: list[tuple[str, int, int]],
    frame_s: float | None, blank: int,
) -> tuple[Word, ...]:  # fmt: skip
    if log_probs is None or frame_s is None or not words:
        return ()
    path = align(log_probs, symbols, blank=blank)
    logs = np.log(np.maximum(confidences(log_probs, symbols, blank=blank), 1e-300))
    return tuple(
        Word(text, float(path.start[a] * frame_s), float(path.end[b - 1] * frame_s), float(np.exp(logs[a:b].mean())))
        for text, a, b in words
    )

"""From what a transducer's joiner sees to the n best texts with times and confidences: greedy, or a beam.

A word lasts from the frame in which its first symbol was emitted to the end of that of its last. Nothing makes a
transducer emit a symbol when it is heard, and it may wait for what comes behind: such times are rougher than CTC's.

T frames, J channels of the joiner.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechssl.decoders.hypothesis import Hypothesis, Word, by_text
from speechssl.decoders.spelling import Spelling
from speechssl.decoders.transducer import MAX_SYMBOLS, Spoken, Transducer, beam_search, emission_log_probs, greedy
from speechssl.errors import ConfigError


@dataclass(frozen=True)
class TransducerDecoder:
    """Decodes one utterance after another, without a language model."""

    model: Transducer
    spelling: Spelling
    beam: int = 1  # texts kept after each frame; 1: greedy
    max_symbols: int = MAX_SYMBOLS

    def decode(self, frames: Tensor | np.ndarray, *, num: int = 1, frame_s: float | None = None) -> list[Hypothesis]:
        """The `num` best texts of frames [T, J], best first, each text once; greedy has one.

        frame_s: seconds from frame to frame, for words with times. Raises ConfigError for another J.
        """
        weight = self.model.output.weight
        seen = torch.as_tensor(frames).to(weight.device, weight.dtype)
        if seen.ndim != 2 or seen.shape[1] != self.model.shape.joint or num < 1:
            raise ConfigError(f"frames must be [T, {self.model.shape.joint}] and num >= 1, found {list(seen.shape)} "
                              f"and {num}")  # fmt: skip
        if self.beam > 1:
            found = beam_search(self.model, seen, beam=self.beam, max_symbols=self.max_symbols)
        else:
            found = greedy(self.model, seen[None], torch.tensor([len(seen)], device=seen.device),
                           max_symbols=self.max_symbols)  # fmt: skip
        texts = [self.spelling.text(spoken.ids) for spoken in found]
        chosen = by_text(texts, [spoken.log_prob for spoken in found])
        hypotheses = []
        for text, (place, posterior) in list(chosen.items())[:num]:
            best = found[place]
            words = () if frame_s is None else self._timed(seen, best, frame_s)
            hypotheses.append(Hypothesis(text, best.ids, words, best.log_prob, best.log_prob, 0.0, posterior))
        return hypotheses

    def facts(self) -> dict[str, object]:
        """What transcripts.json says of it."""
        beam = {"beam": self.beam} if self.beam > 1 else {}
        return {"decoding": "beam" if beam else "greedy", **beam, "max_symbols": self.max_symbols}

    def _timed(self, frames: Tensor, spoken: Spoken, frame_s: float) -> tuple[Word, ...]:
        logs = emission_log_probs(self.model, frames, spoken).double().cpu().numpy()
        return tuple(
            Word(
                text, spoken.frames[a] * frame_s, (spoken.frames[b - 1] + 1) * frame_s, float(np.exp(logs[a:b].mean()))
            )
            for text, a, b in self.spelling.words(spoken.ids)
        )

"""Utterances of a corpus, or units of them, through a translator, some at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from speechssl.data.corpus import Corpus, read_utterance
from speechssl.data.sequences import read_units
from speechssl.data.utterance import Utterance
from speechssl.decoders.search import Hypothesis, Search
from speechssl.errors import AudioError, DataError
from speechssl.generation.model import LONGEST_S, Seq2Seq
from speechssl.generation.unit_translator import Into, UnitTranslator

BATCH = 8  # utterances searched together
Translator = Seq2Seq | Into
Stream = Iterator[tuple[Utterance, list[Hypothesis] | AudioError]]
T = TypeVar("T")


def hypotheses(
    corpus: Corpus, model: Translator, search: Search, *, ctc_weight: float = 0.0,
    units: Mapping[str, np.ndarray] | None = None,
) -> Stream:  # fmt: skip
    """Every utterance with its hypotheses, best first, or with what is wrong with it.

    units: of the utterances, in place of their recordings, for a model that reads units.
    """
    for batch in _batches(corpus, model, units):
        if units is not None and isinstance(model, Into):
            results = model.hypotheses_of(batch.units, search, empty=True)
        else:
            results = model.hypotheses(batch.waves, search, ctc_weight=ctc_weight)
        yield from batch.joined([one or None for one in results])


def heard(
    corpus: Corpus, model: Translator, units: Mapping[str, np.ndarray] | None = None
) -> Iterator[tuple[Utterance, torch.Tensor | AudioError]]:
    """Every utterance with what the model's decoder looks at, [T, D], or with what is wrong with it."""
    for batch in _batches(corpus, model, units):
        if units is not None and isinstance(model, Into):
            kept, states, counts = model.memories_of(batch.units)
        else:
            kept, states, counts = model.memories(batch.waves)
        results: list[torch.Tensor | None] = [None] * (len(batch.units) + len(batch.waves))
        for row, memory, count in zip(kept, states, counts.tolist(), strict=True):
            results[row] = memory[:count]
        yield from batch.joined(results)


@dataclass(frozen=True)
class Batch:
    """Utterances that go through the model together: with waves, or units (symbols of texts), of those that are in
    `failed` as None.
    """

    utterances: list[Utterance]
    failed: list[AudioError | None]
    waves: list[torch.Tensor]
    units: list[np.ndarray]

    def joined(self, results: Sequence[T | None]) -> Iterator[tuple[Utterance, T | AudioError]]:
        """Utterances with the results of those that could be used; None: nothing could be heard in one."""
        nothing = ("no-units", "no unit to translate") if self.units else ("too-short", "no frame of speech")
        of = iter(results)
        for utterance, error in zip(self.utterances, self.failed, strict=True):
            if error is not None:
                yield utterance, error
            else:
                found = next(of)
                yield utterance, AudioError(*nothing) if found is None else found


def _batches(corpus: Corpus, model: Translator, units: Mapping[str, np.ndarray] | None) -> Iterator[Batch]:
    for first in range(0, len(corpus.utterances), BATCH):
        rows = list(corpus.utterances[first : first + BATCH])
        if units is not None:
            yield Batch(rows, [None] * len(rows), [], [units[row.id].astype(np.int64) for row in rows])
            continue
        failed: list[AudioError | None] = []
        waves = []
        for utterance in rows:
            try:
                samples = read_utterance(utterance, sample_rate=model.sample_rate, max_s=LONGEST_S).samples
                waves.append(torch.from_numpy(samples))
                failed.append(None)
            except AudioError as error:
                failed.append(error)
        yield Batch(rows, failed, waves, [])


def read_unit_corpus(folder: Path, model: UnitTranslator) -> tuple[Corpus, dict[str, np.ndarray]]:
    """An output folder of `speechssl units` as a corpus. DataError for units that the model does not read."""
    found, wanted = read_units(folder, reduced=model.output.reduced, size=model.num_symbols), model.output.unit_model
    if None not in (found.model_sha256, wanted) and found.model_sha256 != wanted:
        raise DataError(f"{folder}: units of another unit model ({str(found.model_sha256)[:12]}) than this model reads "
                        f"({str(wanted)[:12]})")  # fmt: skip
    return Corpus([Utterance(name, "") for name in found.of], "units", str(folder)), dict(found.of)

"""What a model of sequences says of a corpus' utterances, as units, text or speech, into a folder.

OUT/units or OUT/text   a line `id 17 4 …` or `id words` for every utterance; empty where the best hypothesis is
OUT/nbest.tsv           id, rank, score, whether it ended, what it is; where more than the best was asked for
OUT/failures.tsv        utterances that could not be used, and why
OUT/translate.json      of which input, by which model and search; speak.json of texts
OUT/speech              a Kaldi data dir of what a unit vocoder made of the units
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypeVar

import numpy as np
import torch

from speechssl.data.corpus import Corpus, read_utterance
from speechssl.data.lines import check_id
from speechssl.data.sequences import read_units
from speechssl.data.utterance import Utterance
from speechssl.decoders.search import Hypothesis, Search
from speechssl.errors import AudioError, ConfigError, DataError
from speechssl.extract import atomic, lock
from speechssl.extract.resynthesis import Resynthesis, Speaking, resynthesize
from speechssl.extract.waveforms import claim
from speechssl.generation.model import LONGEST_S, Output, Seq2Seq
from speechssl.generation.unit_translator import Into, UnitTranslator
from speechssl.units.mel_voice import MelVoice
from speechssl.units.units import Units
from speechssl.units.vocoder import SpokenUnits, Vocoder
from speechssl.units.voice_conversion import TargetVoice

_FORMAT = "speechssl-translated-1"
BATCH = 8  # utterances searched together
Kind = Literal["units", "text", "speech"]
Voice: TypeAlias = Vocoder | MelVoice | TargetVoice
Translator = Seq2Seq | Into
T = TypeVar("T")
Stream = Iterator[tuple[Utterance, list[Hypothesis] | AudioError]]


class Speaks(Protocol):
    """What says something: `Seq2Seq`, `Into`, `TextToUnits`."""

    @property
    def num_symbols(self) -> int:
        """V."""
        ...

    @property
    def sha256(self) -> str:
        """Identity."""
        ...

    def spell(self, tokens: Sequence[int]) -> "str | np.ndarray":
        """Text, or units [L], of symbols."""
        ...


@dataclass(frozen=True)
class Translated:
    """What a run did."""

    output: str
    utterances: int
    empty: int  # of them without a symbol
    unended: int  # of them cut off at the longest length allowed
    failed: int
    spoken: int = 0

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some could not be used, 2 none could."""
        return 2 if not self.utterances else int(self.failed > 0)


def check(model: Translator, to: Kind | None, vocoder: Vocoder | None) -> Kind:
    """What is made: as asked, or what the model says. Raises ConfigError or DataError for what it cannot."""
    to = to or model.output.kind
    if (to == "text") != (model.output.kind == "text"):
        raise ConfigError(f"this model says {model.output.kind}: --to {to} is not possible with it")
    if (to == "speech") != (vocoder is not None):
        raise ConfigError("speech needs a vocoder of the model's units: --to speech --vocoder DIR go together")
    if vocoder is not None:
        check_voice(vocoder, model.output, model.num_symbols)
    return to


def spoken_units(voice: Voice) -> SpokenUnits:
    """Whose units a unit vocoder, a mel decoder, or a target's voice speaks."""
    inner = _inner(voice)
    return inner.card.units if isinstance(inner, Vocoder) else inner.decoder.card.units


def _inner(voice: Voice) -> Vocoder | MelVoice:
    return voice.voice if isinstance(voice, TargetVoice) else voice


def check_voice(voice: Voice, output: Output, num_units: int) -> None:
    """DataError unless a voice can speak what a model says: its units, with nothing beside them."""
    spoken, what = spoken_units(voice), "vocoder" if isinstance(_inner(voice), Vocoder) else "mel decoder"
    if not voice.takes_units:
        raise DataError("this mel decoder takes features of speech, and the model says units")
    if spoken.num_units != num_units:
        raise DataError(f"this {what} speaks {spoken.num_units} units, the model says {num_units}: they are not the "
                        "same")  # fmt: skip
    if voice.has_pitch:
        raise DataError(f"this {what} needs the pitch of recordings, and the model says units alone")
    if output.unit_model is None and not spoken.sha256:
        return  # both from elsewhere: who gives the two says that they belong together
    if output.unit_model is None:
        raise DataError("the model's card does not say which unit model its units are of, so no vocoder is known "
                        "to speak them: train it on an output folder of speechssl units")  # fmt: skip
    voice.check(output.unit_model)
    if output.reduced and what == "mel decoder":
        raise DataError("a mel decoder predicts no durations, and the model says units whose runs are merged: give a "
                        "vocoder, or train a model with data.reduced=false")  # fmt: skip
    if output.reduced:
        voice.predict_durations(np.zeros(1, np.int64))  # DataError where it was not taught that


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


def translate(
    corpus: Corpus, target: str | Path, model: Translator, search: Search, *, ctc_weight: float = 0.0,
    to: Kind | None = None, vocoder: Vocoder | None = None, units: Mapping[str, np.ndarray] | None = None,
) -> Translated:  # fmt: skip
    """All utterances, into a folder. Raises DataError where `target` holds anything else, and as `check`.

    units: of the utterances, in place of their recordings, for a model that reads units.
    """
    to = check(model, to, vocoder)
    stream = hypotheses(corpus, model, search, ctc_weight=ctc_weight, units=units)
    claimed = _claimed(corpus, model, search, ctc_weight, units or {})
    return write(stream, Path(target), model, claimed, output=model.output, nbest=search.num_best > 1, to=to,
                 voice=vocoder)  # fmt: skip


def write(
    stream: Stream, target: Path, model: Speaks, claimed: dict[str, str], *, output: Output, nbest: bool, to: Kind,
    voice: Voice | None, speaker: str | None = None, verb: str = "translate",
) -> Translated:  # fmt: skip
    """What a model says of utterances, into a folder; spoken where there is a voice, by `speaker`.

    claimed: what decides it; VERB.json holds it, and a folder with another is refused with DataError.
    """
    claim(target, claimed, verb)
    name = "text" if to == "text" else "units"
    lines, ranked, failures, best = [], [], [], []
    with lock.writing(target, (0, 1)):
        atomic.clean(target, verb)
        for utterance, found in stream:
            check_id(utterance.id, f"{target}/{name}")
            if isinstance(found, AudioError):
                failures.append((utterance.id, found.code, " ".join(str(found).split())))
                continue
            texts = [_shown(model, one) for one in found]
            lines.append(f"{utterance.id} {texts[0]}".rstrip())
            best.append((utterance, found[0]))
            ranked += ["\t".join((utterance.id, str(rank), f"{one.score:.6f}", str(one.ended).lower(), text))
                       for rank, (one, text) in enumerate(zip(found, texts, strict=True), 1)]  # fmt: skip
        with atomic.scratch(target, verb) as scratch:
            tables = {name: lines, "failures.tsv": ["id\tcode\terror", *map("\t".join, failures)]}
            if nbest:
                tables["nbest.tsv"] = ["id\trank\tscore\tended\toutput", *ranked]
            for file, rows in tables.items():
                (scratch / file).write_text("".join(row + "\n" for row in rows), encoding="utf-8")
            atomic.commit(scratch, target)
    empty, unended = (sum(flags) for flags in ([not h.tokens for _, h in best], [not h.ended for _, h in best]))
    speaking = Speaking(speaker, durations="predicted" if output.reduced else "kept")
    spoken = 0 if voice is None else _speak(best, target / "speech", voice, speaking).utterances
    return Translated(str(target), len(best), empty, unended, len(failures), spoken)


def _shown(model: Speaks, found: Hypothesis) -> str:
    text = model.spell(found.tokens)
    return " ".join(text.split()) if isinstance(text, str) else " ".join(map(str, text.tolist()))


def _claimed(
    corpus: Corpus, model: Translator, search: Search, ctc_weight: float, units: Mapping[str, np.ndarray]
) -> dict[str, str]:
    digest = hashlib.sha256()
    for row in corpus.utterances:
        own = units[row.id].tolist() if row.id in units else []
        digest.update(json.dumps([row.id, row.audio, row.start_s, row.end_s, *own]).encode())
    return claimed_of(digest.hexdigest(), model, model.output, {**dataclasses.asdict(search), "ctc_weight": ctc_weight})


def claimed_of(digest: str, model: Speaks, output: Output, searched: dict[str, object]) -> dict[str, str]:
    """What decides a folder: the input's digest, the model, what it says, and how it is searched."""
    says = json.dumps(dataclasses.asdict(output), sort_keys=True)
    return {"format": _FORMAT, "input": digest, "model": model.sha256, "says": says,
            "search": json.dumps(searched, sort_keys=True)}  # fmt: skip


def _speak(best: list[tuple[Utterance, Hypothesis]], target: Path, voice: Voice, speaking: Speaking) -> Resynthesis:
    """Reduced units get the voice's own durations; units of all frames have theirs."""
    card = spoken_units(voice)
    digest = hashlib.sha256(json.dumps([[u.id, *h.tokens] for u, h in best]).encode()).hexdigest()
    claimed = {"format": _FORMAT, "units": digest, "vocoder": voice.identity}
    spoken = ((utterance, _units(found, card.rate_hz, card.num_units)) for utterance, found in best)
    return resynthesize(spoken, target, voice, speaking, claimed)


def _units(found: Hypothesis, rate_hz: float, size: int) -> Units | AudioError:
    if not found.tokens:
        return AudioError("no-units", f"the best hypothesis has no unit (score {_finite(found.score)})")
    return Units.from_frames(np.array(found.tokens), rate_hz=rate_hz, size=size).dedup()


def _finite(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"

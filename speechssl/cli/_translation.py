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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np

from speechssl.cli._hearing import Stream, Translator, hypotheses
from speechssl.data.corpus import Corpus
from speechssl.data.lines import check_id
from speechssl.data.utterance import Utterance
from speechssl.decoders.search import Hypothesis, Search
from speechssl.errors import AudioError, ConfigError, DataError
from speechssl.extract import atomic, lock
from speechssl.extract.resynthesis import Resynthesis, Speaking, resynthesize
from speechssl.extract.waveforms import claim
from speechssl.generation.model import Output
from speechssl.units.mel_voice import MelVoice
from speechssl.units.units import Units
from speechssl.units.vocoder import SpokenUnits, Vocoder
from speechssl.units.voice_conversion import TargetVoice

_FORMAT = "speechssl-translated-1"
Kind = Literal["units", "text", "speech"]
Voice: TypeAlias = Vocoder | MelVoice | TargetVoice


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


def check(model: Translator, to: Kind | None, voice: Voice | None) -> Kind:
    """What is made: as asked, or what the model says. Raises ConfigError or DataError for what it cannot."""
    to = to or model.output.kind
    if (to == "text") != (model.output.kind == "text"):
        raise ConfigError(f"this model says {model.output.kind}: --to {to} is not possible with it")
    if (to == "speech") != (voice is not None):
        raise ConfigError("speech needs a vocoder of the model's units: --to speech and --vocoder or --mel-decoder go "
                          "together")  # fmt: skip
    if voice is not None:
        check_voice(voice, model.output, model.num_symbols)
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


def translate(
    corpus: Corpus, target: str | Path, model: Translator, search: Search, *, ctc_weight: float = 0.0,
    to: Kind | None = None, voice: Voice | None = None, speaker: str | None = None,
    units: Mapping[str, np.ndarray] | None = None,
) -> Translated:  # fmt: skip
    """All utterances, into a folder. Raises DataError where `target` holds anything else, and as `check`.

    voice: of whoever speaks; speaker: that one's name, for tables. units: of the utterances, in place of their
    recordings, for a model that reads units.
    """
    to = check(model, to, voice)
    stream = hypotheses(corpus, model, search, ctc_weight=ctc_weight, units=units)
    claimed = _claimed(corpus, model, search, ctc_weight, units or {})
    return write(stream, Path(target), model, claimed, output=model.output, nbest=search.num_best > 1, to=to,
                 voice=voice, speaker=speaker)  # fmt: skip


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

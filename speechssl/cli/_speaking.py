"""Texts to units by a model of recipes.text_to_units, and on to speech: what `speak` does once its models are there."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from speechssl.cli._hearing import BATCH, Batch, Stream
from speechssl.cli._translation import Translated, check_voice, claimed_of, write
from speechssl.cli._voices import voice_as
from speechssl.data.corpus import Corpus
from speechssl.data.texts import LANGUAGES, open_texts
from speechssl.data.utterance import Utterance
from speechssl.decoders.search import Search
from speechssl.errors import AudioError, ConfigError, DataError
from speechssl.generation.text_to_units import TextToUnits
from speechssl.units.mel_voice import MelVoice
from speechssl.units.vocoder import Vocoder


def read(given: Sequence[str], model: TextToUnits) -> Corpus:
    """The texts of files and folders, or the given words themselves, each an utterance text-1, text-2 and so on.

    DataError for words that the model cannot say, and for files and words together.
    """
    there = [one != "" and Path(one).exists() for one in given]  # Path("") is this folder
    if any(there) and (len(given) > 1 or not all(there)):
        raise DataError("give one file or folder of texts, or texts themselves")
    if any(there):
        return open_texts(given[0])
    for text in given:
        model.symbols(text)
    return Corpus([Utterance(f"text-{number}", "", text=text) for number, text in enumerate(given, 1)], "text", "")


def languages_of(corpus: Corpus, model: TextToUnits, language: str | None) -> list[int]:
    """Numbers of the utterances' languages: the one that is wanted, or else utt2lang's. ConfigError for others."""
    if language is not None:
        return [model.language(language)] * len(corpus)
    return [model.language((row.extra or {}).get(LANGUAGES)) for row in corpus.utterances]


def hypotheses(
    corpus: Corpus, model: TextToUnits, search: Search, languages: Sequence[int], speaker: Tensor | None
) -> Stream:
    """Every utterance with its hypotheses, best first, or with what is wrong with its text."""
    for first in range(0, len(corpus), BATCH):
        rows, symbols, tags = list(corpus.utterances[first : first + BATCH]), [], []
        failed: list[AudioError | None] = []
        for row, language in zip(rows, languages[first : first + BATCH], strict=True):
            try:
                symbols.append(model.symbols(row.text or ""))
                tags.append(language)
                failed.append(None)
            except DataError as error:
                failed.append(AudioError("text", str(error)))
        yield from Batch(rows, failed, [], symbols).joined(model.hypotheses(symbols, tags, search, speaker))


def speak(
    corpus: Corpus, target: str | Path, model: TextToUnits, search: Search, *, language: str | None = None,
    speaker: str | None = None, voice: Vocoder | MelVoice | None = None,
) -> Translated:  # fmt: skip
    """All texts, into a folder: see `cli._translation`. Raises ConfigError and DataError before anything is written."""
    languages = languages_of(corpus, model, language)
    told = bool(model.speaker_inputs) or voice is None
    prompt = model.prompt(speaker if told else None)
    spoken, name = voice_as(voice, speaker, told=told)
    if spoken is not None:
        check_voice(spoken, model.output, model.num_symbols)
    digest = hashlib.sha256(b"" if prompt is None else prompt.cpu().numpy().tobytes())
    for row, tag in zip(corpus.utterances, languages, strict=True):
        digest.update(json.dumps([row.id, row.text, tag]).encode())
    claimed = claimed_of(digest.hexdigest(), model, model.output, dataclasses.asdict(search))
    return write(hypotheses(corpus, model, search, languages, prompt), Path(target), model, claimed,
                 output=model.output, nbest=search.num_best > 1, to="units" if spoken is None else "speech",
                 voice=spoken, speaker=name, verb="speak")  # fmt: skip


def print_units(
    corpus: Corpus, model: TextToUnits, search: Search, *, language: str | None = None, speaker: str | None = None
) -> int:
    """A line `id 17 4 ...` of each text that can be said; the exit code. DataError for the first that cannot."""
    if search.num_best > 1:
        raise ConfigError("--num-best has no effect without an output folder (-o OUT)")
    languages, prompt = languages_of(corpus, model, language), model.prompt(speaker)
    for row, found in hypotheses(corpus, model, search, languages, prompt):
        if isinstance(found, AudioError):
            raise DataError(f"{row.id}: {found}")
        print(" ".join([row.id, *map(str, model.spell(found[0].tokens if found else ()).tolist())]), flush=True)
    return 0

"""Texts of several languages with the units of their speech, and who speaks: what a text-to-unit model learns from."""

from collections.abc import Mapping, Sequence

import numpy as np

from speechssl.data.corpus import Corpus
from speechssl.data.targets import Encode, Targets
from speechssl.data.unit_batches import UnitSet
from speechssl.data.unit_corpus import Languages, read_languages
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError


def open_text_units(
    texts: Mapping[str, Sequence[Corpus]], units: Languages, encode: Encode, *, most: int, least: int = 1,
    reduced: bool = True, size: int | None = None, rate_hz: int = 50, names: Sequence[str] | None = None,
    speakers: Sequence[str] | None = None,
) -> UnitSet:  # fmt: skip
    """Texts of each language's corpora as symbols, with units as targets, joined by utterance id.

    The first corpus of a language belongs to its first folder or file of units, and so on. encode: from a text to
    numbers; what it refuses with DataError, and utterances without a text, units, or one of `speakers` (None: nobody
    says who speaks), become failures, as do those of fewer than `least` or more than `most` symbols or units. rate_hz:
    units and symbols a second, by which batches go. names: languages that there are, in the order of `groups`. Raises
    DataError where texts and units are not of the same languages, and where nothing is left.
    """
    names = tuple(texts) if names is None else tuple(names)
    streams, model = read_languages(units, names, reduced=reduced, size=size)
    if {name: len(found) for name, found in texts.items()} != {name: len(found) for name, found in units.items()}:
        raise DataError(f"texts of {_counts(texts)}, and units of {_counts(units)}: each text needs its units")
    numbers = None if speakers is None else {name: number for number, name in enumerate(speakers)}
    rows: list[Utterance] = []
    symbols, targets, groups, who, failures = [], [], [], [], []
    for (language, number), stream in streams.items():
        corpus = texts[language][number]
        for utterance in corpus.utterances:
            own, said = f"{language}:{number}:{utterance.id}", stream.of.get(utterance.id)
            try:
                ids = np.array(encode(utterance.text or ""), dtype=np.int32)
                _check(ids, said, least, most)
                if numbers is not None and utterance.speaker not in numbers:
                    raise DataError(f"nothing is known of its speaker {utterance.speaker!r}")
            except DataError as error:
                failures.append((own, str(error)))
                continue
            assert said is not None
            rows.append(Utterance(own, "", speaker=utterance.speaker, text=utterance.text))
            symbols.append(ids[:, None])
            targets.append(said)
            groups.append(names.index(language))
            who.append(0 if numbers is None else numbers[str(utterance.speaker)])
        there = {utterance.id for utterance in corpus.utterances}
        failures += [(f"{language}:{number}:{name}", "units without a text") for name in stream.of if name not in there]
    if not symbols:
        reasons = ", ".join(sorted({reason for _, reason in failures})[:3])
        raise DataError(f"none of {len(failures)} utterances can be used ({reasons})")
    seconds = np.array([max(len(one), len(other)) for one, other in zip(symbols, targets, strict=True)]) / rate_hz
    source = ", ".join(corpus.source for corpora in texts.values() for corpus in corpora)
    return UnitSet(Corpus(rows, "texts", source), tuple(symbols), (max(stream.size for stream in streams.values()),),
                   Targets.join(targets), seconds, tuple(failures), rate_hz, (model,), groups=np.array(groups),
                   speakers=None if numbers is None else np.array(who))  # fmt: skip


def _check(symbols: np.ndarray, units: np.ndarray | None, least: int, most: int) -> None:
    """DataError where a pair cannot be used."""
    if not len(symbols):
        raise DataError("no text")
    if units is None or not len(units):
        raise DataError("no units")
    for count, what, smallest in ((len(symbols), "symbols of its text", 1), (len(units), "units", least)):
        if not smallest <= count <= most:
            raise DataError(f"{count} {what} are not {smallest}..{most}")


def _counts(found: Mapping[str, Sequence[object]]) -> str:
    return ", ".join(f"{language} ({len(those)})" for language, those in found.items()) or "nothing"

"""Texts of utterances to phones, and words to a lexicon; what cannot be used is listed with its reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from speechssl.errors import DataError
from speechssl.phones.espeak import Espeak, foreign, main_script

Foreign = Literal["skip", "keep"]


@dataclass(frozen=True)
class Phonemized:
    """phones: of each text, spaces between them. left_out: why a text has none. notes: what is odd about those kept."""

    phones: dict[str, str]
    left_out: dict[str, str]
    notes: dict[str, str]


def phonemize(texts: Mapping[str, str], espeak: Espeak, *, others: Foreign = "skip") -> Phonemized:
    """Phones of texts by id.

    others: what is done with texts that hold pictures or letters of another script than most (espeak says their names,
    or reads them as English) or words that espeak reads as of another language. Empty texts, and
    those with a word for which espeak says nothing, are left out always: their speech has more than their phones.
    """
    phones: dict[str, str] = {}
    left_out: dict[str, str] = {}
    notes: dict[str, str] = {}
    script = main_script(texts.values())
    for name, text in texts.items():
        odd = []
        if letters := foreign(text, script):
            odd.append(f"signs that are no {script} letters: {' '.join(letters[:5])}")
        if odd and others == "skip":
            left_out[name] = odd[0]
            continue
        try:
            spoken = espeak(text)
        except DataError as error:
            left_out[name] = str(error)
            continue
        if spoken.switched:
            odd.append(f"read as of another language: {' '.join(spoken.switched)}")
        if spoken.silent:
            left_out[name] = f"espeak says nothing for {spoken.silent[0]!r}"
        elif odd and others == "skip":
            left_out[name] = odd[0]
        else:
            phones[name] = " ".join(spoken.phones)
            if odd:
                notes[name] = "; ".join(odd)
    return Phonemized(phones, left_out, notes)


def lexicon(words: Iterable[str], espeak: Espeak, *, others: Foreign = "skip") -> Phonemized:
    """Phones of each word said alone: what a word is in connected speech (French liaison) is not in it."""
    return phonemize({word: word for word in words}, espeak, others=others)

"""Text to phonemes by espeak-ng, through phonemizer's wrapper of its library.

The library is the one that espeakng-loader brings, or the system's where that is not installed. Both are in the extra
`speechssl[phones]`; espeak-ng and phonemizer are under the GPL and are loaded only where this is used.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from speechssl.errors import ConfigError, DataError
from speechssl.phones.segments import Rules, segments

_SWITCH = re.compile(r"\([a-z0-9-]+\)")  # espeak says so where a word is read as of another language: (en) … (fr)


@dataclass(frozen=True)
class Spoken:
    """Phones of each word of a text, as espeak divides it (it may join or divide words), and what is odd about it."""

    words: tuple[tuple[str, ...], ...]
    switched: tuple[str, ...] = ()  # (en): read as another language's
    silent: tuple[str, ...] = ()  # words with letters or digits for which espeak says nothing

    @property
    def phones(self) -> list[str]:
        """Of all words."""
        return [phone for word in self.words for phone in word]


class Espeak:
    """One voice of espeak. Raises ConfigError for a language that it lacks, or where it is not installed."""

    def __init__(self, language: str, rules: Rules | None = None) -> None:
        self.language = language
        self.rules = rules or Rules()
        self._library = _library()
        self._voices = {voice.language for voice in self._library.available_voices()}
        if language not in self._voices:
            near = sorted(voice for voice in self._voices if voice[:2] == language[:2])
            raise ConfigError(f"espeak has no language {language!r}; " + (
                f"near it: {', '.join(near)}" if near else f"it has {', '.join(sorted(self._voices))}"))  # fmt: skip
        self._alone: dict[str, bool] = {}

    def __call__(self, text: str) -> Spoken:
        """Phones of a text. DataError for an empty one, or one for which espeak says nothing."""
        if not text.strip():
            raise DataError("an empty text has no phones")
        raw = self._raw(text)
        switched = _SWITCH.findall(raw)
        words = [self._word(word) for word in _SWITCH.sub(" ", raw).split()]
        words = [word for word in words if word]
        if not words:
            raise DataError(f"espeak says nothing for {text[:60]!r} as {self.language}")
        silent = tuple(word for word in text.split() if not self._is_spoken(word))
        return Spoken(tuple(words), tuple(dict.fromkeys(switched)), silent)

    def _raw(self, text: str) -> str:
        """Words with spaces, phonemes with _ between them. The library serves all voices: it is set each time."""
        voice = self._library.voice
        if voice is None or voice.language != self.language:
            self._library.set_voice(self.language)
        return self._library.text_to_phonemes(unicodedata.normalize("NFC", text).replace("\0", " "))

    def _word(self, word: str) -> tuple[str, ...]:
        return tuple(segment for phoneme in word.split("_") for segment in segments(phoneme, self.rules))

    def _is_spoken(self, word: str) -> bool:
        """Whether a word alone gives phones; signs without letters or digits need not."""
        if not any(unicodedata.category(sign)[0] in "LN" for sign in word):
            return True
        if word not in self._alone:
            self._alone[word] = any(map(self._word, _SWITCH.sub(" ", self._raw(word)).split()))
        return self._alone[word]


def script(letter: str) -> str:
    """LATIN, CYRILLIC, GREEK … of a letter, by its name in Unicode."""
    return unicodedata.name(letter, "UNNAMED").partition(" ")[0]


def main_script(texts: Iterable[str]) -> str | None:
    """The script of most letters; None where there are no letters."""
    counts = Counter(script(sign) for text in texts for sign in text if sign.isalpha())
    return counts.most_common(1)[0][0] if counts else None


def foreign(text: str, own: str | None) -> list[str]:
    """Letters of another script, and pictures, each once: espeak reads them as another language or says their names."""
    odd = (s for s in text if unicodedata.category(s) == "So" or (s.isalpha() and script(s) != own))
    return list(dict.fromkeys(odd))


@cache
def _library() -> Any:
    """phonemizer's wrapper, once: every one of them copies the library."""
    try:
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise ConfigError(f"phonemes need phonemizer ({error}): pip install 'speechssl[phones]'") from None
    try:
        import espeakng_loader

        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    except ImportError:
        pass  # the system's library
    try:
        return EspeakWrapper()
    except RuntimeError as error:
        raise ConfigError(f"espeak-ng is not here ({error}): pip install 'speechssl[phones]'") from None

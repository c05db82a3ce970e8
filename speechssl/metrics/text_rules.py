"""What is done to both sides before texts are compared."""

import unicodedata
from dataclasses import dataclass
from typing import Literal

from speechssl.errors import ConfigError
from speechssl.metrics.english_numbers import spelled

_APOSTROPHES = "'’"


@dataclass(frozen=True)
class TextRules:
    """Always: Unicode's composed form (NFC), single spaces, none at the ends. The rest is as asked.

    case: keep, or lower. punctuation: keep, or remove: characters of Unicode's categories P become spaces, but for an
    apostrophe between two letters or digits; or all: that too, as in texts of which somebody kept letters alone.
    numbers: keep, or english: those in figures become English words (`english_numbers.spelled`), so that who writes 12
    and who writes twelve agree.
    """

    case: Literal["keep", "lower"] = "keep"
    punctuation: Literal["keep", "remove", "all"] = "keep"
    numbers: Literal["keep", "english"] = "keep"

    def __post_init__(self) -> None:
        if self.case not in ("keep", "lower") or self.punctuation not in ("keep", "remove", "all"):
            raise ConfigError(f"case is keep or lower, punctuation keep, remove or all: {self}")
        if self.numbers not in ("keep", "english"):
            raise ConfigError(f"numbers are keep or english: {self}")

    def __call__(self, text: str) -> str:
        """The text as it is compared."""
        text = unicodedata.normalize("NFC", text)
        if self.numbers == "english":
            text = spelled(text)
        if self.case == "lower":
            text = unicodedata.normalize("NFC", text.lower())
        if self.punctuation != "keep":
            kept = "" if self.punctuation == "all" else _APOSTROPHES
            text = "".join(" " if _falls(text, i, kept) else c for i, c in enumerate(text))
        return " ".join(text.split())


def _falls(text: str, place: int, kept: str) -> bool:
    """Whether the character there is punctuation that is removed."""
    if not unicodedata.category(text[place]).startswith("P"):
        return False
    inside = 0 < place < len(text) - 1 and text[place - 1].isalnum() and text[place + 1].isalnum()
    return not (inside and text[place] in kept)

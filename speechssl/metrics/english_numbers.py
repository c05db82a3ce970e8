"""Numbers that stand in figures, in English words: `12` and `twelve` are said alike, and 20th and twentieth."""

import re

_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINAL = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
            "twelve": "twelfth"}  # fmt: skip
_FIGURES = re.compile(r"\d+(?:(?:st|nd|rd|th)\b)?", re.ASCII)


def spelled(text: str) -> str:
    """The text with every run of figures in words, spaces around them.

    Below a million as one number, without "and"; longer ones, and those that begin with a zero, figure by figure. 1st,
    2nd ... are ordinals.
    """
    return _FIGURES.sub(lambda found: f" {_words(found.group())} ", text)


def _words(figures: str) -> str:
    digits = figures.rstrip("sthndr")
    if len(digits) > 6 or (len(digits) > 1 and digits[0] == "0"):
        words = [_ONES[int(digit)] for digit in digits]
    else:
        words = _cardinal(int(digits))
    if digits != figures:
        last = words[-1]
        words[-1] = _ORDINAL.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return " ".join(words)


def _cardinal(number: int) -> list[str]:
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return [*_cardinal(number // size), name, *(_cardinal(rest) if rest else [])]
    if number < 20:
        return [_ONES[number]]
    tens = _TENS[number // 10 - 2]
    return [tens, _ONES[number % 10]] if number % 10 else [tens]

"""Interval tiers of Praat TextGrid files, long and short text format (as written by Praat and the Montreal aligner)."""

import re
from pathlib import Path

from speechssl import files
from speechssl.errors import DataError

# What remains of either format once names like `xmin =` are gone: numbers, quoted strings ("" is a quote), <exists>.
_TOKEN = re.compile(r'"(?:[^"]|"")*"|<exists>|(?<![\w\[.+-])[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w\]])')


def read_textgrid(path: Path, tier: str = "") -> list[tuple[float, float, str]]:
    """Start, end (seconds) and label of the intervals of one tier: `tier`, else `phones`, else the only one.

    Intervals without text stay, with the label "". Raises DataError for other files and absent tiers.
    """
    try:
        raw = files.read_bytes(path)
    except OSError as error:
        raise DataError(f"{path}: not a TextGrid: {error.strerror}") from None
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        tokens = _TOKEN.findall(raw.decode(encoding))
        tiers = _interval_tiers(tokens)
    except (UnicodeDecodeError, IndexError, ValueError) as error:
        raise DataError(f"{path}: not a TextGrid in text format: {error}") from error
    if tier and tier not in tiers:
        raise DataError(f"{path}: no interval tier {tier!r} (there: {', '.join(tiers) or 'none'})")
    name = tier or ("phones" if "phones" in tiers else next(iter(tiers), ""))
    if not tier and name != "phones" and len(tiers) != 1:
        raise DataError(f"{path}: which of the tiers? {', '.join(tiers) or 'there is none'}; name one")
    return tiers[name]


def _interval_tiers(tokens: list[str]) -> dict[str, list[tuple[float, float, str]]]:
    if [_text(token) for token in tokens[:2]] != ["ooTextFile", "TextGrid"]:
        raise ValueError("the header is not that of an ooTextFile TextGrid")
    rest = iter(tokens[2:])
    try:
        float(next(rest)), float(next(rest)), next(rest)  # start and end of the recording, <exists>
        tiers: dict[str, list[tuple[float, float, str]]] = {}
        for _ in range(int(next(rest))):
            kind, name = _text(next(rest)), _text(next(rest))
            float(next(rest)), float(next(rest))
            if kind == "IntervalTier":
                count = int(next(rest))
                tiers[name] = [(float(next(rest)), float(next(rest)), _text(next(rest))) for _ in range(count)]
            else:  # points: a time and a mark each
                for _ in range(int(next(rest))):
                    float(next(rest)), _text(next(rest))
    except StopIteration:
        raise ValueError("the file ends too early") from None
    return tiers


def _text(token: str) -> str:
    if not token.startswith('"'):
        raise ValueError(f"found {token} where a quoted text was due")
    return token[1:-1].replace('""', '"')

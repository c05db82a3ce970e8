"""Back-off n-gram models as ARPA text, the format of SRILM, KenLM and others; read with bounds, written whole.

A model without <unk> gets one of log10 probability -100, as KenLM does; no log10 counts as less.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speechssl.data.lines import read_lines, write_lines
from speechssl.decoders.ngram import UNKNOWN, FloatArray, IntArray, NgramModel
from speechssl.errors import DataError

MOST_NGRAMS, MOST_ORDER = 200_000_000, 12  # 140 bytes each while they are read; LibriSpeech's 4-gram has 143 million
_LN10 = float(np.log(10))
_UNKNOWN_LOG10 = -100.0
Table = tuple[IntArray, FloatArray, FloatArray]


def read_arpa(path: Path) -> NgramModel:
    """The model of an ARPA file, gzipped or not. Raises DataError naming the line."""
    lines = _Lines(path)
    sizes = _sizes(lines)
    words: dict[str, int] = {}
    tables = [_table(lines, order, size, words, last=order == len(sizes)) for order, size in enumerate(sizes, 1)]
    lines.expect("\\end\\")
    if UNKNOWN not in words:
        words[UNKNOWN] = len(words)
        grams, logps, backoffs = tables[0]
        tables[0] = (np.vstack((grams, [[words[UNKNOWN]]])), np.append(logps, _UNKNOWN_LOG10 * _LN10),
                     np.append(backoffs, 0.0))  # fmt: skip
    try:
        return NgramModel(list(words), tables)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


class _Lines:
    """Lines that are not empty, with their number."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0
        self._lines = ((number, text) for number, line in read_lines(path) if (text := line.strip(" \t")))

    def next(self, wanted: str) -> str:
        found = next(self._lines, None)
        if found is None:
            raise DataError(f"{self.path}: ends after line {self.number}, where {wanted} was due")
        self.number, text = found
        return text

    def expect(self, header: str) -> None:
        if (found := self.next(header)) != header:
            raise self.error(f"expected {header}, found {found!r:.80}")

    def error(self, message: str) -> DataError:
        return DataError(f"{self.path}:{self.number}: {message}")


def _sizes(lines: _Lines) -> list[int]:
    """Numbers of n-grams from `\\data\\`, up to and with the header of the unigrams."""
    while lines.next("\\data\\") != "\\data\\":
        pass
    sizes: list[int] = []
    while (text := lines.next("\\1-grams:")) != "\\1-grams:":
        found = re.fullmatch(r"ngram (\d{1,2}) ?= ?(\d{1,12})", text)
        if not found or int(found[1]) != len(sizes) + 1:
            raise lines.error(f"expected `ngram {len(sizes) + 1}=COUNT`, found {text!r:.80}")
        sizes.append(int(found[2]))
        if len(sizes) > MOST_ORDER or sum(sizes) > MOST_NGRAMS:
            raise lines.error(f"more than {MOST_NGRAMS} n-grams or orders above {MOST_ORDER}: prune the model")
    if not sizes or not sizes[0]:
        raise lines.error("a language model without unigrams")
    return sizes


def _table(lines: _Lines, order: int, size: int, words: dict[str, int], *, last: bool) -> Table:
    if order > 1:
        lines.expect(f"\\{order}-grams:")
    ids: list[int] = []
    numbers: list[tuple[float, float]] = []
    for _ in range(size):
        text = lines.next(f"one of {size} {order}-grams")
        fields = re.split(r"[ \t]+", text)
        if not order + 1 <= len(fields) <= order + (1 if last else 2):
            raise lines.error(f"expected a {order}-gram with its log probability, found {text!r:.80}")
        try:
            numbers.append((float(fields[0]), float(fields[order + 1]) if len(fields) > order + 1 else 0.0))
            ids += [words.setdefault(w, len(words)) if order == 1 else words[w] for w in fields[1 : order + 1]]
        except KeyError as error:
            raise lines.error(f"{error.args[0]!r} is not among the unigrams") from None
        except ValueError:
            raise lines.error(f"expected numbers beside the words, found {text!r:.80}") from None
        if not numbers[-1][0] <= 1e-3 or not numbers[-1][1] < np.inf:
            raise lines.error(f"no log probability and back-off weight: {text!r:.80}")
    values = np.array(numbers, np.float64).reshape(-1, 2) * _LN10
    return np.array(ids, np.int64).reshape(-1, order), values[:, 0], values[:, 1]


def write_arpa(path: Path, model: NgramModel) -> None:
    """Write a model, gzipped where the name ends in .gz. Log10 with 7 decimals."""
    write_lines(path, _lines(model))


def _lines(model: NgramModel) -> Iterator[str]:
    yield "\\data\\"
    for order, (grams, _, _) in enumerate(model.tables, 1):
        yield f"ngram {order}={len(grams)}"
    for order, (grams, logps, backoffs) in enumerate(model.tables, 1):
        yield f"\n\\{order}-grams:"
        for gram, logp, backoff in zip(grams.tolist(), logps / _LN10, backoffs / _LN10, strict=True):
            text = f"{logp:.7f}\t{' '.join(model.words[i] for i in gram)}"
            yield text if order == model.order or not backoff else f"{text}\t{backoff:.7f}"
    yield "\n\\end\\"

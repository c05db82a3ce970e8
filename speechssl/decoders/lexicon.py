"""Words and how they are spelled in symbols, as a tree.

A file has lines `word symbol symbol ...`; a word may come several times, with another spelling each. N nodes (0 is the
root, children come after parents), W entries, V symbols.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from speechssl.data.lines import read_table
from speechssl.decoders.ngram import FloatArray, IntArray
from speechssl.errors import DataError

Entry = tuple[str, tuple[int, ...]]


class Lexicon:
    """A tree of spellings. Raises DataError for none, an empty one, and for an entry that comes twice.

    `parent`, `symbol` [N]: of each node. Children of node n: `child[first_child[n] : first_child[n + 1]]`; entries that
    end in n: `entry[first_entry[n] : first_entry[n + 1]]`, numbers of `words`. `node_of[node * V + symbol]`: a child.
    """

    def __init__(self, entries: Iterable[Entry], *, num_symbols: int) -> None:
        self.node_of: dict[int, int] = {}
        ends, self.words = [], []
        seen: set[Entry] = set()
        for word, spelling in entries:
            if not spelling or not 0 <= min(spelling) <= max(spelling) < num_symbols:
                raise DataError(f"the spelling of {word!r} must be of symbols 0..{num_symbols - 1}, found {spelling}")
            if (word, spelling) in seen:
                raise DataError(f"{word!r} has the same spelling twice in the lexicon")
            seen.add((word, spelling))
            node = 0
            for symbol in spelling:
                node = self.node_of.setdefault(node * num_symbols + symbol, len(self.node_of) + 1)
            ends.append(node)
            self.words.append(word)
        if not ends:
            raise DataError("a lexicon without words")
        keys = np.fromiter(self.node_of, np.int64, len(self.node_of))
        self.num_nodes = len(keys) + 1
        self.parent, self.symbol = np.append(-1, keys // num_symbols), np.append(-1, keys % num_symbols)
        self.child = 1 + np.argsort(self.parent[1:], kind="stable")
        self.first_child = np.searchsorted(self.parent[self.child], np.arange(self.num_nodes + 1))
        self.num_children = np.diff(self.first_child)  # [N]
        self.entry = np.argsort(ends, kind="stable")
        self.first_entry = np.searchsorted(np.sort(ends), np.arange(self.num_nodes + 1))
        self.num_entries = np.diff(self.first_entry)  # that end in each node [N]

    def best_below(self, values: FloatArray) -> FloatArray:
        """For each node [N] the largest of the values [W] of entries that end in it or below."""
        best = np.full(self.num_nodes, -np.inf)
        np.maximum.at(best, np.repeat(np.arange(self.num_nodes), self.num_entries), values[self.entry])
        for node, parent in zip(range(self.num_nodes - 1, 0, -1), self.parent[:0:-1].tolist(), strict=True):
            if best[node] > best[parent]:
                best[parent] = best[node]
        return best

    def children(self, nodes: IntArray) -> tuple[IntArray, IntArray]:
        """Of nodes [M]: which of them each child belongs to, and the children."""
        counts = self.num_children[nodes]
        rows = np.repeat(np.arange(len(nodes)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.child[self.first_child[nodes][rows] + within]


def read_lexicon(path: Path, symbols: Sequence[str], *, boundary: str | None = None) -> Lexicon:
    """The lexicon of a file. A word boundary that ends a spelling is left out, as torchaudio's lexicons have it.

    Raises DataError naming the line where a spelling has none or other symbols.
    """
    number_of = {symbol: i for i, symbol in enumerate(symbols)}

    def entries() -> Iterable[Entry]:
        for line, word, rest in read_table(path):
            spelling = rest.split()
            if boundary is not None and spelling[-1:] == [boundary]:
                spelling.pop()
            if unknown := [symbol for symbol in spelling if symbol not in number_of or symbol == boundary]:
                raise DataError(f"{path}:{line}: {unknown[0]!r} in the spelling of {word!r} is no symbol of a word")
            yield word, tuple(number_of[symbol] for symbol in spelling)

    try:
        return Lexicon(entries(), num_symbols=len(symbols))
    except DataError as error:
        raise error if str(error).startswith(str(path)) else DataError(f"{path}: {error}") from None


def spelled(words: Iterable[str], symbols: Sequence[str]) -> Lexicon:
    """The lexicon of words that are spelled with one character a symbol; words with other characters are left out."""
    number_of = {symbol: i for i, symbol in enumerate(symbols) if len(symbol) == 1}
    entries = (
        (word, tuple(number_of[c] for c in word)) for word in words if all(c in number_of for c in word) and word
    )
    return Lexicon(entries, num_symbols=len(symbols))

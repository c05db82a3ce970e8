"""Lexicons: the tree, files, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from speechssl.decoders.lexicon import Lexicon, read_lexicon, spelled
from speechssl.errors import DataError

SYMBOLS = ("<blank>", "|", "a", "b", "ch")


def test_the_tree_by_hand() -> None:
    """Root -> a (ah, are) -> b (abe); root -> b."""
    tree = Lexicon([("abe", (2, 3)), ("ah", (2,)), ("bee", (3,)), ("are", (2,))], num_symbols=5)
    assert tree.num_nodes == 4 and tree.parent.tolist() == [-1, 0, 1, 0] and tree.symbol.tolist() == [-1, 2, 3, 3]
    rows, children = tree.children(np.array([1, 0, 2]))
    assert rows.tolist() == [0, 1, 1] and children.tolist() == [2, 1, 3]
    assert tree.node_of == {0 * 5 + 2: 1, 1 * 5 + 3: 2, 0 * 5 + 3: 3} and tree.num_children.tolist() == [2, 1, 0, 0]
    ends = [[tree.words[i] for i in tree.entry[tree.first_entry[n] : tree.first_entry[n + 1]]] for n in range(4)]
    assert ends == [[], ["ah", "are"], ["abe"], ["bee"]]
    assert tree.best_below(np.array([-1.0, -2, -3, -4])).tolist() == [-1, -1, -1, -3]


def test_files_are_read_with_and_without_the_boundary(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("abe a b |\nabe a ch\nchab ch a b\n")
    found = read_lexicon(path, SYMBOLS, boundary="|")
    assert found.words == ["abe", "abe", "chab"] and found.num_nodes == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abe a x\n", "lexicon.txt:1: 'x' in the spelling of 'abe'"),
        ("abe a | b\n", "lexicon.txt:1: '|' in the spelling"),
        ("abe\n", "lexicon.txt:1: 'abe' has no value"),
        ("abe |\n", "lexicon.txt: the spelling of 'abe' must be"),
        ("abe a b\nabe a b |\n", "'abe' has the same spelling twice"),
        ("", "a lexicon without words"),
    ],
)
def test_other_lexicons_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_lexicon(path, SYMBOLS, boundary="|")
    assert message in str(error.value) and str(error.value).startswith(str(path))


def test_words_are_spelled_by_their_characters() -> None:
    assert spelled(["ab", "b", "chab", "", "b-a"], SYMBOLS).words == ["ab", "b"]
    with pytest.raises(DataError, match="without words"):
        spelled(["chab"], SYMBOLS)

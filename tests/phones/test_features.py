"""panphon's features and distances of phones."""

from pathlib import Path

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.phones import features

TABLE = """ipa,syl,voi,nas,hi
p,-,-,-,0
b,-,+,-,0
m,-,+,+,0
i,+,+,-,+
ç,-,-,-,+
"""


@pytest.fixture
def table(tmp_path: Path) -> features.Features:
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8")
    return features.read_features(path)


def test_distances_are_those_counted_by_hand(table: features.Features) -> None:
    # p-b: voi. p-m: voi, nas. p-i: syl, voi opposed, hi 0 against +. b-i: syl, and hi 0 against +.
    different, opposite = table.distances(["p", "b"], ["p", "b", "m", "i"])
    assert different.tolist() == [[0, 1, 2, 3], [1, 0, 1, 2]]
    assert opposite.tolist() == [[0, 1, 2, 2], [1, 0, 1, 1]]


def test_a_phone_that_the_table_lacks_is_taken_without_its_last_marks(table: features.Features) -> None:
    assert [table.known(phone) for phone in ("iʲ", "iʲː", "ç", "b")] == ["i", "i", "ç", "b"]
    assert np.array_equal(table.vectors(["iʲ"]), table.vectors(["i"]))


def test_a_phone_whose_letter_the_table_lacks_is_an_error_that_names_it(table: features.Features) -> None:
    with pytest.raises(DataError, match="'@'"):
        table.vectors(["b", "@"])


def test_no_phones_have_no_distances(table: features.Features) -> None:
    assert table.distances([], ["p"])[0].shape == (0, 1)


@pytest.mark.parametrize("bad", ["ipa,syl\n", "ipa,syl\np,*\n", "ipa,syl\np,+,-\n", ""])
def test_a_table_of_another_form_is_refused(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(bad, encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.csv"):
        features.read_features(path)


def test_distances_are_those_of_panphon_itself() -> None:
    panphon = pytest.importorskip("panphon")
    phones = ["t", "tʲ", "d", "t͡ʃ", "ɑ̃", "a", "aː", "ŋ", "ɾ", "œ̃", "ʎ"]
    theirs = panphon.FeatureTable()
    found = features.panphon()
    different, opposite = found.distances(phones, phones)
    values = np.array([theirs.fts(phone).numeric() for phone in phones])
    assert found.names == tuple(theirs.names)
    assert np.array_equal(different, (values[:, None] != values[None]).sum(2))
    assert np.array_equal(opposite, (np.abs(values[:, None] - values[None]) == 2).sum(2))

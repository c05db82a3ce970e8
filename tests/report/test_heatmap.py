"""Phones against units: orders, picture and numbers by hand; broad classes by spelling."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.report.heatmap import heat_map, order_units
from speechssl.report.phone_classes import broad_class, order_phones
from speechssl.report.spectrogram import palette
from tests.report.pages import Document
from tests.report.test_png import decode

JOINT = np.array([[8, 0, 1, 0, 5], [0, 0, 3, 9, 5], [2, 0, 0, 1, 0]])  # phones a, s, t; unit 1 is never labelled


def test_units_stand_by_their_phone_and_the_purer_first() -> None:
    """Unit 0 is a (8/10), 4 a (5/10, the first of two equals), 3 s (9/10), 2 s (3/4)."""
    assert order_units(JOINT) == [0, 4, 3, 2]


def test_the_picture_shows_the_shares_and_the_numbers_lie_beside_it() -> None:
    drawn, rule = heat_map(JOINT, ["a", "s", "t"], ["#123456"] * 5)
    document = Document(drawn)
    (cells,) = document.all("div", class_="cells")
    data = json.loads(cells["data-map"] or "")
    assert (data["phones"], data["units"]) == (["a", "s", "t"], [0, 4, 3, 2])
    assert data["counts"] == [[8, 5, 0, 1], [0, 5, 9, 3], [2, 0, 1, 0]] and data["frames"] == [14, 17, 3]
    pixels, colours = decode(base64.b64decode((document.all("img")[0]["src"] or "").partition(",")[2]))
    np.testing.assert_array_equal(colours, palette())
    shares = np.array([[0.8, 0.5, 0, 0.25], [0, 0.5, 0.9, 0.75], [0.2, 0, 0.1, 0]])
    np.testing.assert_allclose(pixels, 255 * shares ** (2 / 3), atol=0.5)
    assert "3 phones as rows, 4 units as columns" in (cells["aria-label"] or "")
    assert document.text("title")[-2:] == ["2 units with a as the most frequent phone",
                                          "2 units with s as the most frequent phone"]  # fmt: skip
    assert rule == ".heat .cells,.heat .names{height:51px}"


def test_without_labelled_time_there_is_no_picture() -> None:
    assert heat_map(np.zeros((2, 3), np.int64), ["a", "b"], ["#000000"] * 3) == ("", "")
    assert heat_map(np.zeros((0, 3), np.int64), [], ["#000000"] * 3) == ("", "")


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 99))
def test_each_unit_with_labels_stands_there_once_and_phones_form_a_staircase(
    phones: int, units: int, seed: int
) -> None:
    joint = np.random.default_rng(seed).poisson(0.7, (phones, units))
    order = order_units(joint)
    assert sorted(order) == np.flatnonzero(joint.sum(0)).tolist()
    owners = joint[:, order].argmax(0)
    assert (np.diff(owners) >= 0).all()


@pytest.mark.parametrize(
    ("label", "arpabet", "expected"),
    [("SIL", False, "silence"), ("Á", False, "vowels"), ("Έ", False, "vowels"), ("ŋ", False, "nasals"),
     ("tʃ", False, "affricates"), ("ts", False, "affricates"), ("aː", False, "vowels"), ("ɾ", False, "glides, liquids"),
     ("17", False, "others"), ("", False, "silence"), ("AH0", True, "vowels"), ("jh", True, "affricates"),
     ("Y", True, "glides, liquids"), ("y", False, "vowels"), ("ZZ", True, "others")],
)  # fmt: skip
def test_a_class_is_what_the_spelling_tells(label: str, arpabet: bool, expected: str) -> None:
    assert broad_class(label, arpabet=arpabet) == expected


def test_phones_go_by_class_then_frequency_and_those_that_do_not_occur_are_left_out() -> None:
    labels = ["S", "AH0", "SIL", "IY1", "NG", "Y", "P", "ER0"]
    order, classes = order_phones(labels, np.array([9, 2, 50, 5, 1, 4, 0, 3]))
    assert [labels[p] for p in order] == ["SIL", "IY1", "ER0", "AH0", "Y", "NG", "S"]
    assert classes == ["silence", *["vowels"] * 3, "glides, liquids", "nasals", "fricatives"]


def test_unknown_labels_go_by_frequency_without_classes() -> None:
    assert order_phones(["1", "2", "a"], np.array([3, 9, 1])) == ([1, 0, 2], [])
    assert order_phones(["SIL"], np.array([3])) == ([0], [])
    assert order_phones([], np.zeros(0, np.int64)) == ([], [])


def test_y_is_a_vowel_only_where_j_is_written_too() -> None:
    frames = np.array([5, 5, 5])
    assert order_phones(["a", "y", "t"], frames)[1] == ["vowels", "glides, liquids", "stops"]
    assert order_phones(["a", "y", "j"], frames)[1] == ["vowels", "vowels", "glides, liquids"]

"""Kaldi archives: the same numbers as kaldiio both ways, and nothing but DataError from damaged files."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.data.ark import ArkWriter, Scp, read_ark, read_at
from speechssl.errors import DataError

RNG = np.random.default_rng(0)
ARRAYS = {
    "matrix": RNG.standard_normal((7, 5)).astype(np.float32),
    "double": RNG.standard_normal((3, 2)),
    "vector": RNG.standard_normal(11).astype(np.float32),
    "double-vector": RNG.standard_normal(4),
    "no-rows": np.zeros((0, 0), np.float32),
    "integers": np.array([3, -1, 2**31 - 1, -(2**31)], np.int32),
    "éa/b.c..": np.ones((1, 1), np.float32),
}


def test_kaldiio_reads_what_we_write(tmp_path: Path) -> None:
    with ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        for key, array in ARRAYS.items():
            writer.write(key, array)
    found = dict(kaldiio.load_ark(str(tmp_path / "x.ark")))
    assert list(found) == list(ARRAYS)
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(kaldiio.load_scp(str(tmp_path / "x.scp"))[key], array)


@pytest.mark.parametrize("text", [False, True])
def test_we_read_what_kaldiio_writes(tmp_path: Path, text: bool) -> None:
    arrays = {k: v for k, v in ARRAYS.items() if v.size and v.dtype != np.int32}
    kaldiio.save_ark(str(tmp_path / "x.ark"), arrays, scp=str(tmp_path / "x.scp"), text=text)
    for found in (dict(read_ark(tmp_path / "x.ark")), Scp(tmp_path / "x.scp")):
        assert list(found) == list(arrays)
        for key, array in arrays.items():
            if text:
                np.testing.assert_allclose(found[key], array, rtol=1e-6)
            else:
                np.testing.assert_array_equal(found[key], array)


def test_we_read_integers_of_kaldiio(tmp_path: Path) -> None:
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": ARRAYS["integers"]})
    np.testing.assert_array_equal(dict(read_ark(tmp_path / "x.ark"))["a"], ARRAYS["integers"])


@pytest.mark.parametrize("method", [2, 3, 5])
def test_compressed_matrices_decode_as_in_kaldiio(tmp_path: Path, method: int) -> None:
    array = (RNG.standard_normal((50, 13)) * 7).astype(np.float32)
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": array, "b": array[:1]}, compression_method=method)
    expected = dict(kaldiio.load_ark(str(tmp_path / "x.ark")))
    for key, found in read_ark(tmp_path / "x.ark"):
        np.testing.assert_allclose(found, expected[key], rtol=1e-5, atol=1e-5)


def test_text_archive_of_integers_and_of_a_single_row(tmp_path: Path) -> None:
    (tmp_path / "x.ark").write_text("a 1 2 3\nb  [\n  1 2 ]\nc  [ 1 2 ]\nd  [ ]\ne \n")
    found = dict(read_ark(tmp_path / "x.ark"))
    assert [found[k].shape for k in "abcde"] == [(3,), (1, 2), (2,), (0,), (0,)]


@pytest.mark.parametrize(
    "damage",
    [
        b"a \0BFM \4\xff\xff\xff\x7f\4\xff\xff\xff\x7f" + bytes(40),  # 2^62 values
        b"a \0BFM \4\xff\xff\xff\xff\4\1\0\0\0" + bytes(40),  # -1 rows
        b"a \0BFV \4\x20\0\0\0" + bytes(40),  # 32 values, 10 there
        b"a \0B\4\xff\xff\xff\x7f" + bytes(40),
        b"a \0BCM " + bytes(8) + b"\xff\xff\xff\x7f" * 2,
        b"a \0BXM \4\1\0\0\0\4\1\0\0\0" + bytes(40),
        b"a",
        b"a\nb ",
        b" \0BFM ",
        b"a  [ 1 2\n 3 ",
        b"a  [ 1 2\n 3 ]\n",
        b"a \0B\4\1\0\0\0\5\0\0\0\0",
    ],
)
def test_damaged_archive_is_a_data_error(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "x.ark").write_bytes(damage)
    with pytest.raises(DataError):
        dict(read_ark(tmp_path / "x.ark"))


@pytest.mark.parametrize("key", ["", "a b", "a\tb", "a\n", "a\u00a0b", "a\u2028b", "\ufeff", "\0", "\ud800"])
def test_ids_that_a_line_cannot_hold_are_refused(tmp_path: Path, key: str) -> None:
    with ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as writer, pytest.raises(DataError, match="id "):
        writer.write(key, ARRAYS["vector"])


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"],
                                             exclude_characters="\ufeff"), min_size=1),
                       st.lists(st.integers(-(2**31), 2**31 - 1)), min_size=1))  # fmt: skip
def test_any_other_id_comes_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("ark")
    with ArkWriter(folder / "x.ark", folder / "x.scp") as writer:
        for key, values in rows.items():
            writer.write(key, np.array(values, np.int64))
    assert {key: value.tolist() for key, value in read_ark(folder / "x.ark")} == rows
    assert {key: value.tolist() for key, value in Scp(folder / "x.scp").items()} == rows


def test_integers_beyond_32_bits_and_odd_shapes_are_refused(tmp_path: Path) -> None:
    with ArkWriter(tmp_path / "x.ark") as writer:
        for array in (np.array([2**31]), np.zeros((2, 2), np.int32), np.zeros((1, 1, 1)), np.array(["a"])):
            with pytest.raises(DataError):
                writer.write("a", array)


def test_scp_with_command_or_offset_beyond_the_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.scp").write_text("a gunzip -c x.gz |\n")
    with pytest.raises(DataError, match="command"):
        Scp(tmp_path / "x.scp")
    (tmp_path / "x.ark").write_bytes(b"a \0BFV \4\0\0\0\0")
    with pytest.raises(DataError, match="only 12 bytes"):
        read_at(f"{tmp_path}/x.ark:99")

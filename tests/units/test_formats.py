"""Every format gives back what was written, in order, with the ids unchanged, or refuses the id beforehand."""

import contextlib
import json
from pathlib import Path
from urllib.parse import unquote

import kaldiio
import numpy as np
import pyarrow.parquet
import pytest
import webdataset

from speechssl.errors import ConfigError, DataError
from speechssl.units import Units
from speechssl.units.formats import Info, Item, names, unit_format

FORMATS = names()
ODD_IDS = [
    *[
        "a",
        "a/b/c.d",
        "../up",
        "/absolute",
        "..",
        ".",
        "a.npy",
        "A.wav",
        "-",
        "--help",
        "0",
        "#x",
        "%41",
        "a\\b",
        '"q"',
    ],
    *["with space", " lead", "trail ", "tab\there", "line\nbreak", "carriage\rreturn", "nul\0", "trailing\0", "\x1c"],
    *[
        "ünïcode",
        "u\u0308",
        "\u00fc",
        "日本語",
        "😀",
        "nbsp\u00a0",
        "line\u2028sep",
        "next\x85",
        "rtl\u202e",
        "\ufeffbom",
    ],
    *["x" * 300, "é" * 300, "__metadata__", "file.npy", "a|b", "a:1", "$(x)", "`x`", "a,b", "a;b", "{}"],
]


def items(ids: list[str]) -> list[Item]:
    random = np.random.default_rng(0)
    made = []
    for number, name in enumerate(ids):
        frames = random.integers(0, 4, 3 * number + 1)
        made.append(
            Item(name, Units.from_frames(frames, rate_hz=50.0, size=70), f"/corpus/f{number}.wav", 800 + number)
        )
    return made


def info(folder: Path, *, merged: bool = False, size: int = 70) -> Info:
    return Info(50.0, size, merged, folder.resolve(), "/corpus")


def written(folder: Path, name: str, rows: list[Item], *, merged: bool) -> list[Item]:
    rows = [Item(r.id, r.units.dedup() if merged else r.units, r.audio, r.num_samples, r.whole) for r in rows]
    folder.mkdir(exist_ok=True)
    unit_format(name).write(folder, iter(rows), info(folder, merged=merged))
    return rows


def test_the_formats_are_those_that_the_documentation_names() -> None:
    assert FORMATS == ["ark", "fairseq", "jsonl", "npz", "parquet", "tar", "text"]


@pytest.mark.parametrize("merged", [False, True], ids=["frames", "merged"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str, merged: bool) -> None:
    rows = written(tmp_path, name, items([f"u{n}" for n in range(50)]), merged=merged)
    assert list(unit_format(name).read(tmp_path, info(tmp_path, merged=merged))) == [(r.id, r.units) for r in rows]


@pytest.mark.parametrize("merged", [False, True], ids=["frames", "merged"])
@pytest.mark.parametrize("name", FORMATS)
def test_no_utterances_and_no_units_are_fine_too(tmp_path: Path, name: str, merged: bool) -> None:
    empty = Item("empty", Units.from_frames([], rate_hz=50.0, size=70), "/corpus/e.wav", 1)
    for folder, rows in ((tmp_path / "none", []), (tmp_path / "one", [empty])):
        written(folder, name, rows, merged=merged)
        found = list(unit_format(name).read(folder, info(folder, merged=merged)))
        assert [(key, len(units)) for key, units in found] == [(row.id, 0) for row in rows]


@pytest.mark.parametrize("odd", ODD_IDS, ids=lambda odd: ascii(odd)[:20])
@pytest.mark.parametrize("name", FORMATS)
def test_an_odd_id_is_refused_or_comes_back_unchanged(tmp_path: Path, name: str, odd: str) -> None:
    before = set(tmp_path.parent.iterdir())
    if unit_format(name).refuse(odd) is not None:
        return
    rows = written(tmp_path, name, items(["first", odd, "last"]), merged=True)
    assert [key for key, _ in unit_format(name).read(tmp_path, info(tmp_path, merged=True))] == [r.id for r in rows]
    assert set(tmp_path.parent.iterdir()) == before, "a file outside of the folder"


def test_which_odd_ids_are_refused() -> None:
    refused = {name: {odd for odd in ODD_IDS if unit_format(name).refuse(odd)} for name in FORMATS}
    breaks = {odd for odd in ODD_IDS if "\n" in odd or "\r" in odd}
    words = {odd for odd in ODD_IDS if any(c.isspace() or c in "\0\x1c\x85\ufeff" for c in odd)}
    nul = {odd for odd in ODD_IDS if "\0" in odd}
    long = {odd for odd in ODD_IDS if len(odd) == 300}
    assert refused == {"ark": words, "text": words, "fairseq": breaks, "npz": nul, "jsonl": set(), "parquet": set(),
                       "tar": long}  # fmt: skip


@pytest.mark.parametrize("merged", [False, True], ids=["frames", "merged"])
@pytest.mark.parametrize("name", FORMATS)
def test_writing_twice_gives_the_same_bytes(tmp_path: Path, name: str, merged: bool) -> None:
    contents = []
    for _ in range(2):
        written(tmp_path, name, items(["b", "a", "c"]), merged=merged)
        contents.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert contents[0] == contents[1]


def test_text_is_one_line_of_words_per_utterance(tmp_path: Path) -> None:
    units = Units.from_frames([3, 3, 5], rate_hz=50.0, size=70)
    written(tmp_path, "text", [Item("u1", units), Item("u2", units)], merged=True)
    assert (tmp_path / "units").read_text() == "u1 3 5\nu2 3 5\n"
    assert (tmp_path / "durations").read_text() == "u1 2 1\nu2 2 1\n"


def test_jsonl_is_one_object_per_line(tmp_path: Path) -> None:
    written(tmp_path, "jsonl", [Item("ü", Units.from_frames([3, 3, 5], rate_hz=50.0, size=70))], merged=True)
    (line,) = (tmp_path / "units.jsonl").read_text().splitlines()
    assert json.loads(line) == {"id": "ü", "units": [3, 5], "durations": [2, 1], "rate_hz": 50.0, "num_units": 70}


def test_fairseq_files_have_the_same_utterance_on_the_same_line(tmp_path: Path) -> None:
    rows = written(tmp_path, "fairseq", items(["x", "y"]), merged=False)
    tsv = (tmp_path / "units.tsv").read_text().split("\n")
    assert tsv == ["/corpus", "f0.wav\t800", "f1.wav\t801", ""]
    assert (tmp_path / "units.km").read_text().splitlines() == [row.units.text() for row in rows]
    assert (tmp_path / "dict.km.txt").read_text().splitlines() == [f"{unit} 1" for unit in range(70)]


def test_fairseq_refuses_what_a_manifest_of_files_cannot_say(tmp_path: Path) -> None:
    units = Units.from_frames([1], rate_hz=50.0, size=70)
    with pytest.raises(DataError, match="segment"):
        written(tmp_path, "fairseq", [Item("x", units, "/corpus/a.wav", 5, whole=False)], merged=False)
    with pytest.raises(DataError, match="path"):
        written(tmp_path, "fairseq", [Item("x", units, "/corpus/a\tb.wav", 5)], merged=False)


def test_kaldiio_reads_our_archives(tmp_path: Path) -> None:
    rows = written(tmp_path, "ark", items(["x", "y"]), merged=True)
    for file, column in (("units.scp", "ids"), ("durations.scp", "durations")):
        loaded = kaldiio.load_scp(str(tmp_path / file))
        for row in rows:
            assert loaded[row.id].tolist() == getattr(row.units, column).tolist()


def test_numpy_and_pyarrow_read_our_columns(tmp_path: Path) -> None:
    rows = written(tmp_path, "npz", items(["x", "y"]), merged=False)
    columns = np.load(tmp_path / "units.npz")
    assert columns["units"].dtype == np.uint16
    start, end = columns["offsets"][1:3]
    assert columns["ids"][1] == "y" and columns["units"][start:end].tolist() == rows[1].units.ids.tolist()
    written(tmp_path, "parquet", items(["x", "y"]), merged=False)
    table = pyarrow.parquet.read_table(tmp_path / "units.parquet").to_pydict()
    assert table == {"id": ["x", "y"], "units": [row.units.ids.tolist() for row in rows]}


def test_webdataset_reads_our_tars(tmp_path: Path) -> None:
    """As samples of three, with keys that lead back to the ids, from several archives."""
    ids = ["x.1", "a/b", "日本 語", "z"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechssl.units.formats.tar._PART_BYTES", 5000)
        rows = written(tmp_path, "tar", items(ids), merged=True)
    paths = sorted(str(path) for path in tmp_path.glob("units.*.tar"))
    assert len(paths) == 3
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode())
    assert [sample["json"]["id"] for sample in samples] == ids == [unquote(sample["__key__"]) for sample in samples]
    for sample, row in zip(samples, rows, strict=True):
        assert sample["npy"].tolist() == row.units.ids.tolist()
        assert sample["durations.npy"].tolist() == row.units.durations.tolist()
        assert (sample["json"]["rate_hz"], sample["json"]["num_units"]) == (50.0, 70)
    assert [key for key, _ in unit_format("tar").read(tmp_path, info(tmp_path, merged=True))] == ids
    Path(paths[0]).unlink()
    with pytest.raises(DataError, match="not all of the archives"):
        list(unit_format("tar").read(tmp_path, info(tmp_path, merged=True)))


def test_more_units_than_16_bits_hold(tmp_path: Path) -> None:
    units = Units.from_frames([0, 70_000, 99_999], rate_hz=50.0, size=100_000)
    for name in FORMATS:
        unit_format(name).write(tmp_path, [Item("x", units, "/corpus/a.wav", 1)], info(tmp_path, size=100_000))
        assert list(unit_format(name).read(tmp_path, info(tmp_path, size=100_000))) == [("x", units)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_file_raises_our_error_or_gives_whole_utterances(tmp_path: Path, name: str) -> None:
    rows = written(tmp_path, name, items([f"u{n}" for n in range(9)]), merged=False)
    expected = [(row.id, row.units) for row in rows]
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for size in range(0, len(whole), max(1, len(whole) // 23)):
            path.write_bytes(whole[:size])
            found = []
            with contextlib.suppress(DataError):
                found.extend(unit_format(name).read(tmp_path, info(tmp_path)))
            assert found == expected[: len(found)]
        path.write_bytes(whole)


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(ConfigError, match="known: ark, fairseq"):
        unit_format("csv")

"""Maps from one inventory of phones to another."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.errors import ConfigError, DataError
from speechssl.phones import mapping
from speechssl.phones.features import Features
from speechssl.phones.mapping import Row

TABLE = Features(
    ("voice", "nasal", "high", "back"),
    {"p": (-1, -1, 0, 0), "b": (1, -1, 0, 0), "m": (1, 1, 0, 0), "k": (-1, -1, 1, 1), "t": (-1, -1, -1, 0),
     "d": (1, -1, -1, 0)},
)  # fmt: skip


def test_each_phone_gets_its_nearest_as_counted_by_hand() -> None:
    # m: b differs in nasal alone. k: p in high and back (0, no opposites), b in voice besides. p keeps its name.
    assert mapping.nearest(["m", "k", "p"], ["p", "b"], TABLE) == [
        Row("k", "p", 2, 0, "k"), Row("m", "b", 1, 1, "m"), Row("p", "p", 0, 0, "p"),
    ]  # fmt: skip


def test_of_equally_many_differences_fewer_opposites_are_nearer_then_the_first() -> None:
    # t differs from p in high (0 against -) and from d in voice (opposed); from b in both.
    assert mapping.nearest(["t"], ["d", "p", "b"], TABLE)[0] == Row("t", "p", 1, 0, "t")
    twins = Features(("voice",), {"x": (1,), "y": (1,), "z": (-1,)})
    assert mapping.nearest(["z"], ["y", "x"], twins)[0].target == "x"


def test_a_phone_of_both_sides_keeps_its_name_though_another_has_the_same_features() -> None:
    same = Features(("voice",), {"a": (1,), "b": (1,)})
    assert [row.target for row in mapping.nearest(["a", "b"], ["a", "b"], same)] == ["a", "b"]


def test_marks_that_have_no_features_are_said() -> None:
    assert mapping.nearest(["mʲ"], ["b", "p"], TABLE) == [Row("mʲ", "b", 1, 1, "m")]


def test_by_id_takes_the_same_place_and_the_last_where_there_are_no_more() -> None:
    assert [row.target for row in mapping.by_id(["d", "a", "c", "b"], ["y", "x"])] == ["x", "y", "y", "y"]
    kept = mapping.by_id(["a", "x", "y"], ["x", "y"], keep_shared=True)
    assert [(row.source, row.target) for row in kept] == [("a", "x"), ("x", "x"), ("y", "y")]


def test_at_random_follows_the_seed_and_keeps_shared_names_where_asked_for() -> None:
    sources, targets = [f"s{i}" for i in range(40)] + ["t1"], ["t0", "t1", "t2"]
    one, again, other = (mapping.at_random(sources, targets, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert {row.target for row in one} == set(targets)
    assert mapping.at_random(sources, targets, seed=3, keep_shared=True)[-1] == Row("t1", "t1")


def test_both_directions_are_spelled_in_the_recognizers_phones() -> None:
    outputs = [Row("lʲ", "l"), Row("l", "l"), Row("a", "a")]
    assert mapping.spellings(outputs, []) == ["a a", "l l", "l lʲ"]
    inventory = [Row("ð", "d"), Row("d", "d")]
    assert mapping.spellings([], inventory) == ["d d", "ð d"]
    assert mapping.spellings(outputs, inventory) == ["a a", "d d", "l l", "l lʲ", "ð d"]


def test_a_phone_outside_the_map_is_an_error_that_names_it() -> None:
    assert mapping.renamed(["a", "b", "a"], {"a": "x", "b": "b"}) == ["x", "b", "x"]
    with pytest.raises(DataError, match="'c'"):
        mapping.renamed(["a", "c"], {"a": "x"})


@pytest.mark.parametrize("call", [mapping.by_id, lambda s, t: mapping.nearest(s, t, TABLE)])
def test_no_phones_on_one_side_are_refused(call) -> None:
    for sources, targets in (([], ["p"]), (["p"], [])):
        with pytest.raises(ConfigError, match="both sides"):
            call(sources, targets)


@pytest.mark.parametrize("bad", ["", "a\tb\n", f"{mapping.HEADING}\n", f"{mapping.HEADING}\na\tb\n",
                                 f"{mapping.HEADING}\na\tb\t-\t-\t-\na\tc\t-\t-\t-\n"])  # fmt: skip
def test_a_table_that_is_no_map_is_refused(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "map.tsv"
    path.write_text(bad, encoding="utf-8")
    with pytest.raises(DataError, match=r"map\.tsv"):
        mapping.read_map(path)


PHONES = st.lists(st.sampled_from(sorted(TABLE.values)), min_size=1, unique=True)


@given(PHONES, PHONES)
def test_no_target_is_nearer_than_the_one_chosen_and_the_table_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, sources: list[str], targets: list[str]
) -> None:
    rows = mapping.nearest(sources, targets, TABLE)
    for row in rows:
        counted = {t: sum(a != b for a, b in zip(TABLE.values[row.source], TABLE.values[t], strict=True))
                   for t in targets}  # fmt: skip
        assert row.different == counted[row.target] == min(counted.values())
    path = tmp_path_factory.mktemp("maps") / "map.tsv"
    mapping.write_map(path, rows)
    assert mapping.read_map(path) == {row.source: row.target for row in rows}

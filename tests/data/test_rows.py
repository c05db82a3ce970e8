"""Corpora in a temporary file are those in memory: rows, slices, errors, sums, plans."""

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechssl.data import kaldi_stream, rows
from speechssl.data.corpus import open_corpus
from speechssl.data.kaldi import read_dir
from speechssl.data.rows import Spool, collect, comes_twice
from speechssl.data.twice import IdCheck
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError
from speechssl.extract import plan

text = st.text(st.characters(codec="utf-8"), max_size=8)
paths = st.binary(min_size=1, max_size=8).map(os.fsdecode)  # any bytes can be a file's name
seconds = st.none() | st.floats(0, 1e6)
utterances = st.builds(Utterance, text, paths, seconds, seconds, st.booleans(), st.none() | text, st.none() | text,
                       st.none() | st.dictionaries(text, text, max_size=2), st.none() | text)  # fmt: skip


@given(st.lists(utterances, max_size=20), st.integers(0, 3), st.slices(20))
def test_a_spool_is_the_list_whatever_the_rows(items: list[Utterance], copies: int, part: slice) -> None:
    items = items * (1 + 40 * copies)  # up to several blocks
    spool = Spool(items)
    assert len(spool) == len(items)
    assert list(spool) == items == [spool[i] for i in range(len(items))]
    assert list(spool[part]) == items[part]
    for start in range(0, len(items), 100):
        assert spool[start : start + 100] == items[start : start + 100]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(st.integers(0, 400).map(str), max_size=300), run=st.integers(1, 70))
def test_an_id_that_comes_twice_is_found_with_sorted_runs_of_any_size(keys: list[str], run: int) -> None:
    check = IdCheck(run=run)
    for key in keys:
        check.add(key)
    found = check.clash(lambda: keys)
    if found is None:
        assert len(set(keys)) == len(keys)
    else:
        first, second = found
        assert first < second
        assert keys[first - 1] == keys[second - 1]


def test_equal_hashes_are_no_equal_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechssl.data.twice.hash", lambda key: len(key), raising=False)
    check = IdCheck(run=2)
    keys = ["a", "b", "cd", "ef", "c"]
    for key in keys:
        check.add(key)
    assert check.clash(lambda: keys) is None
    check.add("ef")
    assert check.clash(lambda: [*keys, "ef"]) == (4, 6)


def test_collect_says_the_same_of_an_id_that_comes_twice_in_memory_and_on_the_disk() -> None:
    items = [Utterance(str(number), "x") for number in [*range(600), 7]]
    for limit in (10, 1000):
        with pytest.raises(DataError, match=r"here: '7' comes twice, as utterance no. 8 and no. 601"):
            collect(items, comes_twice("here"), in_memory=limit)
    assert isinstance(collect(items[:-1], comes_twice("here"), in_memory=10), Spool)
    assert isinstance(collect(items[:-1], comes_twice("here"), in_memory=600), list)


def test_a_spool_leaves_no_file_behind_and_does_not_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = Spool([Utterance("a", "x")])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match="send its rows"):
        pickle.dumps(spool)
    assert pickle.loads(pickle.dumps(spool[0])) == spool[0]


def test_forked_readers_do_not_disturb_each_other() -> None:
    items = [Utterance(str(number), "x") for number in range(2000)]
    spool = Spool(items)
    child = os.fork()
    if child == 0:
        os._exit(0 if all(spool[i] == items[i] for i in range(0, 2000, 7)) else 1)
    assert all(spool[i] == items[i] for i in range(1999, -1, -5))
    assert os.waitpid(child, 0)[1] == 0


# Manifests: small ones are held, large ones stream; here the limits are so low that everything streams.

words = st.text("abcäß-_.", min_size=1, max_size=4)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setattr(rows, "IN_MEMORY", 2)
    monkeypatch.setattr(kaldi_stream, "LARGE", 0)
    with monkeypatch.context() as context:
        yield context


def outcome(path: Path) -> object:
    try:
        return list(open_corpus(path).utterances)
    except DataError as error:
        return str(error)


def both(path: Path) -> tuple[object, object]:
    """What comes of a corpus held in memory, and of one that streams."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "IN_MEMORY", 1 << 16)
        patch.setattr(kaldi_stream, "LARGE", 1 << 30)
        held = outcome(path)
    return held, outcome(path)


PLAIN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PLAIN
@given(names=st.lists(words, max_size=12), labels=st.booleans())
def test_streamed_manifests_are_the_held_ones(tmp_path: Path, streamed: None, names: list[str], labels: bool) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "x.tsv").write_text("/r\n" + "".join(f"{name}.wav\t{n}\n" for n, name in enumerate(names)))
    if labels:
        (tmp_path / "x.wrd").write_text("".join(f"text {name}\n" for name in names))
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"id": n, "audio": "a.wav", "x": 1}) + "\n" for n in names))
    (tmp_path / "x.scp").write_text("".join(f"{name} {name}.wav\n" for name in names))
    for kind in ("tsv", "jsonl", "scp"):
        held, found = both(tmp_path / f"x.{kind}")
        assert held == found, kind


@PLAIN
@given(
    data=st.data(),
    recordings=st.lists(words, min_size=1, max_size=4, unique=True),
    names=st.lists(words, min_size=1, max_size=8, unique=True),
    order=st.sampled_from(["sorted", "sorted", "shuffled", "twice", "foreign"]),
    held=st.booleans(),
)
def test_streamed_data_directories_are_the_held_ones(
    tmp_path_factory: pytest.TempPathFactory,
    streamed: pytest.MonkeyPatch,
    data: st.DataObject,
    recordings: list[str],
    names: list[str],
    order: str,
    held: bool,
) -> None:
    """Also where tables lack lines, have other orders, foreign ids or an id twice."""
    streamed.setattr(kaldi_stream, "_HELD", 1 << 20 if held else 0)
    folder = tmp_path_factory.mktemp("data")
    names, recordings = sorted(names, key=str.encode), sorted(recordings, key=str.encode)
    of = sorted(data.draw(st.sampled_from(range(len(recordings)))) for _ in names)
    tables = {
        "wav.scp": [f"{name} /{name}.wav" for name in recordings],
        "segments": [f"{name} {recordings[r]} 0 {n + 1}" for n, (name, r) in enumerate(zip(names, of, strict=True))],
        "text": [f"{name} text of {name}" for name in names],
        "utt2spk": [f"{name} s" for name in names],
        "utt2lang": [f"{name} de" for name in names],
        "spk2gender": ["s f"],
        "frame_shift": ["0.01"],
    }
    for name in ("text", "utt2spk", "utt2lang"):
        tables[name] = [line for line in tables[name] if data.draw(st.integers(0, 3))]
    if data.draw(st.booleans()):
        del tables["segments"]
        tables["wav.scp"] = [f"{name} /{name}.wav" for name in names]
    chosen = data.draw(st.sampled_from([name for name in tables if name not in ("spk2gender", "frame_shift")]))
    if order == "shuffled":
        tables[chosen] = data.draw(st.permutations(tables[chosen]))
    elif order == "twice" and tables[chosen]:
        tables[chosen].insert(0, data.draw(st.sampled_from(tables[chosen])))
    elif order == "foreign" and chosen not in ("wav.scp", "segments"):
        place = data.draw(st.integers(0, len(tables[chosen])))
        tables[chosen].insert(place, f"{data.draw(words)} z")
    for name, lines in tables.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    held_rows, found = both(folder)
    if isinstance(held_rows, str):
        assert isinstance(found, str), (held_rows, order)
    else:
        assert found == held_rows


def test_a_large_unsorted_directory_is_held_and_said_to_be(tmp_path: Path, streamed: None) -> None:
    (tmp_path / "wav.scp").write_text("a /a.wav\nb /b.wav\nc /c.wav\n")
    (tmp_path / "text").write_text("b zwei\na eins\n")
    corpus = open_corpus(tmp_path)
    assert [u.text for u in corpus.utterances] == ["eins", "zwei", None]
    assert "text does not have the order of the other tables" in corpus.problems[0]
    assert list(corpus.utterances) == read_dir(tmp_path)


def test_a_foreign_id_in_a_sorted_table_needs_no_second_reading(tmp_path: Path, streamed: pytest.MonkeyPatch) -> None:
    streamed.setattr("speechssl.data.kaldi.read_dir", lambda *_, **__: pytest.fail("held in memory"))
    (tmp_path / "wav.scp").write_text("a /a.wav\nb /b.wav\nd /c.wav\n")
    (tmp_path / "text").write_text("a x\nc y\nd z\n")
    with pytest.raises(DataError, match=r"text: 'c' is no utterance of this directory"):
        open_corpus(tmp_path)
    (tmp_path / "text").write_text("a x\na y\nd z\n")
    with pytest.raises(DataError, match=r"text:2: 'a' was given before, in line 1"):
        open_corpus(tmp_path)


def test_sums_and_shards_of_a_streamed_corpus_are_those_of_a_list(tmp_path: Path) -> None:
    """So that a job begun before resumes. The sum is spelled out: it must never change."""
    items = [Utterance(f"u{number}", f"/d/{number}.wav", 0.5, 1.0 + number) for number in range(1000)]
    spool = Spool(items)
    assert plan.check_manifest(spool, []) == plan.check_manifest(items, [])
    assert plan.check_manifest(spool, []).sha256 == "fe873e87e76f0bd7858ca11a0696b7dae531bf6eca307775d02b827dfec96caa"
    wanted = {0, 3, 7}.__contains__
    assert list(plan.tasks(spool, 130, wanted)) == list(plan.tasks(items, 130, wanted))


def test_a_manifest_that_changes_after_it_was_opened_changes_nothing(tmp_path: Path, streamed: None) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"id": f"u{n}", "audio": f"{n}.wav"}) + "\n" for n in range(900)))
    corpus = open_corpus(path)
    expected = [u.id for u in corpus.utterances]
    path.write_text("".join(json.dumps({"id": f"v{n}", "audio": f"{n}.wav"}) + "\n" for n in range(900)))
    assert [u.id for u in corpus.utterances] == expected == [f"u{n}" for n in range(900)]
    assert plan.check_manifest(corpus.utterances, []) != plan.check_manifest(open_corpus(path).utterances, [])


def test_several_streamed_inputs_are_joined_and_a_common_id_names_both(tmp_path: Path, streamed: None) -> None:
    for name, start in (("a", 0), ("b", 500), ("c", 499)):
        lines = (json.dumps({"id": f"u{n}", "audio": "x.wav"}) + "\n" for n in range(start, start + 500))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    corpus = open_corpus([tmp_path / "b.jsonl", tmp_path / "a.jsonl"])
    assert [u.id for u in corpus.utterances] == [f"u{n}" for n in [*range(500, 1000), *range(500)]]
    with pytest.raises(DataError, match=r"'u499' stands both in .*a.jsonl and in .*c.jsonl"):
        open_corpus([tmp_path / "a.jsonl", tmp_path / "c.jsonl"])


def test_ids_are_checked_in_a_list_of_any_length_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """check_manifest does not trust sequences that others made."""
    monkeypatch.setattr("speechssl.data.twice._RUN", 64)
    random = np.random.default_rng(0)
    names = [str(n) for n in random.permutation(1000)]
    items = [Utterance(name, "x") for name in [*names, names[123]]]
    plan.check_manifest(items[:-1], [])
    with pytest.raises(DataError, match=f"rows 124 and 1001: utterance id '{names[123]}' comes twice"):
        plan.check_manifest(items, [])


def test_no_room_for_temporary_files_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda prefix: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(OSError, match=r"No space left on device.*TMPDIR"):
        Spool([Utterance("a", "x")])
    check = IdCheck(run=2)
    check.add("a")
    with pytest.raises(OSError, match="TMPDIR"):
        check.add("b")

"""Plan, journal, progress and stores on their own."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from speechssl.data.utterance import Utterance
from speechssl.errors import ConfigError, DataError
from speechssl.extract import job as jobs
from speechssl.extract import journal, plan
from speechssl.extract.job import Job, Manifest, ModelIdentity
from speechssl.extract.journal import ShardResult
from speechssl.extract.progress import Progress, clock
from speechssl.extract.stores import store
from speechssl.units.card import EncoderReference


@pytest.mark.parametrize(
    ("utterances", "size"), [(0, 1), (1, 1), (64, 1), (65, 2), (5130, 81), (16384, 256), (5 * 10**6, 256), (10**7, 500)]
)
def test_shards_are_fine_for_small_corpora_and_bounded_for_large_ones(utterances: int, size: int) -> None:
    assert plan.shard_size(utterances) == size


def test_shards_cover_every_row_once_in_order() -> None:
    rows = [Utterance(str(n), "x") for n in range(23)]
    tasks = list(plan.tasks(rows, 5, lambda shard: True))
    assert [u.id for task in tasks for u in task.rows] == [u.id for u in rows]
    parts = [plan.tasks(rows, 5, lambda shard, part=part: shard % 3 == part) for part in range(3)]  # type: ignore[misc]
    assert sorted(task.shard for part in parts for task in part) == [0, 1, 2, 3, 4]


def test_the_manifest_hash_sees_ids_paths_segments_and_order_but_not_how_a_path_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    def of(*rows: Utterance) -> str:
        return plan.check_manifest(rows, []).sha256

    a, b = Utterance("a", "x.wav"), Utterance("b", "x.wav")
    assert of(a, b) != of(b, a)
    assert of(a) != of(Utterance("a", "y.wav"))
    assert of(a) != of(Utterance("a", "x.wav", 0.0, 1.0))
    assert of(a) != of(Utterance("a", "x.wav", pipe=True))
    assert of(a) == of(Utterance("a", str(tmp_path / "x.wav"))) == of(Utterance("a", "./x.wav"))


def result(shard: int) -> ShardResult:
    return ShardResult(shard, {f"units_{shard}_4.npy": "0" * 64}, 3, 2, 100, 2.5, {"empty": 1}, {"resampled": 2})


def journal_of(folder: Path, count: int) -> Path:
    encoder = EncoderReference("mfcc", "0" * 64, "mfcc", {}, False, 1e-5, "none")
    model = ModelIdentity(encoder, 0, 16000, 50.0, "", num_units=9)
    jobs.claim(folder, Job("units", "units", model, Manifest("0" * 64, 12), 3, 4), "test", untouched=True)
    (folder / "shards").mkdir()
    for shard in range(count):
        (folder / "shards" / f"units_{shard}_4.npy").touch()
        journal.append(folder / "journal.jsonl", result(shard))
    return folder / "journal.jsonl"


def test_a_journal_cut_anywhere_keeps_its_whole_lines_and_takes_new_ones(tmp_path: Path) -> None:
    path = journal_of(tmp_path, 4)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 29), len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:size])
        kept = whole[:size].count(b"\n")
        assert sorted(journal.read(tmp_path)) == list(range(kept))
        journal.append(path, result(3))
        assert sorted(journal.read(tmp_path)) == sorted({*range(kept), 3})


def test_a_shard_without_its_files_is_not_done(tmp_path: Path) -> None:
    journal_of(tmp_path, 3)
    (tmp_path / "shards" / "units_1_4.npy").unlink()
    assert sorted(journal.read(tmp_path)) == [0, 2]


@pytest.mark.parametrize(
    "line", ["{}", "null", "[]", "garbage", '{"shard": "x"}', '{"shard": 1, "extra": 2}', "[" * 9999]
)
def test_a_damaged_line_means_only_that_its_shard_is_done_again(tmp_path: Path, line: str) -> None:
    path = journal_of(tmp_path, 3)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[2]]) + "\n")
    assert sorted(journal.read(tmp_path)) == [0, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../precious": "0" * 64}}, {"files": {"/etc/passwd": "0" * 64}}, {"shard": 4}, {"shard": 10**9},
        {"files": {"units_0_4.npy": "0" * 64}}, {"shard": -1}, {"rows": -3}, {"seconds": float("inf")},
        {"seconds": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_a_line_that_no_run_writes_does_not_count(tmp_path: Path, change: dict[str, object]) -> None:
    path = journal_of(tmp_path, 3)
    row = {**json.loads(path.read_text().splitlines()[1]), **change}
    path.write_text(json.dumps(row) + "\n")
    assert journal.read(tmp_path) == {}


def test_of_two_lines_for_a_shard_the_one_counts_whose_files_are_there(tmp_path: Path) -> None:
    """The old line won where its journal's name came later: merging removed the new shard again and again."""
    import hashlib

    path = journal_of(tmp_path, 3)
    name = next(iter(journal.read(tmp_path)[1].files))
    (tmp_path / "shards" / name).write_bytes(b"made again")
    again = dataclasses.replace(
        journal.read(tmp_path)[1], files={name: hashlib.sha256(b"made again").hexdigest()}, ok=1, failures={"empty": 2}
    )
    for journal_name in ("journal.0of2.jsonl", "journal.jsonl.z.jsonl"):  # read before the old one, and after it
        journal.append(tmp_path / journal_name, again)
        assert journal.read(tmp_path)[1] == again
        (tmp_path / journal_name).unlink()
    assert path.exists()


def test_sums_of_results() -> None:
    total = journal.total({n: result(n) for n in range(3)})
    assert (total.rows, total.ok, total.frames, total.seconds) == (9, 6, 300, 7.5)
    assert (total.failures, total.notes) == ({"empty": 3}, {"resampled": 6})


def test_the_progress_line_gives_rate_speed_and_time_left() -> None:
    progress = Progress(total=1000, before=500, stream=io.StringIO())
    progress.add(90, 900.0)
    assert progress.line(10, 100.0, 10.0) == "600/1000 utterances (60 %)  10.0/s  100 x real time  0:40 left"
    assert progress.line(-90, -900.0, 10.0).endswith("no rate yet")
    assert clock(3723) == "1:02:03"


def test_progress_is_silent_at_first_and_when_told_so() -> None:
    for quiet in (False, True):
        progress = Progress(10, 0, quiet=quiet, stream=io.StringIO())
        progress.show(1, 1.0)
        progress.end()
        assert progress.stream.getvalue() == ""  # type: ignore[attr-defined]


def test_stores_refuse_the_ids_that_their_readers_would_confuse() -> None:
    assert store("npz").refuse("x.npy") and store("npz").refuse("x\0") and store("npz").refuse("a" * 70_000)
    assert store("safetensors").refuse("__metadata__")
    assert store("ark").refuse("a b")
    assert store("npy").refuse("any\n thing") is None
    with pytest.raises(ConfigError, match="known: ark, codes, npy"):
        store("zarr")


def test_two_ids_with_the_same_short_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    class Weak:
        def __init__(self, data: bytes, digest_size: int) -> None:
            self._data = data

        def digest(self) -> bytes:
            return bytes(7) + bytes([len(self._data)])

    monkeypatch.setattr(hashlib, "blake2b", Weak)
    plan.check_manifest([Utterance("ab", "x"), Utterance("cd", "x")], [])
    with pytest.raises(DataError, match="rows 1 and 3"):
        plan.check_manifest([Utterance("ab", "x"), Utterance("cd", "x"), Utterance("ab", "y")], [])


def test_row_files_hold_any_text(tmp_path: Path) -> None:
    rows = [{"id": "a\u2028b\n", "code": "x", "error": "line\nbreak\x85"}, {"id": "😀", "frames": 1, "samples": 400}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "s.jsonl").write_text(text, newline="\n")
    assert journal.read_rows(tmp_path, "s") == rows
    assert np.load(io.BytesIO(_npy())).shape == (2, 3)


def _npy() -> bytes:
    from speechssl.extract.stores.npy import HEADER_BYTES, header

    head = header("<f4", (2, 3))
    assert len(head) == HEADER_BYTES
    return head + bytes(24)

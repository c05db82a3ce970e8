"""Finished folders are copied to a store with every file compared; tars and addresses go through the whole job."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from speechssl.cli import main
from speechssl.data.corpus import open_corpus
from speechssl.errors import DataError
from speechssl.extract import merge
from speechssl.extract.outputs import read_features, read_units, verify
from speechssl.extract.run import Options, Output, run_features, run_units
from speechssl.extract.upload import upload
from tests.data.test_tar import recording, tar
from tests.extract.helpers import contents, corpus, model

HERE = Options(workers=0, quiet=True)


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    run_units(corpus(tmp_path / "in", 5), tmp_path / "out", model(tmp_path / "model"), options=HERE)
    return tmp_path / "out"


def copy_of(files: fsspec.AbstractFileSystem, folder: Path) -> Path:
    files.get("/b/units/", str(folder), recursive=True)
    return folder


def test_a_copy_verifies_and_a_second_one_copies_nothing(
    tmp_path: Path, finished: Path, memory: fsspec.AbstractFileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    copied, present = upload(finished, "memory://b/units/", tell=seen.append)
    assert present == 0
    assert copied == len(seen)
    assert seen[-1] == "sha256sums"
    copy = copy_of(memory, tmp_path / "copy")
    assert verify(copy) == ([], copied - 1)
    assert contents(copy) == contents(finished)
    assert main(["upload", str(finished), "memory://b/units"]) == 0
    assert f"0 files copied and read back, {copied} were there" in capsys.readouterr().out


def test_a_copy_that_was_cut_off_goes_on(
    tmp_path: Path, finished: Path, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, calls = type(memory).put_file, []

    def failing(self: object, source: str, target: str, **more: object) -> None:
        calls.append(target)
        if len(calls) > 3:
            raise OSError("the line is down")
        put(memory, source, target, **more)

    monkeypatch.setattr("speechssl.data.remote.time.sleep", lambda s: None)
    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "put_file", failing)
        with pytest.raises(DataError, match=r"memory://b/units/.*: OSError"):
            upload(finished, "memory://b/units")
    assert not memory.exists("/b/units/sha256sums")
    memory.pipe("/b/units/units", b"x" * (finished / "units").stat().st_size)  # other bytes of the same length
    copied, present = upload(finished, "memory://b/units")
    assert copied >= 2
    assert present >= 1
    assert verify(copy_of(memory, tmp_path / "copy"))[0] == []


def test_bytes_that_change_on_the_way_are_seen(
    finished: Path, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(self: object, source: str, target: str, **more: object) -> None:
        memory.pipe(target, b"x" * Path(source).stat().st_size)

    monkeypatch.setattr(type(memory), "put_file", bad)
    with pytest.raises(DataError, match="reads back other bytes"):
        upload(finished, "memory://b/units")


def test_what_is_not_finished_or_changed_is_not_copied(finished: Path, memory: fsspec.AbstractFileSystem) -> None:
    (finished / "units").write_text("other\n")
    with pytest.raises(DataError, match="changed since it was written"):
        upload(finished, "memory://b/units")
    assert not memory.exists("/b/units/sha256sums")
    (finished / "sha256sums").unlink()
    with pytest.raises(DataError, match="not finished"):
        upload(finished, "memory://b/units")
    for address in ("file:///tmp/x", "/tmp/x", "simplecache::memory://x"):
        assert main(["upload", str(finished), address]) == 2


def test_units_of_tars_and_of_addresses_are_those_of_the_files(
    tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    names = [f"u{number}" for number in range(6)]
    spec = model(tmp_path / "model")
    (tmp_path / "in").mkdir()
    for seed, name in enumerate(names):
        (tmp_path / "in" / f"{name}.wav").write_bytes(recording(seed))
    path = tar(tmp_path / "x.tar", [(f"{name}.wav", recording(seed)) for seed, name in enumerate(names)])
    memory.pipe("/b/x.tar", path.read_bytes())
    found = {}
    for key, place in (("files", tmp_path / "in"), ("tar", path), ("address", "memory://b/x.tar")):
        rows = open_corpus(place, allow_remote=key == "address")
        report = run_units(rows, tmp_path / key, spec, outputs=[Output("text", False), Output("tar", True)],
                           options=Options(workers=0, quiet=True, allow_remote=key == "address"))  # fmt: skip
        assert (report.ok, report.failed) == (6, 0)
        assert verify(tmp_path / key)[0] == []
        found[key] = [(name, units.ids.tolist()) for name, units in read_units(tmp_path / key)]
    assert found["files"] == found["tar"] == found["address"]
    assert (tmp_path / "files" / "units.00000.tar").read_bytes() == (tmp_path / "tar" / "units.00000.tar").read_bytes()
    report = run_units(open_corpus("memory://b/x.tar", allow_remote=True), tmp_path / "refused", spec, options=HERE)
    assert report.failures == {"remote-refused": 6}


def test_features_in_tars_are_those_in_arrays(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 7), model(tmp_path / "model")
    found = []
    for name in ("npy", "tar"):
        run_features(speech, tmp_path / name, spec, format=name, options=HERE, shard_size=3)
        assert verify(tmp_path / name)[0] == []
        found.append({key: frames.tobytes() for key, frames in read_features(tmp_path / name)})
    assert found[0] == found[1]


def test_only_formats_that_need_the_common_folder_look_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a pass over all rows."""
    monkeypatch.setattr(merge, "corpus_root", lambda corpus: pytest.fail("looked for"))
    run_units(corpus(tmp_path / "in", 3), tmp_path / "out", model(tmp_path / "model"), options=HERE)


def test_a_job_goes_on_with_its_own_size_of_shards(tmp_path: Path) -> None:
    """Also where a later version would cut the same rows otherwise."""
    speech, spec = corpus(tmp_path / "in", 7), model(tmp_path / "model")
    run_units(speech, tmp_path / "out", spec, options=Options(workers=0, quiet=True, part=(0, 2)), shard_size=3)
    report = run_units(speech, tmp_path / "out", spec, options=Options(workers=0, quiet=True, part=(1, 2)))
    assert report.finished
    assert report.num_shards == 3


def test_the_command_reads_tars_and_needs_leave_for_addresses(
    tmp_path: Path, memory: fsspec.AbstractFileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tar(tmp_path / f"{n}.tar", [("a.wav", recording(n))])) for n in range(2)]
    memory.pipe("/b/x.tar", Path(paths[0]).read_bytes())
    model(tmp_path / "model")
    common = ["--model", str(tmp_path / "model"), "-o", "-"]
    assert main(["units", *paths, *common]) == 2
    assert "--id-from" in capsys.readouterr().err
    assert main(["units", *paths, *common, "--id-from", "archive"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in out] == ["0/a", "1/a"]
    assert main(["units", "memory://b/x.tar", *common]) == 2
    assert "--allow-remote" in capsys.readouterr().err
    assert main(["units", "memory://b/x.tar", *common, "--allow-remote"]) == 0
    assert capsys.readouterr().out == out[0].removeprefix("0/") + "\n"

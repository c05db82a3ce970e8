"""Ended at every step and started again, the result has the bytes of an undisturbed run.

Kills at random moments of real commands are in tests/battery/test_kills.py.
"""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from speechssl.data.corpus import open_corpus
from speechssl.extract import atomic, journal, merge
from speechssl.extract.job import ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.outputs import verify
from speechssl.extract.run import Options, run_features, run_units
from tests.extract.helpers import contents, corpus, model

HERE = Options(workers=0, quiet=True)
OUTPUTS = [Output("text", True), Output("npz", False), Output("jsonl", True)]


def job(root: Path, out: Path, num_shards: int = 8) -> None:
    speech = open_corpus(root / "in")
    size = len(speech.utterances) // num_shards
    run_units(speech, out, ModelSpec(str(root / "model")), outputs=OUTPUTS, shard_size=size, options=HERE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 24 utterances and a model."""
    folder = tmp_path_factory.mktemp("kill")
    corpus(folder / "in", 24)
    model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def undisturbed(root: Path) -> dict[str, bytes]:
    """The files of a run that nobody killed."""
    job(root, root / "undisturbed")
    return contents(root / "undisturbed")


def start(target: Callable[..., None], *args: object) -> multiprocessing.Process:
    """A process that has torch already: it is forked from a server that imported it once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["speechssl.extract.shard", "speechssl.units.model"])
    process = context.Process(target=target, args=args)
    process.start()
    return process  # type: ignore[return-value]


def assert_whole(out: Path, expected: dict[str, bytes]) -> None:
    assert contents(out) == expected
    assert verify(out)[0] == []
    assert not list(out.rglob(".tmp-*"))
    lines = (out / "journal.jsonl").read_text().splitlines()
    assert len(lines) == len({line.partition(",")[0] for line in lines}), "a finished shard was done again"


def die_at(module: str, function: str, call: int, after: bool, root: Path, out: Path) -> None:
    """Run the job, but end the process at the call-th call of a function, before or after it did its work."""
    owner = {"atomic": atomic, "journal": journal, "merge": merge}[module]
    original = getattr(owner, function)
    calls = 0

    def deadly(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            os._exit(9)
        result = original(*args, **options)
        if calls == call:
            os._exit(9)
        return result

    setattr(owner, function, deadly)
    job(root, out)


def die_between_renames(root: Path, out: Path) -> None:
    """Leave with one file of a shard renamed and the other not."""
    original, calls = Path.replace, 0

    def deadly(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == 7:  # job.json, then two files for each shard
            os._exit(9)
        return original(path, target)

    Path.replace = deadly  # type: ignore[method-assign, assignment]
    job(root, out)


def tear_the_journal(root: Path, out: Path) -> None:
    """Leave half a line behind."""
    original, calls = os.pwrite, 0

    def deadly(handle: int, data: bytes, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 4:
            original(handle, data[: len(data) // 2], offset)
            os._exit(9)
        return original(handle, data, offset)

    os.pwrite = deadly
    job(root, out)


# Commits: 1 is job.json, 2 to 9 are shards, then failures.tsv, three formats, the sidecar, the report, sha256sums.
MOMENTS = [
    *[("atomic", "commit", 1, False), ("atomic", "commit", 1, True), ("atomic", "commit", 5, False)],
    *[("atomic", "commit", 5, True), ("atomic", "sync", 8, False), ("journal", "append", 8, True)],
    *[("atomic", "commit", call, True) for call in (10, 12, 14, 15, 16)],
]


@pytest.mark.parametrize(
    "moment", [*MOMENTS, die_between_renames, tear_the_journal], ids=lambda m: getattr(m, "__name__", str(m))
)
def test_a_death_at_any_step(root: Path, undisturbed: dict[str, bytes], tmp_path: Path, moment: object) -> None:
    out = tmp_path / "out"
    process = start(moment, root, out) if callable(moment) else start(die_at, *moment, root, out)  # type: ignore[misc]
    process.join()
    assert process.exitcode == 9, "the moment never came"
    job(root, out)
    assert_whole(out, undisturbed)


@pytest.mark.parametrize("name", ["npy", "ark", "npz", "safetensors"])
def test_features_with_a_lost_shard_are_completed(root: Path, tmp_path: Path, name: str) -> None:
    speech, spec, out = open_corpus(root / "in"), ModelSpec(str(root / "model")), tmp_path / "out"
    run_features(speech, out, spec, format=name, options=HERE, shard_size=6)
    expected = contents(out)
    for path in (out / "shards").iterdir():
        if "_3_" in path.name and not path.name.endswith("jsonl"):
            path.unlink()
    (out / "sha256sums").unlink()
    (out / "shards" / ".tmp-0of1-1-x").mkdir()
    report = run_features(speech, out, spec, format=name, options=HERE, shard_size=6)
    assert report.run_utterances == 6
    assert contents(out) == expected
    assert verify(out)[0] == []


def test_a_shard_that_changed_on_the_disk_is_noticed_and_made_again(
    root: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    job(root, out)
    (out / "sha256sums").unlink()
    path = out / "shards" / "units_5_8.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(ValueError, match=r"units_5_8\.npy: changed since it was written"):
        job(root, out)
    job(root, out)
    assert contents(out) == undisturbed

"""`speechssl merge`: folders of several machines to the files of a local run."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from speechssl.cli import main
from speechssl.data.corpus import Corpus
from speechssl.errors import DataError
from speechssl.extract import collect, journal
from speechssl.extract.job import ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.outputs import verify
from speechssl.extract.run import Options, run_features, run_merge, run_units
from tests.extract.helpers import contents, corpus, model

HERE = Options(workers=0, quiet=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a model, the output of one process, and three parts in folders of their own."""
    root = tmp_path_factory.mktemp("collect")
    speech, spec = corpus(root / "in", 11), model(root / "model")
    (root / "in" / "a" / "u004.wav").write_bytes(b"no audio")
    run_units(speech, root / "whole", spec, options=HERE, shard_size=2)
    for part in range(3):
        options = dataclasses.replace(HERE, part=(part, 3))
        run_units(speech, root / f"part{part}", spec, options=options, shard_size=2)
    return root


@pytest.fixture
def parts(made: Path, tmp_path: Path) -> list[Path]:
    """Copies of the parts, as after rsync."""
    return [Path(shutil.copytree(made / f"part{part}", tmp_path / f"part{part}")) for part in range(3)]


def reopen(made: Path) -> tuple[Corpus, ModelSpec]:
    from speechssl.data.corpus import open_corpus

    return open_corpus(made / "in"), ModelSpec(str(made / "model"))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_from_folders_of_their_own_give_the_files_of_a_local_run(
    made: Path, parts: list[Path], tmp_path: Path, order: tuple[int, ...]
) -> None:
    speech, _ = reopen(made)
    before = [contents(part) for part in parts]
    report = run_merge(speech, [parts[n] for n in order], tmp_path / "out", options=HERE)
    assert contents(tmp_path / "out") == contents(made / "whole")
    assert verify(tmp_path / "out")[0] == []
    assert (report.ok, report.failed, report.exit_code) == (10, 1, 1)
    assert [contents(part) for part in parts] == before


def test_the_command_merges_into_one_of_the_parts_and_verifies(
    made: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    names = list(map(str, parts))
    assert main(["verify", "--parts", *names]) == 0
    assert "12 files are as written" in capsys.readouterr().out
    assert main(["verify", "--parts", *names[:2]]) == 2
    assert "2 of 6 shards are in none of the folders: [2, 5]" in capsys.readouterr().out
    assert main(["merge", *names, "-o", names[1], "--input", str(made / "in"), "--quiet"]) == 1  # one utterance skipped
    assert contents(parts[1]) == contents(made / "whole")
    assert main(["verify", names[1]]) == 0


def test_other_formats_and_features(made: Path, tmp_path: Path, parts: list[Path]) -> None:
    speech, spec = reopen(made)
    outputs = [Output("jsonl", True)]
    run_units(speech, tmp_path / "whole", spec, outputs=outputs, options=HERE, shard_size=2)
    run_merge(speech, parts, tmp_path / "out", outputs=outputs, options=HERE)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    for part in range(2):
        options = dataclasses.replace(HERE, part=(part, 2))
        run_features(speech, tmp_path / f"f{part}", spec, format="npz", options=options)
    run_features(speech, tmp_path / "f", spec, format="npz", options=HERE)
    run_merge(speech, [tmp_path / "f0", tmp_path / "f1"], tmp_path / "fm", options=HERE)
    assert contents(tmp_path / "fm") == contents(tmp_path / "f")


def test_missing_shards_are_named_and_can_come_later(made: Path, parts: list[Path], tmp_path: Path) -> None:
    speech, _ = reopen(made)
    with pytest.raises(DataError, match=r"2 of 6 shards are missing: \[1, 4\]"):
        run_merge(speech, [parts[0], parts[2]], tmp_path / "out", options=HERE)
    report = run_merge(speech, parts, tmp_path / "out", options=HERE)
    assert report.run_utterances == 4
    assert contents(tmp_path / "out") == contents(made / "whole")


def test_parts_of_other_jobs_and_other_inputs_are_refused(made: Path, parts: list[Path], tmp_path: Path) -> None:
    speech, _ = reopen(made)
    other = model(tmp_path / "other", 21)
    run_units(speech, tmp_path / "foreign", other, options=dataclasses.replace(HERE, part=(1, 3)), shard_size=2)
    with pytest.raises(DataError, match=r"part0 holds another job than .*foreign: model\.num_units is 20 there, 21"):
        run_merge(speech, [tmp_path / "foreign", parts[0]], tmp_path / "out", options=HERE)
    fewer = dataclasses.replace(speech, utterances=speech.utterances[:-1])
    with pytest.raises(DataError, match=r"\(10 utterances\) is not the input of .*part0 \(11\)"):
        run_merge(fewer, parts, tmp_path / "out", options=HERE)
    assert not (tmp_path / "out").exists()
    job = json.loads((parts[2] / "job.json").read_text())
    (parts[2] / "job.json").write_text(json.dumps({**job, "kernel": "fast"}))
    with pytest.raises(DataError, match="kernel is 'fast' there, 'plain' now; give all machines the same --kernel"):
        run_merge(speech, parts, tmp_path / "out", options=HERE)
    for part in parts:
        (part / "job.json").write_text(json.dumps({**job, "version": "0.0.1"}))
    with pytest.raises(DataError, match=r"written by speechssl 0\.0\.1"):
        run_merge(speech, parts, tmp_path / "out", options=HERE)
    with pytest.raises(DataError, match="no output of"):
        run_merge(speech, [tmp_path], tmp_path / "out", options=HERE)


def test_a_shard_in_two_folders_is_taken_once_if_its_bytes_agree_and_refused_if_not(
    made: Path, parts: list[Path], tmp_path: Path
) -> None:
    speech, spec = reopen(made)
    report = run_merge(speech, [*parts, made / "whole"], tmp_path / "out", options=HERE)
    assert (report.run_utterances, report.shards_done) == (11, 6)
    lines = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["shard"] for line in lines) == list(range(6))
    bad = made / "in" / "a" / "u006.wav"
    aside = bad.rename(made / "aside")
    try:  # the second machine cannot read a recording
        run_units(speech, tmp_path / "again", spec, options=dataclasses.replace(HERE, part=(1, 3)), shard_size=2)
    finally:
        aside.rename(bad)
    with pytest.raises(DataError, match=r"shard 1 differs between .*part1 and .*again \(skipped: .*missing 1"):
        run_merge(speech, [*parts, tmp_path / "again"], tmp_path / "out2", options=HERE)


def test_a_shard_that_changed_is_taken_from_another_folder_or_refused(
    made: Path, parts: list[Path], tmp_path: Path
) -> None:
    speech, _ = reopen(made)
    path = parts[1] / "shards" / "units_1_6.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    problems, _ = collect.verify_parts(parts)
    assert problems == [f"{path}: changed since it was written"]
    with pytest.raises(DataError, match=r"units_1_6\.npy: changed since it was written; the command"):
        run_merge(speech, parts, tmp_path / "out", options=HERE)
    assert not (tmp_path / "out" / "shards" / "units_1_6.npy").exists()
    run_merge(speech, [*parts, made / "whole"], tmp_path / "out", options=HERE)
    assert contents(tmp_path / "out") == contents(made / "whole")


def test_torn_journals_and_shards_without_files_count_as_missing(made: Path, parts: list[Path], tmp_path: Path) -> None:
    speech, _ = reopen(made)
    torn = parts[0] / "journal.0of3.jsonl"
    torn.write_bytes(torn.read_bytes()[:-9])
    (parts[1] / "shards" / "units_4_6.npy").unlink()
    with pytest.raises(DataError, match="2 of 6 shards are missing"):
        run_merge(speech, parts, tmp_path / "out", options=HERE)
    assert len(journal.read(tmp_path / "out")) == 4


def test_a_merge_that_is_killed_goes_on(made: Path, parts: list[Path], tmp_path: Path) -> None:
    from tests.extract.test_kill import start

    for call in (2, 4, 8):
        process = start(die_in_merge, made, parts, tmp_path / "out", call)
        process.join()
        assert process.exitcode == 9
    run_merge(reopen(made)[0], parts, tmp_path / "out", options=HERE)
    assert contents(tmp_path / "out") == contents(made / "whole")
    assert not list((tmp_path / "out").rglob(".tmp-*"))


def die_in_merge(made: Path, parts: list[Path], out: Path, call: int) -> None:
    import os

    from speechssl.extract import atomic

    original, calls = atomic.commit, 0

    def deadly(*args: object) -> object:
        nonlocal calls
        calls += 1
        return original(*args) if calls < call else os._exit(9)  # type: ignore[arg-type]

    atomic.commit = deadly  # type: ignore[assignment]
    run_merge(reopen(made)[0], parts, out, options=HERE)

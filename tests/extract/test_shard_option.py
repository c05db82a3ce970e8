"""--shard I/N, slurm and torchrun; parts of different counts; parts that start at once."""

import threading
from pathlib import Path

import pytest

from speechssl.cli import main
from speechssl.errors import ConfigError, DataError
from speechssl.extract import job as jobs
from speechssl.extract import lock
from speechssl.extract.outputs import verify
from speechssl.extract.parts import own_gpu, part
from speechssl.extract.run import Options, run_units
from tests.extract.helpers import contents, corpus, model


def array(number: int, first: int, last: int, count: int) -> dict[str, str]:
    names = {"ID": number, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("0/1", {}, (0, 1)),
        ("3/4", {"RANK": "0", "WORLD_SIZE": "9"}, (3, 4)),  # only what was asked for is looked at
        ("torchrun", {"RANK": "5", "WORLD_SIZE": "8"}, (5, 8)),
        ("slurm", array(0, 0, 99, 100), (0, 100)),
        ("slurm", array(100, 1, 100, 100), (99, 100)),
        ("slurm", array(7, 7, 7, 1), (0, 1)),
    ],
)
def test_the_part_of_a_process(text: str, environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert part(text, environment) == expected


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("4/4", {}, "I in 0..N-1"),
        ("-1/4", {}, "I in 0..N-1"),
        ("²/4", {}, "I in 0..N-1"),
        ("", {}, "or slurm, or torchrun"),
        ("slurm", {}, r"SLURM_ARRAY_TASK_ID is not set; is this process started by slurm\?"),
        ("slurm", array(5, 1, 7, 3), "leave numbers out"),  # --array=1,5,7
        ("slurm", array(4, 0, 8, 5), "leave numbers out"),  # --array=0-8:2
        ("slurm", array(9, 0, 8, 9), "leave numbers out"),
        ("torchrun", {"RANK": "1"}, "WORLD_SIZE is not set"),
        ("torchrun", {"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        ("torchrun", {"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2, WORLD_SIZE 2"),
    ],
)
def test_a_part_that_cannot_be_known_is_an_error(text: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        part(text, environment)


def test_every_rank_of_a_machine_has_a_gpu_of_its_own() -> None:
    assert [own_gpu({"LOCAL_RANK": str(rank)}) for rank in range(3)] == ["0", "1", "2"]
    assert own_gpu({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "4,6"}) == "6"
    with pytest.raises(ConfigError, match="LOCAL_RANK is 2, CUDA_VISIBLE_DEVICES has 2 GPUs"):
        own_gpu({"LOCAL_RANK": "2", "CUDA_VISIBLE_DEVICES": "4,6"})


def test_the_command_takes_its_part_from_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speech, spec = corpus(tmp_path / "in", 5), model(tmp_path / "model")
    run_units(speech, tmp_path / "whole", spec, options=Options(workers=0, quiet=True))
    words = ["units", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
    words += ["--workers", "0", "--quiet", "--shard", "slurm"]
    assert main(words) == 2
    assert "SLURM_ARRAY_TASK_ID is not set" in capsys.readouterr().err
    for number in (1, 2):
        for name, value in array(number, 1, 2, 2).items():
            monkeypatch.setenv(name, value)
        assert main(words) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_parts_of_another_count_are_refused_while_some_are_running(tmp_path: Path) -> None:
    """0/2 and 0/3 at the same time would both do shard 0."""
    with lock.writing(tmp_path, (0, 2)):
        with lock.writing(tmp_path, (1, 2)):
            pass
        with (
            pytest.raises(DataError, match="parts of --shard I/2 are running there, not of I/3"),
            lock.writing(tmp_path, (0, 3)),
        ):
            pass
    with lock.writing(tmp_path, (0, 3)), lock.writing(tmp_path, (2, 3)):
        pass


def test_parts_with_different_settings_that_start_at_once_cannot_both_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found no job.json, both wrote one, and their shards were mixed."""
    speech, specs = corpus(tmp_path / "in", 6), [model(tmp_path / f"model{n}", 20 + n) for n in range(2)]
    original, together = jobs.claim, threading.Barrier(2)

    def claim(*args: object, **options: object) -> None:
        with pytest.MonkeyPatch.context() as patch:  # as slow as can be between the look and the writing
            patch.setattr(jobs.atomic, "write_text", lambda *a: (together_or_not(), write(*a))[1])
            original(*args, **options)  # type: ignore[arg-type]

    def together_or_not() -> None:
        try:
            together.wait(0.5)
        except threading.BrokenBarrierError:
            together.reset()

    write = jobs.atomic.write_text
    monkeypatch.setattr(jobs, "claim", claim)
    came: list[str] = []

    def run(number: int) -> None:
        try:
            options = Options(workers=0, quiet=True, part=(number, 2))
            run_units(speech, tmp_path / "out", specs[number], options=options)
            came.append("done")
        except DataError as error:
            came.append(str(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(len(c) > 4 for c in came) == [False, True]
    assert any("holds another job" in text for text in came)


def test_a_part_that_finds_the_files_merged_does_not_merge_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two parts see the last shard done; the slower one gets the lock when the faster has merged."""
    from speechssl.extract import run as engine

    speech, spec = corpus(tmp_path / "in", 4), model(tmp_path / "model")
    run_units(speech, tmp_path / "out", spec, options=Options(workers=0, quiet=True, part=(0, 2)))
    original, merges = lock.merging, []
    monkeypatch.setattr(engine, "merge", lambda *a, _merge=engine.merge: (merges.append(1), _merge(*a))[1])

    def slow(folder: Path) -> object:
        monkeypatch.setattr(engine.lock, "merging", original)
        faster = run_units(speech, folder, spec, options=Options(workers=0, quiet=True, part=(0, 2)))
        assert faster.finished
        return original(folder)

    monkeypatch.setattr(engine.lock, "merging", slow)
    slower = run_units(speech, tmp_path / "out", spec, options=Options(workers=0, quiet=True, part=(1, 2)))
    assert slower.finished and slower.run_utterances == 2 and len(merges) == 1
    assert verify(tmp_path / "out")[0] == []

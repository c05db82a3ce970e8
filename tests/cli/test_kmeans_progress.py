"""The verb kmeans, ended and started again, and in several processes: the same bytes."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from speechssl.cli import main
from speechssl.cli._kmeans import Part, ProgressFile
from tests.extract.helpers import contents, corpus

FULL = ("-k", "6", "--full", "--max-frames", "40", "--workers", "0")


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    corpus(tmp_path / "in", 8)
    return tmp_path


def words(root: Path, *more: str, output: str = "model") -> list[str]:
    return ["kmeans", str(root / "in"), "-o", str(root / output), "--encoder", "mfcc", *FULL, *more]


def model_files(folder: Path) -> dict[str, bytes]:
    """Without the report, which holds the time that it took."""
    return {name: data for name, data in contents(folder).items() if name != "kmeans.json"}


def die_after(saves: int, root: Path) -> None:
    """End the process as SIGKILL would, when the full passes were saved so often."""
    original, count = ProgressFile.save, 0

    def deadly(progress: ProgressFile, tensors: dict) -> None:  # type: ignore[type-arg]
        nonlocal count
        original(progress, tensors)
        count += 1
        if count == saves:
            os._exit(9)

    ProgressFile.save = deadly  # type: ignore[method-assign]
    main(words(root))


def killed(root: Path, saves: int) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["speechssl.extract.stream", "speechssl.quantizers.kmeans_fit"])
    process = context.Process(target=die_after, args=(saves, root))
    process.start()
    process.join()
    assert process.exitcode == 9, "the moment never came"


@pytest.mark.parametrize("saves", [1, 2, 4])
def test_a_killed_fit_goes_on_after_the_last_pass(speech: Path, capsys: pytest.CaptureFixture[str], saves: int) -> None:
    assert main(words(speech, output="whole")) == 0
    assert "going on" not in capsys.readouterr().err
    killed(speech, saves)
    assert not (speech / "model").exists() and (speech / ".model.fit-in-progress").is_file()
    assert main(words(speech)) == 0
    said = capsys.readouterr().err
    assert f"full: going on after iteration {saves - 1} " in said and "sample, iteration" not in said
    assert model_files(speech / "model") == model_files(speech / "whole")
    assert sorted(path.name for path in speech.iterdir()) == ["in", "model", "whole"]


def test_the_passes_of_another_fit_are_not_used(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--seed", "1"], ["--iterations", "9"], ["--window", "30"]):
        killed(speech, 2)
        assert main(words(speech, *more)) == 0
        assert "going on" not in capsys.readouterr().err, more
        shutil.rmtree(speech / "model")
    killed(speech, 2)
    (speech / "in" / "one-more.wav").write_bytes((next((speech / "in").rglob("*.wav"))).read_bytes())
    assert main(words(speech)) == 0
    assert "going on" not in capsys.readouterr().err
    assert not (speech / ".model.fit-in-progress").exists()


def test_damaged_passes_are_reported_and_done_again(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(speech, output="whole")) == 0
    killed(speech, 2)
    path = speech / ".model.fit-in-progress"
    path.write_bytes(path.read_bytes()[:1000])
    assert main(words(speech)) == 0
    said = capsys.readouterr().err
    assert "is damaged and not used" in said and "going on" not in said
    assert model_files(speech / "model") == model_files(speech / "whole")


def torchrun(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launcher, "-m", "speechssl", *arguments]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    try:
        said = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # torchrun passes it on
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, *said)


def test_under_torchrun_the_bytes_are_the_same_and_one_process_writes(speech: Path) -> None:
    (speech / "in" / "bad.wav").write_bytes(b"")
    assert main(words(speech, "--quiet", output="whole")) == 1
    found = torchrun(speech, *words(speech, "--quiet", "--json"))
    assert found.stdout.startswith("{\n") and found.stdout.count('"frames_seen"') == 1  # nor what gloo has to say
    assert found.stderr.count("skipped: bad\tempty") == 1
    assert model_files(speech / "model") == model_files(speech / "whole")
    again = torchrun(speech, *words(speech, "--quiet"))
    assert again.returncode != 0 and "is there already" in again.stderr  # the other one may be ended before it speaks
    assert again.stderr.count("Traceback (most recent") == 1  # torchrun's own


def test_parts_cover_a_corpus_once() -> None:
    for count in (0, 1, 2, 7, 1000):
        for size in (1, 2, 3, 5):
            parts = [Part(range(count), rank, size) for rank in range(size)]  # type: ignore[arg-type]
            assert [item for part in parts for item in part] == list(range(count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
            assert all(list(part[1:3]) == list(part)[1:3] for part in parts)

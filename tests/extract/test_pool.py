"""Worker processes: same bytes for any number of them; dead, hanging and failing ones."""

import contextlib
import dataclasses
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import soundfile

from speechssl.errors import CheckpointError
from speechssl.extract.journal import read
from speechssl.extract.outputs import verify
from speechssl.extract.run import Options, run_features, run_units
from tests.extract.helpers import contents, corpus, model

HERE = Options(workers=0, quiet=True)


def test_one_two_and_three_workers_give_the_same_bytes(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    for workers in (0, 1, 2, 3):
        run_units(speech, tmp_path / f"{workers}", spec, options=dataclasses.replace(HERE, workers=workers))
    expected = contents(tmp_path / "0")
    assert all(contents(tmp_path / f"{workers}") == expected for workers in (1, 2, 3))
    for workers in (0, 2):
        run_features(speech, tmp_path / f"f{workers}", spec, options=dataclasses.replace(HERE, workers=workers))
    assert contents(tmp_path / "f2") == contents(tmp_path / "f0")


def test_a_model_that_cannot_be_loaded_is_reported_by_its_own_error(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 3), model(tmp_path / "model")
    (tmp_path / "model" / "quantizer.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"quantizer\.safetensors: not a usable quantizer"):
        run_units(speech, tmp_path / "out", spec, options=dataclasses.replace(HERE, workers=1))


def test_workers_leave_with_a_killed_parent_and_the_lock_is_free(tmp_path: Path) -> None:
    """SIGKILL of the command, with its workers in the middle of a shard."""
    speech, spec = corpus(tmp_path / "in", 40), model(tmp_path / "model")
    process = command(tmp_path)
    wait_for_shards(process, tmp_path / "out", 4)
    process.kill()
    process.communicate(timeout=120)
    process = command(tmp_path)
    process.communicate(timeout=120)
    assert process.returncode == 0
    run_units(speech, tmp_path / "here", spec, options=HERE)
    assert contents(tmp_path / "out") == {
        name: data.replace(b"/here", b"/out") for name, data in contents(tmp_path / "here").items()
    }


def test_sigterm_stops_the_command_in_seconds_and_it_goes_on_later(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 60), model(tmp_path / "model")
    process = command(tmp_path)
    wait_for_shards(process, tmp_path / "out", 2)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    if process.returncode:  # else it was faster than the signal
        assert process.returncode == 2, errors
        assert "the same command goes on from here" in output
        assert not (tmp_path / "out" / "sha256sums").exists()
    done = len(read(tmp_path / "out"))
    report = run_units(speech, tmp_path / "out", spec, options=HERE)
    assert report.nothing_to_do or report.run_utterances == 60 - done
    assert verify(tmp_path / "out")[0] == []


def command(root: Path) -> subprocess.Popen[str]:
    words = ["units", root / "in", "-o", root / "out", "--model", root / "model", "--workers", 2]
    arguments = [sys.executable, "-m", "speechssl", *map(str, words)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_shards(process: subprocess.Popen[str], out: Path, count: int) -> None:
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if (out / "journal.jsonl").read_text().count("\n") >= count:
                return
        time.sleep(0.005)


def test_a_run_in_a_thread_works_without_signal_handlers(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 2), model(tmp_path / "model")
    reports = []
    thread = threading.Thread(target=lambda: reports.append(run_units(speech, tmp_path / "o", spec, options=HERE)))
    thread.start()
    thread.join()
    assert reports[0].finished
    assert soundfile.info(speech.utterances[0].audio).samplerate == 16000


def test_a_worker_starts_although_the_server_that_forks_them_was_killed() -> None:
    """The pool ended with an EOFError that looked like a bug."""
    from speechssl.extract import pool

    class Process:
        tries = 0

        def start(self) -> None:
            self.tries += 1
            if self.tries < 3:
                raise EOFError("unexpected EOF")

    process = Process()
    pool._start(process)
    assert process.tries == 3
    process.tries = -9
    with pytest.raises(EOFError):
        pool._start(process)

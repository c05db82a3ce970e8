"""Workers that die, hang or take too much memory: the shard is tried again, and one recording given up; no other."""

import dataclasses
import mmap
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechssl.data.corpus import Corpus, open_corpus
from speechssl.data.utterance import Utterance
from speechssl.errors import ConfigError
from speechssl.extract import processes, worker
from speechssl.extract.outputs import read_units, verify
from speechssl.extract.pool import Pool
from speechssl.extract.run import Options, run_units
from tests.battery.conftest import Record
from tests.battery.size import size
from tests.extract.helpers import contents, corpus, model

HERE = Options(workers=0, quiet=True)
TWO = Options(workers=2, quiet=True)
LIMIT_GB = 0.8


# A worker can only be told to misbehave from inside: these are run in its place.
def _die(signum: int) -> Callable[[str], None]:
    return lambda path: os.kill(os.getpid(), signum)


def _hang(path: str) -> None:
    time.sleep(600)


def _grow(path: str) -> None:
    """As a decoder that leaks: 40 MB each time, up to 4 GB."""
    held = []
    for _ in range(100):
        held.append(np.ones(5 << 20))
        time.sleep(0.04)


def _grow_at_once(path: str) -> None:
    np.zeros(1 << 31)


def _once(deed: Callable[[str], None]) -> Callable[[str], None]:
    def only_the_first_time(path: str) -> None:
        if not Path(path + ".done").exists():
            Path(path + ".done").touch()
            deed(path)

    return only_the_first_time


def _break(path: str) -> None:
    raise ZeroDivisionError("a bug")


DEEDS: dict[str, Callable[[str], None]] = {
    "killed": _die(signal.SIGKILL), "segfault": _die(signal.SIGSEGV), "abort": _die(signal.SIGABRT),
    "exit": lambda path: os._exit(0), "hang": _hang, "grow": _grow, "grow at once": _grow_at_once,
}  # fmt: skip
DEEDS |= {f"{name} once": _once(deed) for name, deed in DEEDS.items()}
DEEDS["break"] = _break
CODES = {"hang": "timeout", "grow": "out-of-memory", "grow at once": "out-of-memory"}


class Misbehaving:
    """The worker's main, which does a deed on recordings whose path holds "poison", and takes its time."""

    def __init__(self, deed: str, row_s: float = 0.0) -> None:
        self.deed, self.row_s = deed, row_s

    def __call__(self, connection: object, settings: worker.Settings) -> None:
        from speechssl.extract.encode import Encoder

        original = Encoder.encode

        def encode(encoder: Encoder, utterance: Utterance, spool: Path, beat: Callable[[], None]) -> object:
            time.sleep(self.row_s)
            try:
                if "poison" in utterance.audio:
                    DEEDS[self.deed](utterance.audio)
            except MemoryError as error:  # as Encoder.encode does
                from speechssl.errors import AudioError

                raise AudioError("out-of-memory", f"{utterance.audio}: {error}") from None
            return original(encoder, utterance, spool, beat)

        Encoder.encode = encode  # type: ignore[method-assign, assignment]
        worker.main(connection, settings)  # type: ignore[arg-type]


def poisoned(folder: Path) -> Corpus:
    corpus(folder, 9)
    (folder / "a" / "u002.wav").rename(folder / "a" / "poison.wav")
    return open_corpus(folder)


@pytest.mark.parametrize(
    "deed", ["killed", "segfault", "hang", "grow", "grow at once", *["abort", "exit"][: size(0, 2)]]
)
def test_the_one_recording_that_ruins_workers_is_isolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record, deed: str
) -> None:
    speech, spec = poisoned(tmp_path / "in"), model(tmp_path / "model")
    run_units(speech, tmp_path / "whole", spec, options=HERE)
    expected = {name: units for name, units in read_units(tmp_path / "whole") if "poison" not in name}
    monkeypatch.setattr("speechssl.extract.pool.main", Misbehaving(deed))
    options = dataclasses.replace(TWO, time_limit_s=2.0 if deed == "hang" else 300.0, memory_limit_gb=LIMIT_GB)
    report = run_units(speech, tmp_path / "out", spec, options=options, shard_size=4)
    found = dict(read_units(tmp_path / "out"))
    equal = sum(found.get(name) == expected[name] for name in expected)
    record(f"a recording that ruins its worker ({deed})", recordings=9, skipped=report.failed,
           reason=", ".join(report.failures), others_bit_equal=equal)  # fmt: skip
    assert (report.ok, report.failures) == (8, {CODES.get(deed, "worker-died"): 1})
    assert found == expected
    assert verify(tmp_path / "out")[0] == []


@pytest.mark.parametrize("deed", ["killed", "grow", "grow at once"])
def test_what_goes_wrong_once_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    speech, spec = poisoned(tmp_path / "in"), model(tmp_path / "model")
    run_units(speech, tmp_path / "whole", spec, options=HERE, shard_size=4)
    monkeypatch.setattr("speechssl.extract.pool.main", Misbehaving(f"{deed} once"))
    options = dataclasses.replace(TWO, memory_limit_gb=LIMIT_GB)
    assert run_units(speech, tmp_path / "out", spec, options=options, shard_size=4).failed == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_bug_stops_the_run_with_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech, spec = poisoned(tmp_path / "in"), model(tmp_path / "model")
    monkeypatch.setattr("speechssl.extract.pool.main", Misbehaving("break"))
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug"):
        run_units(speech, tmp_path / "out", spec, options=TWO)
    assert not (tmp_path / "out" / "sha256sums").exists()


class Killer(threading.Thread):
    """Kills random workers at random moments, whatever they are doing (loading, decoding, writing, idle).

    But no more than three before one of the others has loaded the model: after five the engine gives up, see below.
    """

    def __init__(self, num_kills: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(daemon=True)
        self.num_kills, self.random, self.killed, self.over = num_kills, random.Random(seed), 0, threading.Event()
        self.workers: list[int] = []
        self.in_a_row = 0
        start, hear = Pool._start, Pool._hear

        def noted(pool: Pool) -> object:
            begun = start(pool)
            self.workers.append(begun.process.pid)
            return begun

        def heard(pool: Pool, process: Any, message: tuple[Any, ...]) -> None:
            self.in_a_row = 0 if message[0] == "ready" else self.in_a_row
            hear(pool, process, message)

        monkeypatch.setattr(Pool, "_start", noted)
        monkeypatch.setattr(Pool, "_hear", heard)

    def run(self) -> None:
        while self.killed < self.num_kills and not self.over.wait(self.random.uniform(0.01, 1.5)):
            alive = [pid for pid in self.workers if is_worker(pid)]
            if alive and self.in_a_row < 3:
                self.in_a_row += 1
                os.kill(self.random.choice(alive), signal.SIGKILL)
                self.killed += 1


def is_worker(pid: int) -> bool:
    """Whether it is still there; its number may belong to another process by now."""
    try:
        return b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_workers_killed_at_random_moments_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    speech, spec = corpus(tmp_path / "in", 90), model(tmp_path / "model")
    run_units(speech, tmp_path / "whole", spec, options=HERE, shard_size=4)
    expected = contents(tmp_path / "whole")
    kills = runs = equal = started = failed = 0
    while kills < size(4, 50):
        with monkeypatch.context() as patch:
            patch.setattr("speechssl.extract.pool.main", Misbehaving("none", row_s=0.03))
            killer = Killer(5, runs, patch)
            killer.start()
            report = run_units(speech, tmp_path / "out", spec, options=TWO, shard_size=4)
            killer.over.set()
            killer.join()
        (tmp_path / "out").rename(tmp_path / f"out{runs}")
        kills, started, failed = kills + killer.killed, started + len(killer.workers), failed + report.failed
        equal += contents(tmp_path / f"out{runs}") == expected
        runs += 1
    record("workers killed from outside (SIGKILL) at random moments", kills=kills, runs=runs, workers_started=started,
           recordings_lost=failed, runs_with_equal_bytes=equal)  # fmt: skip
    assert equal == runs and failed == 0


def _die_while_loading(connection: object, settings: worker.Settings) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_never_get_as_far_as_the_model_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech, spec = corpus(tmp_path / "in", 4), model(tmp_path / "model")
    monkeypatch.setattr("speechssl.extract.pool.main", _die_while_loading)
    with pytest.raises(OSError, match=r"died 5 times while loading the model \(exit status -9\): out of memory"):
        run_units(speech, tmp_path / "out", spec, options=TWO)


def test_what_hangs_on_a_pipe_is_given_up_and_its_command_is_ended(tmp_path: Path, record: Record) -> None:
    """A FIFO by its name is refused without opening it; a command that waits for one is killed with its worker."""
    speech, spec = corpus(tmp_path / "in", 8), model(tmp_path / "model")
    run_units(speech, tmp_path / "whole", spec, options=HERE)
    os.mkfifo(tmp_path / "fifo.wav")
    rows = [*speech.utterances, Utterance("fifo", str(tmp_path / "fifo.wav"))]
    rows.insert(3, Utterance("command", f"cat {tmp_path / 'fifo.wav'} |", pipe=True))
    options = dataclasses.replace(TWO, time_limit_s=2.0, allow_pipes=True)
    report = run_units(Corpus(rows, "list", "rows"), tmp_path / "out", spec, options=options, shard_size=4)
    left = commands_with(str(tmp_path / "fifo.wav"))
    record("a FIFO and a command that waits for it", tried=2, skipped=report.failed, commands_left_running=len(left))
    assert report.failures == {"not-a-file": 1, "timeout": 1}
    assert dict(read_units(tmp_path / "out")) == dict(read_units(tmp_path / "whole"))
    assert not left


def commands_with(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0] == "cat" or words[0].endswith("/cat"):
            found += [path.parent.name] if word in words else []
    return found


def test_a_limit_that_the_model_alone_exceeds_is_an_error_at_once(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 4), model(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"with its model alone, the limit is 0\.02: take fewer workers or a higher"):
        run_units(speech, tmp_path / "out", spec, options=dataclasses.replace(TWO, memory_limit_gb=0.02))


def test_the_limit_is_a_share_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    there = processes.memory_there()
    assert there is not None and 2**28 < there < 2**50
    assert processes.memory_limit(None, 4) == int(0.9 * there / 4)
    assert processes.memory_limit(0.5, 4) == 500_000_000
    assert processes.memory_limit(0.0, 4) is None
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, 64 << 20, flags=private) as held:  # pages of its own: what numpy frees, the allocator may keep
        without = processes.memory_used(os.getpid())
        held.write(b"x" * (64 << 20))
        assert 60e6 < processes.memory_used(os.getpid()) - without < 150e6
    assert processes.memory_used(2**30) == 0


def test_limits_of_control_groups_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both kinds, and those of outer groups."""
    monkeypatch.setattr(processes, "_GROUPS", tmp_path)
    assert list(processes._group_limits()) == []
    for root, name in ((tmp_path, "memory.max"), (tmp_path / "memory", "memory.limit_in_bytes")):
        root.mkdir(exist_ok=True)
        (root / name).write_text("1000000000\n")
        assert set(processes._group_limits()) == {10**9}
        assert processes.memory_there() == 10**9
        (root / name).write_text("max\n" if root == tmp_path else "9223372036854771712\n")
        assert list(processes._group_limits()) == []

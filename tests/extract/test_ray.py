"""The Ray engine: bytes of a local run, also after everything that can be killed was killed."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from speechssl.cli import main
from speechssl.data.corpus import open_corpus
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.extract import plan, ray_engine
from speechssl.extract.job import ModelSpec, load
from speechssl.extract.outputs import verify
from speechssl.extract.run import Options, run_units
from speechssl.extract.worker import Settings
from tests.battery.test_workers import Misbehaving
from tests.extract.helpers import contents, corpus, model
from tests.extract.processes import descendants, listening_addresses

HERE = Options(workers=0, quiet=True)
RAY = Options(engine="ray", workers=2, quiet=True)
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a model, and the units that one process makes of them."""
    folder = tmp_path_factory.mktemp("ray")
    speech, spec = corpus(folder / "in", 40), model(folder / "model")
    run_units(speech, folder / "whole", spec, options=HERE)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on this machine as the engine starts it, shared by the tests of this file."""
    with ray_engine.cluster(None, 2) as ray:
        yield ray


def job(root: Path, out: Path, options: Options = RAY) -> None:
    run_units(open_corpus(root / "in"), out, ModelSpec(str(root / "model")), options=options)


def assert_whole(root: Path, out: Path) -> None:
    assert contents(out) == contents(root / "whole")
    assert verify(out)[0] == []
    assert not list(out.rglob(".tmp-*"))
    shards = [json.loads(line)["shard"] for line in (out / "journal.jsonl").read_text().splitlines()]
    assert sorted(shards) == list(range(40)), "a shard is missing or there twice"


def when_done(out: Path, count: int, deed: Callable[[], None]) -> threading.Thread:
    """Do something from the side as soon as `count` shards are done."""

    def wait() -> None:
        for _ in range(30_000):
            with contextlib.suppress(FileNotFoundError):
                if (out / "journal.jsonl").read_bytes().count(b"\n") >= count:
                    return deed()
            time.sleep(0.01)
        return None

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@needs_ray
def test_actors_give_the_bytes_of_a_local_run_and_nothing_listens_to_the_network(
    root: Path, cluster: Any, tmp_path: Path
) -> None:
    seen: set[str] = set()
    look = when_done(tmp_path / "out", 1, lambda: seen.update(listening_addresses([os.getpid(), *descendants()])))
    job(root, tmp_path / "out")
    look.join()
    assert_whole(root, tmp_path / "out")
    assert seen and seen <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@needs_ray
def test_killed_actors_and_killed_workers_cost_nothing(root: Path, cluster: Any, tmp_path: Path) -> None:
    """The only actor, and later the worker of the next: whoever goes on has to be new."""
    killed: list[str] = []

    def kill(what: str) -> None:
        guards = [pid for pid, command in descendants().items() if command.startswith("ray::Guard")]
        for pid in guards if what == "actor" else [pid for guard in guards for pid in descendants(guard)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(what)

    sides = [when_done(tmp_path / "out", 3, lambda: kill("actor")), when_done(tmp_path / "out", 9, lambda: kill("w"))]
    job(root, tmp_path / "out", dataclasses.replace(RAY, workers=1))
    [side.join() for side in sides]
    assert set(killed) == {"actor", "w"}, "it was over before anything was killed"
    assert_whole(root, tmp_path / "out")


@needs_ray
def test_a_driver_that_is_killed_leaves_nothing_behind_and_goes_on(root: Path, cluster: Any, tmp_path: Path) -> None:
    """The cluster lives on; the driver's actors do not. Goes on in this process: engines can change on the way."""
    address = cluster.get_runtime_context().gcs_address
    process = driver(root, tmp_path / "out", "--ray-address", address)
    when_done(tmp_path / "out", 2, process.kill).join()
    _, errors = process.communicate(timeout=200)
    assert process.returncode in (-signal.SIGKILL, 0), errors
    assert no_guards_left()
    job(root, tmp_path / "out", HERE)
    assert_whole(root, tmp_path / "out")


def driver(root: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    words = ["units", root / "in", "-o", out, "--model", root / "model", "--workers", 1, "--engine", "ray", "--quiet"]
    command = [sys.executable, "-m", "speechssl", *map(str, words), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def no_guards_left(seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while any(command.startswith("ray::Guard") for command in descendants().values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@needs_ray
@needs_ray
def test_an_address_where_nothing_answers_is_a_clear_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"Ray at {address}: .*refused"), ray_engine.cluster(address, 1):
            pass


def test_without_ray_the_error_names_the_extra(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = ["units", str(root / "in"), "-o", str(tmp_path / "out"), "--model", str(root / "model"), "--engine", "ray"]
    assert main(words) == 2
    assert "pip install 'speechssl[ray]'" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        job(root, tmp_path / "out")


def test_settings_without_effect_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["units", str(root / "in"), "-o", str(root / "never"), "--model", str(root / "model")]
    assert main([*words, "--ray-address", "auto"]) == 2
    assert "--ray-address is for --engine ray" in capsys.readouterr().err
    assert main([*words, "--engine", "ray", "--workers", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


@pytest.fixture
def guard(root: Path, tmp_path: Path) -> Iterator[tuple[ray_engine.Guard, Settings]]:
    """What an actor holds, in this process; and orders for it."""
    run_units(open_corpus(root / "in"), tmp_path / "out", ModelSpec(str(root / "model")), options=HERE)
    settings = Settings(load(tmp_path / "out"), ModelSpec(str(root / "model")), tmp_path / "out" / "shards", "0of1")
    one = ray_engine.Guard()
    yield one, settings
    one.end()


def test_an_actor_isolates_the_one_row_that_kills_its_worker(
    root: Path, guard: tuple[ray_engine.Guard, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechssl.extract.pool.main", Misbehaving("killed"))
    one, settings = guard
    assert one.begin(settings, 300.0, None, str(Path.cwd())) is None
    rows = open_corpus(root / "in").utterances[:3]
    poison = Path(rows[1].audio).rename(tmp_path / "poison.wav")
    try:
        task = plan.Task(1, (rows[0], dataclasses.replace(rows[1], audio=str(poison)), rows[2]))
        result = one.run(task)
        assert not isinstance(result, Exception)
        assert (result.ok, result.failures) == (2, {"worker-died": 1})
    finally:
        poison.rename(rows[1].audio)


def test_a_model_that_cannot_be_loaded_is_the_answer_to_the_first_shard(
    root: Path, guard: tuple[ray_engine.Guard, Settings], tmp_path: Path
) -> None:
    one, settings = guard
    model(tmp_path / "model")
    (tmp_path / "model" / "quantizer.safetensors").write_bytes(b"x")
    broken = dataclasses.replace(settings, spec=ModelSpec(str(tmp_path / "model")))
    assert one.begin(broken, 300.0, None, str(Path.cwd())) is None
    error = one.run(plan.Task(0, tuple(open_corpus(root / "in").utterances[:1])))
    assert isinstance(error, CheckpointError) and "not a usable quantizer" in str(error)


def test_an_actor_on_a_machine_that_does_not_share_the_folder_says_so(
    guard: tuple[ray_engine.Guard, Settings], tmp_path: Path
) -> None:
    one, settings = guard
    here = str(Path.cwd())
    gone = one.begin(dataclasses.replace(settings, folder=tmp_path / "nowhere" / "shards"), 300.0, None, here)
    assert isinstance(gone, DataError) and "must be shared by all machines" in str(gone)
    gone = one.begin(settings, 300.0, None, str(tmp_path / "nowhere"))
    assert isinstance(gone, DataError) and "must be shared by all machines" in str(gone)
    other = dataclasses.replace(settings, job=dataclasses.replace(settings.job, kernel="fast"))
    assert "is not the driver's: kernel" in str(one.begin(other, 300.0, None, here))

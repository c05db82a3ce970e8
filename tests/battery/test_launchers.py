"""Several processes and several machines on one job: killed at random moments, the bytes of an undisturbed run."""

import importlib.util
import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from speechssl.data.corpus import open_corpus
from speechssl.extract.job import ModelSpec
from speechssl.extract.outputs import verify
from speechssl.extract.run import Options, run_merge, run_units
from tests.battery.conftest import Record
from tests.battery.size import FULL, size
from tests.extract.helpers import contents, corpus, model
from tests.extract.processes import descendants
from tests.extract.test_kill import start

HERE = Options(workers=0, quiet=True)
PARTS, SHARDS, ROW_S = 3, 48, 0.02


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a model, and the units that one process makes of them."""
    folder = tmp_path_factory.mktemp("launchers")
    speech, spec = corpus(folder / "in", SHARDS), model(folder / "model")
    run_units(speech, folder / "whole", spec, options=HERE)
    start(os.getpid).join()
    return folder


def slow_part(root: Path, out: Path, part: int) -> None:
    """One part in this process, slow enough to be killed in the middle."""
    from speechssl.extract.encode import Encoder

    original = Encoder.encode

    def encode(*args: object) -> object:
        time.sleep(ROW_S)
        return original(*args)  # type: ignore[arg-type]

    Encoder.encode = encode  # type: ignore[method-assign, assignment]
    options = Options(workers=0, quiet=True, part=(part, PARTS))
    run_units(open_corpus(root / "in"), out, ModelSpec(str(root / "model")), options=options)


def merge_parts(root: Path, outs: list[Path], out: Path) -> None:
    run_merge(open_corpus(root / "in"), outs, out, options=HERE)


def run_with_kills(jobs: list[tuple[Callable[..., None], tuple[object, ...]]], kills: int, seed: int) -> int:
    """Run jobs side by side, killing one of them now and then; each is started again until it ends by itself.

    Returns how many kills met a running process.
    """
    generator = random.Random(seed)
    running = {number: start(target, *args) for number, (target, args) in enumerate(jobs)}
    hit = 0
    deadline = time.monotonic() + 300
    while running:
        time.sleep(generator.uniform(0.1, 0.6))
        assert time.monotonic() < deadline, "parts do not end"
        number = generator.choice(sorted(running))
        if hit < kills and running[number].is_alive():
            running[number].kill()
            running[number].join()
            hit += running[number].exitcode == -signal.SIGKILL
        for number, process in list(running.items()):
            if not process.is_alive():
                process.join()
                if process.exitcode == 0:
                    del running[number]
                else:
                    assert process.exitcode == -signal.SIGKILL, "a part failed by itself"
                    running[number] = start(jobs[number][0], *jobs[number][1])
    return hit


def duplicates(folders: list[Path]) -> int:
    lines = [line for folder in folders for path in folder.glob("journal*.jsonl") for line in path.open()]
    return len(lines) - len({json.loads(line)["shard"] for line in lines})


@pytest.mark.parametrize("seed", range(size(1, 4)))
def test_parts_on_one_shared_folder_killed_at_random(root: Path, tmp_path: Path, record: Record, seed: int) -> None:
    out = tmp_path / "out"
    hit = run_with_kills([(slow_part, (root, out, part)) for part in range(PARTS)], size(3, 12), seed)
    same, problems = contents(out) == contents(root / "whole"), verify(out)[0]
    record(f"{PARTS} parts at once on one folder, run {seed}", kills=hit, done_twice=duplicates([out]),
           equal_to_a_local_run=int(same), problems=len(problems))  # fmt: skip
    assert hit and same and not problems and not duplicates([out])


@pytest.mark.parametrize("seed", range(size(1, 3)))
def test_parts_in_folders_of_their_own_and_their_merge_killed_at_random(
    root: Path, tmp_path: Path, record: Record, seed: int
) -> None:
    outs = [tmp_path / f"part{part}" for part in range(PARTS)]
    hit = run_with_kills([(slow_part, (root, out, part)) for part, out in enumerate(outs)], size(2, 9), 100 + seed)
    hit += run_with_kills([(merge_parts, (root, outs, tmp_path / "out"))], size(1, 5), 200 + seed)
    same, problems = contents(tmp_path / "out") == contents(root / "whole"), verify(tmp_path / "out")[0]
    record(f"{PARTS} parts in own folders, merged, run {seed}", kills=hit, done_twice=duplicates([tmp_path / "out"]),
           equal_to_a_local_run=int(same), problems=len(problems))  # fmt: skip
    assert hit and same and not problems and not duplicates([tmp_path / "out"])


@pytest.mark.skipif(not FULL or importlib.util.find_spec("ray") is None, reason="full battery, with the extra ray")
def test_ray_actors_workers_and_drivers_killed_at_random(root: Path, tmp_path: Path, record: Record) -> None:
    from speechssl.extract import ray_engine
    from tests.battery.commands import Command

    generator = random.Random(0)
    hits = {"actors": 0, "workers": 0, "drivers": 0, "drivers by SIGTERM": 0}
    good: list[bool] = []
    with ray_engine.cluster(None, 2) as ray:
        words = ["units", root / "in", "--model", root / "model", "--engine", "ray", "--workers", 2, "--quiet"]
        words += ["--ray-address", ray.get_runtime_context().gcs_address]
        for number in range(len(hits)):
            out = tmp_path / f"out{number}"
            for victim in [*hits][number:] + [*hits][:number] + [""]:  # every kind comes first once
                command = Command(*words, "-o", out, log=tmp_path / "log")
                wanted = finished(out) + generator.randrange(2, 9)
                if command.wait_until(lambda out=out, wanted=wanted: finished(out) >= wanted) and victim:
                    hits[victim] += kill(victim, command)
                command.process.wait(200)
                if (out / "sha256sums").exists():
                    break
            good.append(contents(out) == contents(root / "whole") and not verify(out)[0] and not duplicates([out]))
    record("Ray: killed at random", **hits, runs=len(good), equal_to_a_local_run_without_duplicates=sum(good))
    assert all(good) and all(hits.values())


def finished(out: Path) -> int:
    """Lines of the journal."""
    with suppress(FileNotFoundError):
        return (out / "journal.jsonl").read_bytes().count(b"\n")
    return 0


def kill(victim: str, command: Any) -> int:
    """Kill one of a kind, if there is one; how many were hit."""
    guards = [pid for pid, name in descendants().items() if name.startswith("ray::Guard")]
    if victim.startswith("drivers"):
        pids = [command.pid] if command.running() else []
    else:
        pids = guards[:1] if victim == "actors" else [pid for guard in guards[:1] for pid in descendants(guard)]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM if "SIGTERM" in victim else signal.SIGKILL)
    return int(bool(pids))

"""k-means by several real processes: the bytes of one process, whoever holds which part; what happens when one dies."""

import json
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechssl.errors import ConfigError, DataError
from speechssl.quantizers.kmeans_fit import fit
from speechssl.quantizers.kmeans_parallel import ALONE, Processes, joined

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((30, 12)) * 3
UTTERANCES = {
    f"utt{number}": (CENTRES[RNG.integers(0, 30, length)] + RNG.standard_normal((length, 12))).astype(np.float32)
    for number, length in enumerate([1, 699, 2200, 0, 1500, 800, 40, 760])
}
SETTINGS: dict[str, dict[str, Any]] = {
    "sample": {"num_units": 40, "seed": 3, "max_frames": 2000, "iterations": 6},
    "everything": {"num_units": 40, "seed": 3, "start_frames": 500, "iterations": 6},
    "full": {"num_units": 40, "mode": "full", "max_frames": 900, "iterations": 6, "restarts": 2, "init_frames": 400},
    "refilled": {"num_units": 20, "init": torch.cat([torch.zeros(10, 12), torch.full((10, 12), 1e3)]), "iterations": 6},
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def launched(rank: int, size: int, port: int, out: Path, work: Callable[..., None], *rest: object) -> None:
    """What torchrun does for a process, with what it prints in a file."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with (out / f"said-{rank}").open("w", buffering=1) as said:
        sys.stdout = sys.stderr = said
        try:
            work(rank, size, out, *rest)
        except Exception:
            traceback.print_exc()
            os._exit(1)


def together(size: int, out: Path, work: Callable[..., None], *rest: object) -> tuple[list[int], list[str]]:
    """Exit codes of the processes, and what they printed."""
    out.mkdir()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["speechssl.quantizers.kmeans_fit"])
    port = free_port()
    processes = [context.Process(target=launched, args=(rank, size, port, out, work, *rest)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode is not None, "a process hangs"
    return [process.exitcode or 0 for process in processes], [(out / f"said-{r}").read_text() for r in range(size)]


def fit_part(rank: int, size: int, out: Path, names: list[str]) -> None:
    """The utterances in another order, dealt out unevenly; the last process may have none."""
    mine = list(UTTERANCES.items())[::-1]
    mine = mine if size == 1 else mine[:5] if rank == 0 else mine[5:] if rank == 1 else []
    with joined() as processes:
        for name in names:
            model, report = fit(lambda: iter(mine), processes=processes, **SETTINGS[name])
            facts = [report.frames_seen, report.frames_sampled, report.usage, report.inertia, report.perplexity,
                     [[run.inertia, run.refilled, run.converged] for run in report.runs]]  # fmt: skip
            (out / f"{name}-{rank}").write_bytes(model.centroids.numpy().tobytes() + json.dumps(facts).encode())


def test_one_two_and_three_processes_give_the_same_bytes(tmp_path: Path) -> None:
    fit_part_alone = tmp_path / "alone"
    fit_part_alone.mkdir()
    fit_part(0, 1, fit_part_alone, list(SETTINGS))
    refilled = json.loads((fit_part_alone / "refilled-0").read_bytes()[20 * 12 * 4 :])[-1][0][1]
    assert refilled >= 10
    for size in (2, 3):
        codes, said = together(size, tmp_path / str(size), fit_part, list(SETTINGS))
        assert codes == [0] * size, said
        for name in SETTINGS:
            expected = (fit_part_alone / f"{name}-0").read_bytes()
            for rank in range(size):
                assert (tmp_path / str(size) / f"{name}-{rank}").read_bytes() == expected, (name, rank)


def die_in_pass(rank: int, size: int, out: Path, victim: int, how: str) -> None:
    passes = 0

    def features() -> Any:
        nonlocal passes
        passes += 1
        for number, item in enumerate(UTTERANCES.items()):
            if number % size == rank:
                if rank == victim and passes == 3:
                    if how == "kill":
                        os._exit(9)
                    raise DataError(f"{item[0]}: no longer there")
                yield item

    with joined(timeout_s=60) as processes:
        fit(features, processes=processes, num_units=40, mode="full", max_frames=900, tolerance=0.0)


@pytest.mark.parametrize(("victim", "how"), [(0, "kill"), (1, "kill"), (2, "error")])
def test_a_process_that_dies_ends_the_others_with_a_reason(tmp_path: Path, victim: int, how: str) -> None:
    codes, said = together(3, tmp_path / "out", die_in_pass, victim, how)
    assert codes[victim] == (9 if how == "kill" else 1)
    for rank in {0, 1, 2} - {victim}:
        assert codes[rank] == 1
        assert f"DataError: process {rank} of 3: another process ended, or did nothing for 60 s" in said[rank]


def stop_in_pass(rank: int, size: int, out: Path) -> None:
    import signal

    with joined(timeout_s=5) as processes:
        if rank == 1:
            (out / "pid").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
        fit(lambda: iter(UTTERANCES.items()), processes=processes, num_units=4)


def test_a_process_that_hangs_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    import signal
    import threading

    def let_go() -> None:
        os.kill(int((tmp_path / "out" / "pid").read_text()), signal.SIGKILL)

    timer = threading.Timer(40, let_go)
    timer.start()
    out = tmp_path / "out"
    out.mkdir()
    context = multiprocessing.get_context("forkserver")
    port = free_port()
    processes = [context.Process(target=launched, args=(rank, 2, port, out, stop_in_pass)) for rank in range(2)]
    for process in processes:
        process.start()
    processes[0].join(35)
    assert processes[0].exitcode == 1
    assert "did nothing for 5 s" in (out / "said-0").read_text()
    timer.cancel()
    let_go()
    processes[1].join()


def test_features_of_another_size_in_one_process_are_refused_everywhere(tmp_path: Path) -> None:
    codes, said = together(2, tmp_path / "out", mixed_channels)
    assert codes == [1, 1] and all("channels: one corpus, one encoder" in text for text in said), said


def mixed_channels(rank: int, size: int, out: Path) -> None:
    with joined() as processes:
        fit(np.ones((50, 3 + rank), np.float32), processes=processes, num_units=2)


def test_without_settings_of_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with joined() as processes:
        assert processes is ALONE and (processes.rank, processes.size) == (0, 1)
        assert processes.gather_json({"a": [2**70, None]}) == [{"a": [2**70, None]}]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="RANK, MASTER_ADDR, MASTER_PORT must be set"), joined():
        pass
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigError, match="not a number"), joined():
        pass
    assert isinstance(ALONE, Processes)

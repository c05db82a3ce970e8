"""SIGKILL at random moments of real commands, SIGTERM amid work: the restarted result has the same bytes."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.battery.commands import Command, run
from tests.battery.conftest import Record
from tests.battery.size import size
from tests.extract.helpers import contents, corpus, model

UTTERANCES = 64  # one shard each
FORMATS = "text,jsonl,npz"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a model, and what undisturbed commands make of them."""
    folder = tmp_path_factory.mktemp("kills")
    corpus(folder / "in", UTTERANCES, seconds=0.8)
    model(folder / "model")
    run(*units(folder, folder / "undisturbed", 1), log=folder / "log")
    return folder


def units(root: Path, out: Path, workers: int) -> list[object]:
    return ["units", root / "in", "-o", out, "--model", root / "model", "--workers", workers, "--format", FORMATS,
            "--dedup", "--quiet"]  # fmt: skip


def journalled(out: Path) -> list[int]:
    """Shards in the journal, in its order; what follows the last newline was torn off by a kill."""
    try:
        lines = (out / "journal.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line)["shard"] for line in lines]


def in_hand(out: Path) -> int:
    """How many shards the next run does again: those begun (a scratch folder) or written, and not journalled.

    A scratch folder whose files have just been moved into place is the same shard as they are, not another one: its
    process begins none before the journal has it.
    """
    written = {number_of(path) for path in out.glob("shards/units_*.jsonl")} - set(journalled(out))
    scratch = [{number_of(path) for path in folder.glob("units_*")} for folder in out.glob("shards/.tmp-*")]
    named = set().union(*scratch)
    nameless = sum(not numbers for numbers in scratch)
    return len(written | named) + max(0, nameless - len(written - named))


def number_of(path: Path) -> int:
    return int(path.name.split("_")[1])


def moment(random: np.random.Generator, out: Path, command: Command, needed_s: float) -> None:
    """Wait for a random moment: anywhere, in the middle of shards, or while the final files are written."""
    kind = random.choice(["anywhere", "shards", "shards", "merge"])
    if kind == "anywhere":
        time.sleep(needed_s * random.uniform(0, 1))
        return
    there = len(journalled(out))
    wanted = UTTERANCES if kind == "merge" else min(UTTERANCES, there + int(random.integers(1, 13)))
    command.wait_until(lambda: len(journalled(out)) >= wanted)
    time.sleep(random.uniform(0, 0.06 if kind == "merge" else 0.01))


@pytest.mark.parametrize("workers", [1, 2])
def test_extraction_killed_at_random_moments(root: Path, tmp_path: Path, record: Record, workers: int) -> None:
    """Every kill costs at most one shard for each worker, and the final bytes are those of an undisturbed run."""
    expected = contents(root / "undisturbed")
    random = np.random.default_rng(workers)
    began = time.monotonic()
    run(*units(root, tmp_path / "timed", workers), log=tmp_path / "log")
    needed_s = time.monotonic() - began
    wanted, kills, finished, late = size(2, 25), 0, 0, 0
    again: list[int] = []
    slowest_s = 0.0
    out = tmp_path / "0"
    while kills < wanted or not (out / "sha256sums").exists():
        if (out / "sha256sums").exists():
            finished += whole(out, expected)
            out = tmp_path / str(finished)
        command = Command(*units(root, out, workers), log=tmp_path / "log")
        before = journalled(out)
        if kills == wanted:
            assert command.finish() == 0, command.said()
            break
        moment(random, out, command, needed_s)
        if not command.running():
            late += 1  # it was faster
            assert command.process.returncode == 0, command.said()
            continue
        slowest_s = max(slowest_s, command.kill(group=bool(kills % 2)))
        kills += 1
        again.append(in_hand(out))
        assert journalled(out)[: len(before)] == before, "a committed shard was lost"
    finished += whole(out, expected)
    record(
        f"SIGKILL of units, {workers} worker{'s' * (workers > 1)}", kills=kills, runs_with_the_right_bytes=finished,
        shards_redone_at_most=max(again), shards_redone_in_all=sum(again), kills_that_came_too_late=late,
        children_gone_within_s=round(slowest_s, 1),
    )  # fmt: skip
    assert max(again) <= workers
    assert slowest_s < 30


def whole(out: Path, expected: dict[str, bytes]) -> int:
    assert contents(out) == expected
    assert not list(out.rglob(".tmp-*")), "scratch was left behind"
    shards = journalled(out)
    assert sorted(shards) == list(range(UTTERANCES)), "a finished shard was done again"
    return 1


def kmeans(root: Path, out: Path, *more: object) -> list[object]:
    return ["kmeans", root / "in", "-o", out, "--encoder", "mfcc", "-k", 24, "--quiet", *more]


def fitted(out: Path) -> dict[str, object]:
    """A unit model's bytes; of the report what is no time."""
    found: dict[str, object] = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "kmeans.json"}
    report = json.loads((out / "kmeans.json").read_text())
    return found | {key: value for key, value in report.items() if key in ("inertia", "usage", "frames_seen", "runs")}


@pytest.mark.parametrize("mode", ["sample", "full"])
def test_kmeans_killed_at_random_moments(root: Path, tmp_path: Path, record: Record, mode: str) -> None:
    """The model folder is there whole or not at all, and the next fit gives the undisturbed one's bytes."""
    more = ["--workers", size(0, 2), "--full"] if mode == "full" else ["--workers", 0]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    began = time.monotonic()
    run(*kmeans(root, tmp_path / "undisturbed", *more), log=tmp_path / "log")
    needed_s = time.monotonic() - began
    expected = fitted(tmp_path / "undisturbed")
    random = np.random.default_rng(7)
    out = tmp_path / "models" / "m"
    out.parent.mkdir()
    wanted, kills, halves = size(1, 13), 0, 0
    while kills < wanted:
        command = Command(*kmeans(root, out, *more), log=tmp_path / "log", TMPDIR=str(scratch))
        time.sleep(needed_s * random.uniform(0.3, 1.0))
        if not command.running():
            assert command.process.returncode == 0, command.said()
            assert fitted(out) == expected
            remove(out)
            continue
        command.kill(group=bool(kills % 2))
        kills += 1
        if out.exists():
            halves += fitted(out) != expected
            remove(out)
    run(*kmeans(root, out, *more), log=tmp_path / "log", TMPDIR=str(scratch))
    left = [path.name for path in (*out.parent.iterdir(), *scratch.iterdir()) if path != out]
    record(
        f"SIGKILL of kmeans, {mode}", kills=kills, half_models_in_place=halves,
        runs_with_the_right_bytes=int(fitted(out) == expected), scratch_left=len(left),
    )  # fmt: skip
    assert halves == 0
    assert fitted(out) == expected
    assert left == []


def remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_shards_in_hand_are_counted_once(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    for folder, name in ((shards, "units_7_64.jsonl"), (shards / ".tmp-a", ""), (shards / ".tmp-b", "units_9_64.npz")):
        folder.mkdir(parents=True, exist_ok=True)
        if name:
            (folder / name).touch()
    assert in_hand(tmp_path) == 2  # 7, moved from .tmp-a, and 9
    (shards / ".tmp-c").mkdir()
    assert in_hand(tmp_path) == 3  # one more has just been begun
    (tmp_path / "journal.jsonl").write_text('{"shard": 7}\n')
    assert in_hand(tmp_path) == 3  # .tmp-a is no longer 7's


SITUATIONS = ["a group, a long recording", "a process, short recordings", "a group, short recordings"]


@pytest.mark.parametrize("situation", SITUATIONS[: size(1, 3)])
def test_sigterm_ends_extraction_in_order(root: Path, tmp_path: Path, record: Record, situation: str) -> None:
    """Exit code 2 within 30 s, nothing journalled is lost, and the same command goes on to the same bytes."""
    is_group, is_long = situation.startswith("a group"), situation.endswith("long recording")
    speech = root
    if is_long:
        speech = tmp_path
        corpus(speech / "in", 8)
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16000 * 60).astype(np.float32)
        with soundfile.SoundFile(speech / "in" / "long.flac", "w", 16000, 1, subtype="PCM_16") as file:
            for _ in range(size(30, 180)):
                file.write(noise)
        (speech / "model").symlink_to(root / "model")
        run(*units(speech, tmp_path / "undisturbed", 2), log=tmp_path / "log")
    expected = contents(speech / "undisturbed")
    out = tmp_path / "out"
    command = Command(*units(speech, out, 2), log=tmp_path / "log")
    wanted = 8 if is_long else 20
    assert command.wait_until(lambda: len(journalled(out)) >= wanted), "the work was done before the signal"
    before = journalled(out)
    command.send(signal.SIGTERM, group=is_group)
    began = time.monotonic()
    code = command.finish()
    seconds = time.monotonic() - began
    said, after = command.said(), journalled(out)
    left = [path.name for path in out.rglob(".tmp-*")]
    run(*units(speech, out, 2), log=tmp_path / "log")
    record(
        f"SIGTERM of units: {situation}", exit_code=code, seconds=round(seconds, 1),
        committed_shards_lost=len(set(before) - set(after)), scratch_left=len(left),
        resumed_bytes_equal=int(contents(out) == expected),
    )  # fmt: skip
    assert (code, left) == (2, []), said
    assert "the same command goes on from here" in said
    assert seconds < 30
    assert after[: len(before)] == before
    assert contents(out) == expected

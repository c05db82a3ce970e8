"""Broken Kaldi data directories: refused with file and line, or the rows that fail are named; never anything else."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.cli import main
from speechssl.extract.outputs import verify
from tests.battery.commands import Command, run
from tests.battery.conftest import Record
from tests.battery.size import size
from tests.extract.helpers import contents, corpus, model

SEGMENTS = ("a-1 r1 0 0.5", "a-2 r1 0.5 1", "b-1 r2 0.25 0.75", "b-2 r3 0 -1")
IDS = [line.split(" ")[0] for line in SEGMENTS]


def good(folder: Path) -> None:
    """Three recordings of a second, four segments, two speakers."""
    folder.mkdir()
    for number in (1, 2, 3):
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, 16000)
        soundfile.write(folder.parent / f"r{number}.wav", noise, 16000)
    write(folder, "wav.scp", *(f"r{number} {folder.parent}/r{number}.wav" for number in (1, 2, 3)))
    write(folder, "segments", *SEGMENTS)
    write(folder, "utt2spk", *(f"{key} {key[0]}" for key in IDS))
    write(folder, "spk2utt", "a a-1 a-2", "b b-1 b-2")
    write(folder, "text", *(f"{key} some words" for key in IDS))


def write(folder: Path, name: str, *lines: str, end: str = "\n") -> None:
    (folder / name).write_text(end.join(lines) + (end if lines else ""), newline="")


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace text in a table."""

    def change(folder: Path) -> None:
        data = (folder / name).read_bytes().decode()
        assert old in data
        (folder / name).write_bytes(data.replace(old, new).encode())

    return change


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def empty(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).write_bytes(b"") for name in names] and None


def swap(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text("".join(reversed((folder / name).read_text().splitlines(keepends=True))))

    return change


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes().replace(old, new)) and None


def whole(folder: Path) -> None:
    """Recordings are the utterances."""
    for name in ("segments", "utt2spk", "spk2utt", "text"):
        (folder / name).unlink()


def utf16(folder: Path) -> None:
    (folder / "wav.scp").write_bytes((folder / "wav.scp").read_text().encode("utf-16"))


def huge(folder: Path) -> None:
    (folder / "text").write_bytes(b"a-1 " + b"x" * (65 << 20) + b"\n")


def folder_for_text(folder: Path) -> None:
    (folder / "text").unlink()
    (folder / "text").mkdir()


def command(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        entry = text.replace("NEVER", str(folder / "never")).replace("r2.wav", str(folder.parent / "r2.wav"))
        edit("wav.scp", f"r2 {folder.parent}/r2.wav", f"r2 {entry}")(folder)

    return change


@dataclass(frozen=True)
class Case:
    """What is broken, and what each command says to it."""

    change: Callable[[Path], object]
    units: str | dict[str, int] | None  # None: all good; a pattern of the refusal; or rows by reason code
    check: str | None  # a pattern of `data check`; None: clean
    fixed: int | None  # utterances that `data fix` keeps; None: it refuses


GONE = r"no utterances found"
CASES: dict[str, Case] = {
    "nothing broken": Case(lambda folder: None, None, None, 4),
    "an empty folder": Case(lambda f: [p.unlink() for p in f.iterdir()], GONE, GONE, None),
    "wav.scp empty": Case(empty("wav.scp"), r"wav\.scp: empty", r"wav\.scp: empty", None),
    "segments empty": Case(empty("segments"), r"segments: empty", r"segments: empty", None),
    "utt2spk empty": Case(empty("utt2spk"), None, r"utt2spk: empty", None),
    "text empty": Case(empty("text"), None, r"text: empty", None),
    "wav.scp missing": Case(without("wav.scp"), GONE, GONE, None),
    "utt2spk missing": Case(without("utt2spk", "spk2utt"), None, r"utt2spk: warning: absent", 4),
    "text missing": Case(without("text"), None, None, 4),
    "wav.scp unsorted": Case(swap("wav.scp"), None, r"wav\.scp:2: not sorted", 4),
    "segments unsorted": Case(swap("segments"), None, r"segments:2: not sorted", 4),
    "text unsorted": Case(swap("text"), None, r"text:2: not sorted", 4),
    "a recording missing": Case(edit("wav.scp", "r2.wav", "gone.wav"), {"missing": 1}, r"wav\.scp:2: .*no such", 3),
    "a recording not in wav.scp": Case(edit("segments", "b-1 r2", "b-1 r9"), r"segments:3: .*'r9'", r"segments:3", 3),
    "a segment beyond the end": Case(edit("segments", "0.5 1", "0.5 99"), {"bad-segment": 1}, r"segments:2: .*0\.5", 4),
    "a segment that begins beyond it": Case(edit("segments", "0.5 1", "50 99"), {"bad-segment": 1}, r"segments:2: ", 4),
    "a segment reversed": Case(
        edit("segments", "0.25 0.75", "0.75 0.25"), r"segments:3: .*not after", r"segments:3", 3
    ),
    "a segment of no length": Case(edit("segments", "0.25 0.75", "0.25 0.25"), r"segments:3: ", r"segments:3: ", 3),
    "overlapping segments": Case(edit("segments", "0.5 1", "0.2 1"), None, None, 4),
    "a segment too short for a frame": Case(edit("segments", "0 0.5", "0 0.02"), {"too-short": 1}, None, 4),
    "a negative start": Case(edit("segments", "0.25 0.75", "-0.25 0.75"), r"segments:3: .*from 0", r"segments:3: ", 3),
    "NaN in segments": Case(edit("segments", "0.25 0.75", "nan 0.75"), r"segments:3: .*nan", r"segments:3: ", 3),
    "infinity in segments": Case(edit("segments", "0.25 0.75", "0.25 inf"), r"segments:3: .*inf", r"segments:3: ", 3),
    "words in segments": Case(edit("segments", "0.25 0.75", "now then"), r"segments:3: .*now", r"segments:3: ", 3),
    "a column missing": Case(edit("segments", "0.25 0.75", "0.25"), r"segments:3: expected", r"segments:3: ", 3),
    "a channel column": Case(edit("segments", "0.25 0.75", "0.25 0.75 A"), r"segments:3: .*chan", r"segments:3: ", 3),
    "an id in text only": Case(edit("text", "a-2 some", "z-9 some"), r"text: 'z-9'", r"text:2: 'z-9'", 3),
    "an id in utt2spk only": Case(edit("utt2spk", "a-2 a", "z-9 a"), r"utt2spk: 'z-9'", r"utt2spk:2: 'z-9'", 3),
    "no newline at the end": Case(edit("segments", "0 -1\n", "0 -1"), None, r"segments:4: no newline", 4),
    "CR LF in segments": Case(replaced("segments", b"\n", b"\r\n"), None, r"segments:1: .*CR LF", 4),
    "CR LF in wav.scp": Case(replaced("wav.scp", b"\n", b"\r\n"), None, r"wav\.scp:1: .*CR LF", 4),
    "a byte order mark": Case(edit("wav.scp", "r1 ", "\ufeffr1 "), r"scp:1: .*byte order", r"scp:1: .*byte order", 4),
    "UTF-16": Case(utf16, r"wav\.scp:1: NUL", r"wav\.scp:1: not UTF-8", None),
    "Latin-1": Case(replaced("text", b"a-2 some", b"a-2 s\xf6me"), r"text:2: not UTF-8", r"text:2: not UTF-8", 3),
    "an id twice": Case(edit("segments", "a-2 r1", "a-1 r1"), r"segments:2: .*before", r"segments:2: .*in line 1", 3),
    "a recording twice": Case(edit("wav.scp", "r2 ", "r1 "), r"scp:2: .*before", r"scp:2: .*in line 1", 3),
    "an id twice in text": Case(edit("text", "a-2 some", "a-1 other"), r"text:2: .*before", r"text:2: .*in line 1", 3),
    "a command": Case(command("touch NEVER |"), r"wav\.scp:2: .*command", r"wav\.scp:2: .*command", 3),
    "an allowed program": Case(command("cat r2.wav |"), r"wav\.scp:2: .*--allow-pipes", r"wav\.scp:2: .*command", 4),
    "an empty line": Case(edit("segments", "a-2 r1", "\na-2 r1"), r"segments:2: empty line", r"segments:2: empty", 4),
    "an empty line in wav.scp": Case(edit("wav.scp", "r2 ", "\nr2 "), r"scp:2: empty line", r"scp:2: empty line", 4),
    "an id without value": Case(edit("wav.scp", "r2 ", "r9\nr2 "), r"scp:2: 'r9' has no", r"scp:2: 'r9' has no", 4),
    "NUL": Case(edit("text", "a-2 some", "a-2 so\0me"), r"text:2: NUL", r"text:2: NUL", 3),
    "one huge line": Case(huge, r"text:1: line longer", r"text:1: line longer", None),
    "a megabyte of text": Case(edit("text", "a-1 some", "a-1 " + "so" * 500_000), None, None, 4),
    "a folder named text": Case(folder_for_text, r"text: not a regular file", r"text: a folder", 4),
    "recordings only": Case(whole, None, r"utt2spk: warning: absent", 3),
}


def outcome(argv: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(list(map(str, argv)))
    said = capsys.readouterr()
    assert "Traceback" not in said.err, said.err
    return code, said.err + said.out


@pytest.fixture(scope="module")
def unit_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model(folder := tmp_path_factory.mktemp("model"))
    return folder


def codes(out: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in (out / "failures.tsv").read_text().splitlines()[1:]:
        found[line.split("\t")[1]] = found.get(line.split("\t")[1], 0) + 1
    return found


def test_broken_data_dirs(tmp_path: Path, unit_model: Path, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command says what it must; what is refused leaves nothing; what is mended is clean and can be used."""
    refused = named = used = mended = 0
    wrong: list[str] = []

    def expect(what: str, holds: bool, said: str) -> bool:
        if not holds:
            wrong.append(f"{what}: {said[:500]}")
        return holds

    for number, (name, case) in enumerate(CASES.items()):
        folder, out = tmp_path / str(number), tmp_path / str(number) / "out"
        folder.mkdir()
        good(folder / "data")
        case.change(folder / "data")
        units = ["units", folder / "data", "-o", out, "--model", unit_model, "--workers", 0, "--quiet"]
        code, said = outcome(units, capsys)
        if isinstance(case.units, str):
            refused += expect(f"{name}: units", code == 2 and bool(re.search(case.units, said)), said)
            expect(f"{name}: nothing is written", not out.exists() and not (folder / "data" / "never").exists(), said)
        else:
            count = len((out / "units").read_text().splitlines()) + sum((case.units or {}).values())
            holds = code == bool(case.units) and codes(out) == (case.units or {}) and count in (3, 4)
            named += expect(f"{name}: units", holds, f"{code} {codes(out)} {said}") and bool(case.units)
            used += not case.units
        code, said = outcome(["data", "check", folder / "data", "--audio"], capsys)
        if case.check is None:
            expect(f"{name}: check", code == 0 and "0 problems, 0 warnings" in said, said)
        else:
            clean = 0 if "warning" in case.check else 2 if case.check == GONE else 1
            expect(f"{name}: check", code == clean and bool(re.search(case.check, said)), said)
        code, said = outcome(["data", "fix", folder / "data", folder / "fixed"], capsys)
        if case.fixed is None:
            expect(f"{name}: fix", code == 2 and not (folder / "fixed").exists(), said)
            continue
        if expect(f"{name}: fix", code < 2 and f"{case.fixed} utterances kept" in said, said):
            code, said = outcome(["data", "check", folder / "fixed", "--allow-pipes"], capsys)
            mended += expect(f"{name}: check after fix", code == 0, said)
    record(
        "broken data dirs", dirs=len(CASES), refused=refused, failing_rows_named=named,
        harmless=used, mended=mended, wrong=len(wrong),
    )  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_two_writers_on_one_folder(tmp_path: Path, unit_model: Path, record: Record) -> None:
    """The second is refused at once and told which process is there; the first is not disturbed."""
    corpus(tmp_path / "in", 64, seconds=1.5)
    out = tmp_path / "out"
    argv = ["units", tmp_path / "in", "-o", out, "--model", unit_model, "--workers", 1, "--quiet"]
    tried, refused, told, slowest = size(1, 5), 0, 0, 0.0
    for number in range(tried):
        out = argv[3] = tmp_path / f"out{number}"
        first = Command(*argv, log=tmp_path / "first")
        assert first.wait_until(lambda out=out: (out / "job.json").exists())  # type: ignore[misc]
        began = time.monotonic()
        second = Command(*argv, log=tmp_path / "second")
        code = second.finish()
        assert first.running(), "the first was done before the second began"
        slowest = max(slowest, time.monotonic() - began)
        refused += code == 2 and "another process is writing there" in second.said()
        told += f"(process {first.pid} on " in second.said() and "lock" in second.said()
        assert first.finish() == 0, first.said()
        assert verify(out)[0] == []
    record("second writer on one folder", tried=tried, refused=refused, told_which_process=told, s=round(slowest, 1))
    assert (refused, told) == (tried, tried), second.said()


def test_another_job_in_the_same_folder(
    tmp_path: Path, unit_model: Path, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other input, model, settings or kind: refused with what differs, and what is there stays."""
    corpus(tmp_path / "in", 4)
    corpus(tmp_path / "other", 3)
    model(tmp_path / "model21", 21)
    out = tmp_path / "out"
    first = ["units", tmp_path / "in", "-o", out, "--model", unit_model, "--workers", 0, "--quiet"]
    assert outcome(first, capsys)[0] == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and "lock" not in path.name}
    jobs: dict[str, list[object]] = {
        "manifest": ["units", tmp_path / "other", *first[2:]],
        "num_units": [*first[:5], tmp_path / "model21", *first[6:]],
        "kind": ["features", *first[1:]],
        "shard_size": [*first, "--shard-size", 2],
        "window_s": [*first, "--window", 30],
    }
    refused = 0
    for what, argv in jobs.items():
        code, said = outcome(argv, capsys)
        refused += code == 2 and "holds another job" in said and what in said
        assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and "lock" not in p.name}, what
    record("another job in a folder that has one", tried=len(jobs), refused=refused)
    assert refused == len(jobs)


def test_two_parts_at_the_same_time(tmp_path: Path, unit_model: Path, record: Record) -> None:
    """--shard 0/2 and 1/2 begun together give the files of one run, each shard done once."""
    corpus(tmp_path / "in", 24)
    argv = ["units", tmp_path / "in", "--model", unit_model, "--quiet", "--workers", 1]
    run(*argv, "-o", tmp_path / "whole", log=tmp_path / "log")
    expected = contents(tmp_path / "whole")
    tried, equal, twice = size(1, 8), 0, 0
    for number in range(tried):
        out = tmp_path / f"out{number}"
        parts = [Command(*argv, "-o", out, "--shard", f"{i}/2", log=tmp_path / f"log{i}") for i in (0, 1)]
        results = [part.finish() for part in parts]
        assert results == [0, 0], [part.said() for part in parts]
        lines = [line for i in (0, 1) for line in (out / f"journal.{i}of2.jsonl").read_text().splitlines()]
        twice += len(lines) - len({line.partition(",")[0] for line in lines})
        equal += contents(out) == expected and not verify(out)[0]
    record("two parts at the same time", pairs=tried, right_bytes=equal, shards_done_twice=twice)
    assert (equal, twice) == (tried, 0)

"""A Kaldi data directory as raw tables, read leniently: every problem is kept with its file and line.

`kaldi.py` reads a good directory and stops at the first fault; this is for `check`, `fix`, `subset` and `split`.
"""

import codecs
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from speechssl.audio.source import open_regular
from speechssl.data.kaldi import base_of
from speechssl.data.lines import MAX_LINE, decode
from speechssl.errors import AudioError, DataError, naming

_BY_RECORDING = {"wav.scp", "reco2dur", "reco2file_and_channel", "reco2num_spk"}
_BY_UTTERANCE = {"segments", "text", "utt2spk"}
_BY_SPEAKER = {"spk2utt", "spk2gender"}
EMPTY_OK = {"text"}


class Row(NamedTuple):
    """One line of a table."""

    line: int
    key: str
    value: str


@dataclass(frozen=True)
class Problem:
    """Something wrong, or odd, in a data directory. `line` 0 is the whole file."""

    file: str
    line: int
    message: str
    is_error: bool = True

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {'' if self.is_error else 'warning: '}{self.message}"


@dataclass
class DataDir:
    """The tables of a directory by file name, in file order; `others` are files that are no tables over its ids."""

    folder: Path
    tables: dict[str, list[Row]]
    kinds: dict[str, str] = field(default_factory=dict)  # "utterance", "recording" or "speaker", by file name
    others: list[str] = field(default_factory=list)
    base: Path | None = None  # what relative paths in wav.scp are relative to; None = the working directory

    def table(self, name: str) -> dict[str, str]:
        """A table as a dict, the first line of an id winning; empty where there is no such file."""
        found: dict[str, str] = {}
        for row in self.tables.get(name, ()):
            found.setdefault(row.key, row.value)
        return found

    def path(self, name: str) -> str:
        """A file's path for messages."""
        return str(self.folder / name)

    @property
    def unit_file(self) -> str:
        """The file that says what the utterances are."""
        return "segments" if "segments" in self.tables else "wav.scp"


def is_data_dir(path: str | Path) -> bool:
    """Whether a folder is a Kaldi data directory."""
    return (Path(path) / "wav.scp").exists()


def load_dir(folder: str | Path) -> tuple[DataDir, list[Problem]]:
    """Every table of a data directory, and what is wrong with its lines. Raises DataError where there is no wav.scp."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such directory")
    if not is_data_dir(folder):
        raise DataError(f"{folder}: no Kaldi data directory (it has no wav.scp)")
    problems: list[Problem] = []
    data = DataDir(folder, {})
    for path in sorted(folder.iterdir()):
        if path.is_dir() and _kind_by_name(path.name):
            problems.append(Problem(str(path), 0, "a folder, not a table"))
        if path.name.startswith(".") or path.is_dir():
            continue
        if not path.is_file() and not _kind_by_name(path.name):
            problems.append(Problem(str(path), 0, "not a regular file: left out"))
            continue
        try:
            is_other = not _kind_by_name(path.name) and _is_binary(path)
        except OSError as error:
            problems.append(Problem(str(path), 0, f"cannot be read: {error.strerror}: left out"))
            continue
        if is_other:
            data.others.append(path.name)
            continue
        data.tables[path.name], found = _scan(path)
        problems += found
    _sort_out(data)
    data.base = base_of(folder / "wav.scp", (row.value for row in data.tables["wav.scp"]))
    others = {data.path(name) for name in data.others}
    return data, [problem for problem in problems if problem.file not in others]


def write_dir(
    folder: Path,
    tables: Mapping[str, Iterable[tuple[str, str]]],
    *,
    copies: Iterable[Path] = (),
    constants: Mapping[str, str] | None = None,
) -> None:
    """A new data directory: tables sorted in C order, files copied as they are, and constant texts, all or nothing.

    Raises DataError where it exists.
    """
    with new_folder(folder) as temporary:
        for name, rows in tables.items():
            write_table(temporary / name, rows)
        for path in copies:
            shutil.copyfile(path, temporary / path.name)
        for name, text in (constants or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill under a temporary name; it becomes `folder` at the end. Raises DataError where that exists."""
    check_absent(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with naming(folder):
            yield temporary
            if folder.exists():
                folder.rmdir()
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write `key value` lines in C order."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for key, value in sorted(rows, key=lambda row: row[0].encode()):
            file.write(f"{key} {value}\n" if value else f"{key}\n")


def check_absent(folder: Path) -> None:
    """Raise DataError where `folder` holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: exists already; remove it or choose another name")


def invert(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """spk2utt from utt2spk."""
    found: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk, key=str.encode):
        found.setdefault(utt2spk[utterance], []).append(utterance)
    return {speaker: " ".join(utterances) for speaker, utterances in found.items()}


def _scan(path: Path) -> tuple[list[Row], list[Problem]]:
    """The lines of a table that can be used, and the problems of all."""
    rows: list[Row] = []
    problems: list[Problem] = []

    def report(number: int, message: str, *, is_error: bool = True) -> None:
        problems.append(Problem(str(path), number, message, is_error))

    try:
        file = open_regular(path)
    except AudioError as error:
        report(0, str(error).removeprefix(f"{path}: "))
        return rows, problems
    number, raw = 0, b"\n"
    with file:
        while raw_line := _next_line(file, report, number + 1):
            number, raw = number + 1, raw_line
            if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                report(number, f"line longer than {MAX_LINE} bytes; the rest of the file is left out")
                return rows, problems
            if number == 1 and raw.startswith(codecs.BOM_UTF8):
                report(number, "begins with a byte order mark")
                raw = raw[len(codecs.BOM_UTF8) :]
            fields = raw.split(None, 1)
            if not fields:
                report(number, "empty line")
                continue
            try:
                row = Row(number, decode(fields[0], path, number), decode(b"".join(fields[1:]).strip(), path, number))
            except DataError as error:
                report(number, str(error).removeprefix(f"{path}:{number}: "))
                continue
            if raw.endswith(b"\r\n"):
                report(number, "the line ends in CR LF, Kaldi wants LF")
            if raw[:1].isspace():
                report(number, "white space before the id")
            if not row.value and _kind_by_name(path.name):
                report(number, f"{row.key!r} has no value", is_error=path.name not in EMPTY_OK)
            if row.value or path.name in EMPTY_OK or not _kind_by_name(path.name):
                rows.append(row)
    if number == 0:
        report(0, "empty file")
    elif not raw.endswith(b"\n"):
        report(number, "no newline at the end of the file")
    return rows, problems


def _next_line(file: BinaryIO, report: Callable[[int, str], None], number: int) -> bytes:
    try:
        return file.readline(MAX_LINE)
    except OSError as error:
        report(number, f"cannot be read: {error.strerror}")
        return b""


def _is_binary(path: Path) -> bool:
    """Whether a file is no text, such as an archive that lies in the directory. Raises OSError."""
    try:
        with open_regular(path) as file:
            return b"\0" in file.read(1 << 16)
    except AudioError:
        return True


def _kind_by_name(name: str) -> str:
    if name in _BY_RECORDING or name.startswith("reco2"):
        return "recording"
    if name in _BY_SPEAKER or name.startswith("spk2"):
        return "speaker"
    return "utterance" if name in _BY_UTTERANCE or name.startswith("utt2") else ""


def _sort_out(data: DataDir) -> None:
    """Set the kind of every table; a file whose ids are mostly foreign is no table."""
    ids = {
        "utterance": {row.key for row in data.tables[data.unit_file]},
        "recording": {row.key for row in data.tables["wav.scp"]},
        "speaker": set(data.table("utt2spk").values()),
    }
    for name, rows in list(data.tables.items()):
        kind = _kind_by_name(name)
        if not kind:
            shares = {k: sum(row.key in known for row in rows) for k, known in ids.items()}
            kind = max(shares, key=lambda k: shares[k])
            if not rows or shares[kind] * 2 < len(rows):
                del data.tables[name]
                data.others.append(name)
                continue
        data.kinds[name] = kind

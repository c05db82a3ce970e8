"""Kaldi data directories mended, cut down and divided. Nothing is dropped without a line that says so."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from speechssl.data.kaldi import resolve
from speechssl.data.kaldi_check import check_values
from speechssl.data.kaldi_dir import DataDir, Problem, invert, load_dir, new_folder, write_dir, write_table
from speechssl.errors import DataError, naming

_FORM = ("the line ends", "white space", "no newline", "begins with")  # faults of form: the line itself was read


@dataclass(frozen=True)
class FixReport:
    """What `fix_dir` did: the utterances kept, and every line dropped or file changed."""

    num_utterances: int
    dropped: tuple[Problem, ...]  # lines that are not in the result
    changed: tuple[str, ...]  # files that differ from before
    backup: str | None  # folder with the files as they were, when mended in place


def fix_dir(source: str | Path, target: str | Path | None = None) -> FixReport:
    """Mend a data directory into `target`, or in place with the old files kept in `.backup` (`.backup.1` …).

    Lines that cannot be read, second lines of an id, and utterances that are not in all of wav.scp, segments, utt2spk
    and text (those there are) are dropped; every table is sorted in C order; spk2utt is made anew from utt2spk. Raises
    DataError where nothing would be left.
    """
    data, problems = load_dir(source)
    dropped = [p for p in problems if p.line and _loses_line(p)]
    dropped += _drop_bad_values(data)
    dropped += _drop_second_lines(data)
    keep = common_utterances(data)
    if not keep:
        raise DataError(f"{source}: no utterance is in all of its files; nothing to keep")
    tables, lost = restrict(data, keep)
    dropped += lost
    folder = Path(source)
    changed = tuple(name for name in tables if _differs(folder / name, tables[name]))
    backup = None
    if target is not None:
        _write(data, Path(target), tables)
    elif changed:
        backup = _replace(folder, {name: tables[name] for name in changed})
    return FixReport(len(keep), tuple(dropped), changed, backup)


def common_utterances(data: DataDir) -> list[str]:
    """Utterances that are in wav.scp (through segments), and in utt2spk and text where there are such files."""
    recordings = data.table("wav.scp")
    units = data.table(data.unit_file)
    if data.unit_file == "segments":
        units = {key: value for key, value in units.items() if value.split(" ")[0] in recordings}
    others = [data.table(name) for name in ("utt2spk", "text") if name in data.tables]
    return [key for key in units if all(key in other for other in others)]


def restrict(data: DataDir, keep: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[Problem]]:
    """Every table with the lines of these utterances, their recordings and their speakers; and the lines left out."""
    utterances = set(keep)
    recordings = utterances
    if data.unit_file == "segments":
        recordings = {v.split(" ")[0] for k, v in data.table("segments").items() if k in utterances}
    utt2spk = {k: v for k, v in data.table("utt2spk").items() if k in utterances}
    wanted = {"utterance": utterances, "recording": recordings, "speaker": set(utt2spk.values())}
    tables: dict[str, dict[str, str]] = {}
    lost: list[Problem] = []
    for name, rows in data.tables.items():
        if name == "spk2utt":
            continue
        kind = wanted[data.kinds[name]]
        tables[name] = {row.key: row.value for row in reversed(rows) if row.key in kind}
        lost += [Problem(data.path(name), row.line, f"{row.key!r} dropped") for row in rows if row.key not in kind]
    if utt2spk:
        tables["spk2utt"] = invert(utt2spk)
    return tables, lost


def write_part(data: DataDir, target: Path, keep: Iterable[str]) -> None:
    """A new data directory with some of the utterances of another. Raises DataError where it exists."""
    _write(data, target, restrict(data, keep)[0])


def _write(data: DataDir, target: Path, tables: dict[str, dict[str, str]]) -> None:
    """Paths relative to the old directory are made absolute, because the new one lies elsewhere."""
    if data.base is not None:
        base = data.base.absolute()
        tables = {**tables, "wav.scp": {key: resolve(value, base) for key, value in tables["wav.scp"].items()}}
    write_dir(target, {n: t.items() for n, t in tables.items()}, copies=[data.folder / n for n in data.others])


def _loses_line(problem: Problem) -> bool:
    """Whether the reader left the line out (and did not only find fault with its form)."""
    return problem.is_error and not problem.message.startswith(_FORM)


def _drop_bad_values(data: DataDir) -> list[Problem]:
    bad = list(check_values(data))
    lines = {(problem.file, problem.line) for problem in bad}
    for name, rows in data.tables.items():
        data.tables[name] = [row for row in rows if (data.path(name), row.line) not in lines]
    return bad


def _drop_second_lines(data: DataDir) -> list[Problem]:
    dropped = []
    for name, rows in data.tables.items():
        first: dict[str, str] = {}
        kept = []
        for row in rows:
            if row.key in first:
                same = "again, the same" if row.value == first[row.key] else "again, another value"
                dropped.append(Problem(data.path(name), row.line, f"{row.key!r} {same}: dropped"))
            else:
                first[row.key] = row.value
                kept.append(row)
        data.tables[name] = kept
    return dropped


def _differs(path: Path, table: Mapping[str, str]) -> bool:
    lines = [f"{key} {table[key]}".rstrip(" ") for key in sorted(table, key=str.encode)]
    return not path.exists() or path.read_bytes() != "".join(f"{line}\n" for line in lines).encode()


def _replace(folder: Path, tables: Mapping[str, Mapping[str, str]]) -> str:
    """Write tables in place, each by renaming, once all of them and a copy of all old files are on the disk."""
    number, backup = 0, folder / ".backup"
    while backup.exists():
        number += 1
        backup = folder / f".backup.{number}"
    ready = folder / f".fixed.{os.getpid()}"
    with naming(folder), new_folder(backup) as kept, new_folder(ready) as fixed:
        for path in folder.iterdir():
            if path.is_file() and not path.name.startswith("."):
                shutil.copy2(path, kept / path.name, follow_symlinks=False)
        for name, table in tables.items():
            write_table(fixed / name, table.items())
    for name in tables:
        (ready / name).replace(folder / name)
    ready.rmdir()
    return str(backup)

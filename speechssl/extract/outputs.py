"""Reading a finished output folder back: `verify` it, iterate over its units or features."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speechssl import files
from speechssl.errors import DataError
from speechssl.extract import atomic, journal
from speechssl.extract import folder as places
from speechssl.extract import job as jobs
from speechssl.extract.journal import read_rows
from speechssl.extract.merge import SUMS
from speechssl.extract.stores import store
from speechssl.units.units import Units

_MOST_SUMS = 1 << 30


def verify(folder: str | Path) -> tuple[list[str], int]:
    """What is wrong with an output folder, a line each, and how many files were looked at.

    Finished: every file against sha256sums, every row counted, nothing extra in shards/. Unfinished: the shards that
    the journals name. Raises DataError where the folder is no output at all.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if not (folder / SUMS).exists():
        return _verify_unfinished(folder)
    expected, problems = read_sums(folder / SUMS)
    for name, value in expected.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif atomic.sha256(path) != value:
            problems.append(f"{name}: changed since it was written")
    if not problems:
        problems += _verify_counts(folder, expected)
    return problems, len(expected)


def read_units(folder: str | Path, *, reduced: bool = False) -> Iterator[tuple[str, Units]]:
    """Ids and units (one per frame) of an output of `speechssl units`, in the corpus's order; finished or not.

    DataError for units of a normaliser, which have no frames, unless `reduced`: then each stands once.
    """
    folder = Path(folder)
    job = jobs.load(folder)
    if job.kind != "units":
        raise DataError(f"{folder}: holds features, not units")
    if job.model.reduced and not reduced:
        raise DataError(f"{folder}: units of a normaliser, merged and without durations: this needs one for each frame")
    for name, frames in _frames(folder, job):
        yield name, Units.from_frames(frames, rate_hz=job.model.rate_hz, size=job.model.num_units or 0)


def read_features(folder: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """Ids and features [T, C] float32 of an output of `speechssl features`, in the corpus's order."""
    folder = Path(folder)
    job = jobs.load(folder)
    if job.kind != "features" or job.store == "codes":
        raise DataError(f"{folder}: holds {'codes' if job.store == 'codes' else 'units'}, not features")
    yield from _frames(folder, job)


def read_tokens(folder: str | Path) -> Iterator[tuple[str, np.ndarray, int]]:
    """Ids, units [T] or codes [T, G] int64, and the recordings' samples, of a finished output of either kind."""
    folder = Path(folder)
    job = jobs.load(folder)
    if job.kind != "units" and job.store != "codes":
        raise DataError(f"{folder}: holds features, neither units nor codes")
    if not (folder / SUMS).exists():
        raise DataError(f"{folder}: not finished; give the same command again to go on")
    for shard in sorted(journal.read(folder)):
        rows = read_rows(folder / "shards", job.stem(shard))
        good = (row for row in rows if "code" not in row)
        frames = store(job.store).read(folder / "shards", job.stem(shard), rows, job)
        for row, (name, tokens) in zip(good, frames, strict=True):
            yield name, tokens, row["samples"]


def _frames(folder: Path, job: jobs.Job) -> Iterator[tuple[str, np.ndarray]]:
    reader = store(job.store)
    for shard in sorted(journal.read(folder)):
        stem = job.stem(shard)
        rows = read_rows(folder / "shards", stem)
        yield from reader.read(folder / "shards", stem, rows, job)


def read_sums(path: Path) -> tuple[dict[str, str], list[str]]:
    """Names and hashes, and what is wrong with the file itself."""
    expected: dict[str, str] = {}
    try:
        lines = files.read_bytes(path, most=_MOST_SUMS).decode("ascii").split("\n")
    except (OSError, UnicodeDecodeError):
        return {}, [f"{path.name}: damaged"]
    if lines.pop():
        return {}, [f"{path.name}: cut in its last line"]
    for line in lines:
        value, separator, name = line.partition("  ")
        if len(value) != 64 or not separator or name in expected or not _is_inside(name):
            return {}, [f"{path.name}: damaged at {line[:80]!r}"]
        expected[name] = value
    return expected, []


def _is_inside(name: str) -> bool:
    """Whether a name is of this folder or of shards/: what the file says does not decide what else we open."""
    folder, _, last = name.rpartition("/")
    return folder in ("", "shards") and last not in ("", ".", "..")


def _verify_counts(folder: Path, expected: dict[str, str]) -> list[str]:
    job, done = jobs.load(folder), journal.read(folder)
    problems = []
    total = journal.total(done)
    if total.rows != job.manifest.utterances or len(done) != job.num_shards:
        problems.append(f"{total.rows} rows in {len(done)} shards, expected {job.manifest.utterances}")
    for shard in sorted(done):
        try:
            rows = read_rows(folder / "shards", job.stem(shard))
        except DataError as error:
            problems.append(str(error))
            continue
        ok = sum("code" not in row for row in rows)
        if (len(rows), ok) != (done[shard].rows, done[shard].ok):
            problems.append(f"shard {shard}: {len(rows)} rows, {ok} ok; the journal says otherwise")
    needed = {"job.json", "report.json", *_final_files(folder), *(path.name for path in folder.glob("journal*.jsonl"))}
    needed |= {f"shards/{name}" for result in done.values() for name in result.files}
    problems += [f"{name}: not in {SUMS}" for name in sorted(needed - expected.keys())]
    strange = {f"shards/{path.name}" for path in (folder / "shards").glob("*")} | places.final_files(folder)
    return problems + [f"{name}: does not belong there" for name in sorted(strange - expected.keys())]


def _final_files(folder: Path) -> list[str]:
    """As the report lists them; its own hash was checked before, unless its line is what is missing."""
    try:
        return [name for name in files.read_json(folder / "report.json")["files"] if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _verify_unfinished(folder: Path) -> tuple[list[str], int]:
    job, done = jobs.load(folder), journal.read(folder)
    problems = [f"not finished: {len(done)} of {job.num_shards} shards are done"]
    for result in done.values():
        for name, value in result.files.items():
            path = folder / "shards" / name
            if not path.is_file() or atomic.sha256(path) != value:
                problems.append(f"shards/{name}: changed since it was written")
    return problems, sum(len(result.files) for result in done.values())

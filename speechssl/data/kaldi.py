"""Kaldi data directories as utterances: `wav.scp` with or without `segments`, `text`, `utt2spk`, and any other
per-utterance file.

Tables follow Kaldi's `validate_data_dir.sh`: one `id value…` per line. The order is that of `segments` (or `wav.scp`).
A relative path in wav.scp is relative to the working directory, as in Kaldi; or to the folder of wav.scp, where the
first relative path is found there and not in the working directory.
"""

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from speechssl.data import pipes, remote
from speechssl.data.lines import decode, read_byte_lines, read_table, read_unique
from speechssl.data.recording import container_of, path_exists
from speechssl.data.rows import Clash
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

# Not per-utterance, or made from other files; everything else is looked at.
STRUCTURAL = {"wav.scp", "segments", "text", "utt2spk", "spk2utt", "reco2file_and_channel", "reco2dur"}


def read_dir(folder: str | Path, *, allow_pipes: bool = False, allow_remote: bool = False) -> list[Utterance]:
    """The utterances of a data directory. Raises DataError naming file and line."""
    folder = Path(folder)
    recordings = read_scp(folder / "wav.scp", allow_pipes=allow_pipes, allow_remote=allow_remote)
    by_id = {recording.id: recording for recording in recordings}
    utterances = recordings
    if (folder / "segments").exists():
        utterances = _read_segments(folder / "segments", by_id)
    ids = {utterance.id for utterance in utterances}
    text = _read_optional(folder / "text", ids)
    speakers = _read_optional(folder / "utt2spk", ids)
    extras = {path.name: read_unique(path, empty_ok=True) for path in extra_files(folder, ids)}
    return [_complete(utterance, text, speakers, extras) for utterance in utterances]


def read_scp(path: str | Path, *, allow_pipes: bool = False, allow_remote: bool = False) -> list[Utterance]:
    """The recordings of a wav.scp. Raises DataError naming file and line, also for what is not allowed."""
    recordings: dict[str, Utterance] = {}
    for number, row in enumerate(iter_scp(path, allow_pipes=allow_pipes, allow_remote=allow_remote), 1):
        if row.id in recordings:
            raise DataError(given_before(path)(0, row, number, row))
        recordings[row.id] = row
    return list(recordings.values())


def iter_scp(path: str | Path, *, allow_pipes: bool = False, allow_remote: bool = False) -> Iterator[Utterance]:
    """As `read_scp`, one by one: ids may come twice."""
    base: Path | None = None
    number, is_base_known = 0, False
    for number, key, value in read_table(path):
        is_pipe = pipes.is_command(value)
        if is_pipe:
            pipes.check(value, f"{path}:{number}", allow_pipes=allow_pipes)
        elif remote.is_address(value):
            remote.check(value, f"{path}:{number}", allow_remote=allow_remote)
        elif not value.startswith("/"):
            if not is_base_known:
                base, is_base_known = base_of(path, [value]), True
            value = value if base is None else os.path.join(base, value)  # noqa: PTH118 (pathlib is slow)
        yield Utterance(key, value, pipe=is_pipe)
    if not number:
        raise DataError(f"{path}: empty")


def given_before(path: str | Path) -> Clash:
    """What to say of an id that comes twice in a wav.scp, whose rows are its lines."""
    return lambda first, one, second, other: f"{path}:{second}: {other.id!r} was given before"


def base_of(scp: str | Path, entries: Iterable[str]) -> Path | None:
    """The folder that relative paths of a wav.scp are relative to; None for the working directory."""
    relative = next((e for e in entries if _is_relative(e)), None)
    if relative is None:
        return None
    here, beside = (container_of(entry) for entry in (relative, str(Path(scp).parent / relative)))
    return Path(scp).parent if not path_exists(here) and path_exists(beside) else None


def resolve(entry: str, base: Path | None) -> str:
    """A wav.scp entry with its path made relative to `base`; commands and addresses stay as they are."""
    return str(base / entry) if base is not None and _is_relative(entry) else entry


def _is_relative(entry: str) -> bool:
    return not (entry.startswith("/") or pipes.is_command(entry) or remote.is_address(entry))


def parse_segment(value: str, where: str) -> tuple[str, float, float | None]:
    """Recording id, start and end (None = to the end, written -1) of a `segments` line's value. Raises DataError."""
    fields = value.encode().split()
    if len(fields) == 4:
        raise DataError(f"{where}: a channel column is not supported; split the channels into recordings first")
    if len(fields) != 3:
        raise DataError(f"{where}: expected `utterance recording start end`")
    try:
        start, end = float(fields[1]), float(fields[2])
    except ValueError:
        raise DataError(f"{where}: start and end must be seconds, found {value!r}") from None
    if not (math.isfinite(start) and math.isfinite(end) and start >= 0):
        raise DataError(f"{where}: start and end must be seconds from 0, found {value!r}")
    if end != -1 and end <= start:
        raise DataError(f"{where}: end {end} is not after start {start}")
    return fields[0].decode(), start, None if end == -1 else end


def extra_files(folder: Path, ids: set[str]) -> list[Path]:
    """The other per-utterance tables of a data directory: files whose every line begins with an utterance's id."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name not in STRUCTURAL and not path.name.startswith(".") and path.is_file() and _is_keyed(path, ids):
            found.append(path)
    return found


def _is_keyed(path: Path, ids: set[str]) -> bool:
    num_lines = 0
    try:
        for number, line in read_byte_lines(path):
            fields = line.split(None, 1)
            if not fields or decode(fields[0], path, number) not in ids:
                return False
            num_lines = number
    except DataError:
        return False
    return num_lines > 0


def _read_segments(path: Path, recordings: dict[str, Utterance]) -> list[Utterance]:
    utterances: dict[str, Utterance] = {}
    for number, key, value in read_table(path):
        if key in utterances:
            raise DataError(f"{path}:{number}: {key!r} was given before")
        recording, start, end = parse_segment(value, f"{path}:{number}")
        if recording not in recordings:
            raise DataError(f"{path}:{number}: recording {recording!r} is not in wav.scp")
        of = recordings[recording]
        utterances[key] = Utterance(key, of.audio, start, end, of.pipe, recording=recording)
    if not utterances:
        raise DataError(f"{path}: empty")
    return list(utterances.values())


def _read_optional(path: Path, ids: set[str]) -> dict[str, str]:
    if not path.exists():
        return {}
    table = read_unique(path, empty_ok=path.name == "text")
    unknown = next((key for key in table if key not in ids), None)
    if unknown is not None:
        raise DataError(f"{path}: {unknown!r} is no utterance of this directory; see `speechssl data check`")
    return table


def _complete(
    utterance: Utterance, text: dict[str, str], speakers: dict[str, str], extras: dict[str, dict[str, str]]
) -> Utterance:
    key = utterance.id
    extra = {name: table[key] for name, table in extras.items() if key in table} or None
    return Utterance(key, utterance.audio, utterance.start_s, utterance.end_s, utterance.pipe,
                     speakers.get(key), text.get(key), extra, utterance.recording)  # fmt: skip

"""Lhotse manifests without lhotse: recordings, supervisions and cuts as JSON lines, plain or gzipped.

Read: recordings (with the supervisions beside them, if any: one utterance each) or MonoCuts and whole-channel
MultiCuts. What would need lhotse's own machinery (transforms, mixed or padded cuts, single channels of a recording with
several, addresses) is refused with file and line.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechssl.data import pipes
from speechssl.data.kaldi import base_of, resolve
from speechssl.data.lines import parse_object, read_lines, seconds
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError


def find_manifests(path: str | Path) -> tuple[Path, Path | None]:
    """The recordings or cuts, and the supervisions if there are some, of a folder or of one of these files.

    Raises DataError where a folder has none or several.
    """
    path = Path(path)
    if path.is_dir():
        for kind in ("recordings", "cuts"):
            found = sorted(p for p in path.iterdir() if kind in p.name and names_manifest(p.name))
            if len(found) > 1:
                raise DataError(
                    f"{path}: several {kind} manifests ({found[0].name}, {found[1].name}); name one of them"
                )
            if found:
                path = found[0]
                break
        else:
            raise DataError(f"{path}: no recordings or cuts manifest (.jsonl or .jsonl.gz)")
    if "supervisions" in path.name:
        path, supervisions = path.with_name(path.name.replace("supervisions", "recordings")), path
        return path, supervisions
    beside = path.with_name(path.name.replace("recordings", "supervisions"))
    return path, beside if beside != path and beside.exists() else None


def names_manifest(name: str) -> bool:
    """Whether a file in a folder is recordings or cuts by its name."""
    return re.fullmatch(r".*(recordings|cuts).*\.jsonl(\.gz)?", name) is not None


def is_manifest(first_row: Mapping[str, Any]) -> bool:
    """Whether a JSON row is lhotse's and not ours."""
    if isinstance(first_row.get("recording"), dict):
        return True
    return any(key in first_row for key in ("sources", "recording_id", "tracks"))


def read_lhotse(path: str | Path, *, allow_pipes: bool = False) -> Iterator[Utterance]:
    """Utterances of a manifest, or of a folder that holds one. Raises DataError with the line."""
    path, supervisions = find_manifests(path)
    rows = ((f"{path}:{number}", parse_object(line, f"{path}:{number}")) for number, line in read_lines(path) if line)
    base: list[Path | None] = []  # found by the first recording
    recordings: dict[str, tuple[Utterance, int, float]] = {}
    for where, row in rows:
        if "sources" not in row:
            yield _from_cut(row, where, path, base, allow_pipes)
            continue
        recording = _recording(row, where, path, base, allow_pipes)
        if supervisions is None:
            yield recording
        elif recording.id in recordings:
            raise DataError(f"{where}: recording {recording.id!r} comes twice")
        else:
            recordings[recording.id] = recording, _num_channels(row, where), field(row, "duration", float, where)
    if supervisions is None:
        return
    for number, line in read_lines(supervisions):
        where = f"{supervisions}:{number}"
        row = parse_object(line, where)
        key = field(row, "recording_id", str, where)
        if key not in recordings:
            raise DataError(f"{where}: recording {key!r} is not in {path}")
        recording, num_channels, length = recordings[key]
        _check_channels(row, num_channels, where)
        start, duration = field(row, "start", float, where), field(row, "duration", float, where)
        end = None if start == 0 and duration == length else start + duration
        yield _utterance(row, field(row, "id", str, where), recording, start, end, where)


def field(row: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    """A value of a JSON row, checked. Raises DataError."""
    value = seconds(row, key, where) if kind is float else row.get(key)
    if not isinstance(value, kind):
        raise DataError(f"{where}: {key} must be a {kind.__name__}, found {value!r}"[:300])
    return value


def _recording(row: Mapping[str, Any], where: str, path: Path, base: list[Path | None], allow_pipes: bool) -> Utterance:
    sources = field(row, "sources", list, where)
    if len(sources) != 1 or not isinstance(sources[0], dict):
        raise DataError(f"{where}: recordings of {len(sources)} sources are not read; join them into one file")
    if row.get("transforms"):
        raise DataError(f"{where}: transforms are not applied here; save the audio with lhotse first")
    kind, source = field(sources[0], "type", str, where), field(sources[0], "source", str, where)
    is_pipe = kind == "command"
    if is_pipe:
        source = source if source.endswith("|") else f"{source} |"
        pipes.check(source, where, allow_pipes=allow_pipes)
    elif kind != "file":
        raise DataError(f"{where}: audio of type {kind!r} is not read; save it to files with lhotse first")
    else:
        if not base:
            base.append(base_of(path, [source]))
        source = resolve(source, base[0])
    return Utterance(field(row, "id", str, where), source, pipe=is_pipe, recording=field(row, "id", str, where))


def _from_cut(row: Mapping[str, Any], where: str, path: Path, base: list[Path | None], allow_pipes: bool) -> Utterance:
    if row.get("type") not in ("MonoCut", "MultiCut") or not isinstance(row.get("recording"), dict):
        raise DataError(f"{where}: cuts of type {row.get('type')!r} (or without recording) are not read")
    recording = _recording(row["recording"], where, path, base, allow_pipes)
    _check_channels(row, _num_channels(row["recording"], where), where)
    supervisions = row.get("supervisions") or []
    if not isinstance(supervisions, list) or not all(isinstance(s, dict) for s in supervisions):
        raise DataError(f"{where}: damaged supervisions")
    texts = [s["text"] for s in supervisions if isinstance(s.get("text"), str)]
    speakers = {s["speaker"] for s in supervisions if isinstance(s.get("speaker"), str)}
    merged = {
        "text": " ".join(texts) if texts else None,
        "speaker": speakers.pop() if len(speakers) == 1 else None,
        "language": supervisions[0].get("language") if len(supervisions) == 1 else None,
    }
    start, duration = field(row, "start", float, where), field(row, "duration", float, where)
    whole = start == 0 and duration == row["recording"].get("duration")
    return _utterance(
        merged, field(row, "id", str, where), recording, start, None if whole else start + duration, where
    )


def _utterance(
    row: Mapping[str, Any], key: str, recording: Utterance, start: float, end: float | None, where: str
) -> Utterance:
    text, speaker = (row.get(name) for name in ("text", "speaker"))
    if not isinstance(text, str | None) or not isinstance(speaker, str | None):
        raise DataError(f"{where}: text and speaker must be strings")
    extra = {name: row[name] for name in ("language", "gender") if isinstance(row.get(name), str)}
    begin = None if end is None else start
    return Utterance(key, recording.audio, begin, end, recording.pipe, speaker, text, extra or None, recording.id)


def _num_channels(row: Mapping[str, Any], where: str) -> int:
    source = field(row, "sources", list, where)[0]
    return len(field(source, "channels", list, where))


def _check_channels(row: Mapping[str, Any], num_channels: int, where: str) -> None:
    """Refuse what concerns one channel of several: all are mixed here."""
    channel = row.get("channel", 0)
    count = len(channel) if isinstance(channel, list) else 1
    if count < num_channels:
        raise DataError(f"{where}: channel {channel} of {num_channels}; split the channels into recordings first")

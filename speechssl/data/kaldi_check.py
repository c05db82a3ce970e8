"""Checks of a Kaldi data directory: every problem, with its file and line."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from speechssl.audio.decode import MAX_OVERSHOOT_S
from speechssl.data import pipes, remote
from speechssl.data.kaldi import parse_segment, resolve
from speechssl.data.kaldi_dir import DataDir, Problem, Row, invert, load_dir
from speechssl.data.recording import container_of, open_recording, path_exists
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, DataError

_DURATION_TOLERANCE_S = 0.1  # between utt2dur and segments


def check_dir(folder: str | Path, *, allow_pipes: bool = False, audio: bool = False) -> list[Problem]:
    """Problems of a data directory in the order of its files; `audio` also reads the header of every recording.

    Raises DataError where there is no data directory at all.
    """
    data, problems = load_dir(folder)
    for name, rows in data.tables.items():
        problems += _check_order(data, name, rows)
    problems += check_values(data, allow_pipes=allow_pipes)
    problems += _check_ids(data)
    problems += _check_speakers(data)
    problems += _check_times(data, _durations(data, problems) if audio else {})
    names = [data.path(name) for name in sorted(data.tables)]
    rank = {name: index for index, name in enumerate(names)}
    return sorted(problems, key=lambda p: (rank.get(p.file, -1), p.line))


def check_values(data: DataDir, *, allow_pipes: bool = True) -> Iterator[Problem]:
    """Values that cannot be what their table holds; such lines are of no use."""
    checks: dict[str, Callable[[str], str | None]] = {
        "wav.scp": lambda value: _wav_fault(value, data.base, allow_pipes),
        "segments": _segment_fault,
        "utt2spk": lambda value: "expected one speaker" if len(value.encode().split()) != 1 else None,
        "utt2dur": _duration_fault,
        "reco2dur": _duration_fault,
        "utt2num_samples": _count_fault,
        "utt2num_frames": _count_fault,
    }
    for name, check in checks.items():
        for row in data.tables.get(name, ()):
            fault = check(row.value)
            if fault:
                yield Problem(data.path(name), row.line, f"{row.key!r}: {fault}")


def _wav_fault(value: str, base: Path | None, allow_pipes: bool) -> str | None:
    if pipes.is_command(value):
        try:
            pipes.check(value, "command", allow_pipes=allow_pipes)
        except DataError as error:
            return str(error)
        return None
    if remote.is_address(value):
        return None  # not looked up
    path = container_of(resolve(value, base))
    return None if path_exists(path) else f"no such file: {path}"


def _segment_fault(value: str) -> str | None:
    try:
        parse_segment(value, "segment")
    except DataError as error:
        return str(error)
    return None


def _duration_fault(value: str) -> str | None:
    seconds = _seconds(value)
    return None if seconds is not None and seconds > 0 else f"expected seconds, found {value!r}"


def _count_fault(value: str) -> str | None:
    return None if value.isascii() and value.isdigit() else f"expected a whole number, found {value!r}"


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def _check_order(data: DataDir, name: str, rows: list[Row]) -> Iterator[Problem]:
    """Ids that come twice, and the first place where the C order breaks."""
    first_line: dict[str, int] = {}
    breaks: list[tuple[int, str, str]] = []
    previous = ""
    for row in rows:
        if row.key in first_line:
            yield Problem(data.path(name), row.line, f"{row.key!r} was given before, in line {first_line[row.key]}")
        elif row.key.encode() < previous.encode():
            breaks.append((row.line, row.key, previous))
        first_line.setdefault(row.key, row.line)
        previous = row.key
    if breaks:
        line, key, before = breaks[0]
        more = f" (and {len(breaks) - 1} more places)" if len(breaks) > 1 else ""
        yield Problem(data.path(name), line, f"not sorted: {key!r} comes after {before!r}{more}; order is by bytes")


def _check_ids(data: DataDir) -> Iterator[Problem]:
    unit_file = data.unit_file
    utterances = {row.key: row.line for row in data.tables[unit_file]}
    recordings = {row.key: row.line for row in data.tables["wav.scp"]}
    speakers = set(data.table("utt2spk").values())
    known = {"utterance": utterances, "recording": recordings, "speaker": dict.fromkeys(speakers, 0)}
    homes = {"utterance": unit_file, "recording": "wav.scp", "speaker": "utt2spk"}
    for name, rows in data.tables.items():
        kind = data.kinds[name]
        for row in rows:
            if row.key not in known[kind] and not (kind == "speaker" and not speakers):
                yield Problem(data.path(name), row.line, f"{row.key!r} is not in {homes[kind]}")
    for name in ("text", "utt2spk"):
        if name in data.tables:
            there = {row.key for row in data.tables[name]}
            for key, line in utterances.items():
                if key not in there:
                    yield Problem(data.path(unit_file), line, f"{key!r} is not in {name}")
    if unit_file == "segments":
        used = set()
        for row in data.tables["segments"]:
            recording = row.value.split(" ")[0]
            used.add(recording)
            if recording not in recordings:
                yield Problem(data.path("segments"), row.line, f"recording {recording!r} is not in wav.scp")
        for key, line in recordings.items():
            if key not in used:
                yield Problem(data.path("wav.scp"), line, f"no segment uses {key!r}", is_error=False)
    if "utt2spk" not in data.tables:
        yield Problem(data.path("utt2spk"), 0, "absent; Kaldi's own tools want it", is_error=False)


def _check_speakers(data: DataDir) -> Iterator[Problem]:
    utt2spk = data.table("utt2spk")
    if "spk2utt" in data.tables:
        expected = invert(utt2spk)
        for row in data.tables["spk2utt"]:
            if row.key in expected and sorted(row.value.split()) != sorted(expected[row.key].split()):
                yield Problem(data.path("spk2utt"), row.line, f"utterances of {row.key!r} differ from utt2spk")
        for speaker in sorted(set(expected) - {row.key for row in data.tables["spk2utt"]}):
            yield Problem(data.path("spk2utt"), 0, f"speaker {speaker!r} of utt2spk is absent")
    by_id = sorted(utt2spk, key=str.encode)
    if by_id != sorted(utt2spk, key=lambda key: (utt2spk[key].encode(), key.encode())):
        message = "sorted by utterance, the speakers are not sorted; Kaldi wants ids that begin with the speaker"
        yield Problem(data.path("utt2spk"), 0, message, is_error=False)


def _check_times(data: DataDir, durations: dict[str, float]) -> Iterator[Problem]:
    """Segments against durations: those read from the audio, or those that reco2dur states."""
    stated = {key: _seconds(value) for key, value in data.table("reco2dur").items()}
    utt2dur = {key: _seconds(value) for key, value in data.table("utt2dur").items()}
    for row in data.tables.get("segments", ()):
        if _segment_fault(row.value):
            continue
        recording, start, end = parse_segment(row.value, "segment")
        length = durations.get(recording, stated.get(recording))
        if length is not None and (start >= length or (end or 0) > length + MAX_OVERSHOOT_S):
            message = f"{row.key!r}: {start}..{end} s does not lie in {recording!r} of {length:.3f} s"
            yield Problem(data.path("segments"), row.line, message)
        said = utt2dur.get(row.key)
        if said is not None and end is not None and abs(end - start - said) > _DURATION_TOLERANCE_S:
            message = f"{row.key!r}: {end - start:.3f} s, but utt2dur says {said:.3f} s"
            yield Problem(data.path("segments"), row.line, message)


def _durations(data: DataDir, problems: list[Problem]) -> dict[str, float]:
    """Seconds of every recording by its header; what cannot be read becomes a problem."""
    found: dict[str, float] = {}
    for row in data.tables["wav.scp"]:
        elsewhere = pipes.is_command(row.value) or remote.is_address(row.value)
        if elsewhere or _wav_fault(row.value, data.base, True):
            continue
        try:
            with open_recording(Utterance(row.key, resolve(row.value, data.base))) as source:
                info = source.info
        except AudioError as error:
            problems.append(Problem(data.path("wav.scp"), row.line, f"{row.key!r}: {error.code}: {error}"))
            continue
        if info.num_frames >= 0:
            found[row.key] = info.duration_s
    return found

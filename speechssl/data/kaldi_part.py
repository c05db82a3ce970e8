"""Subsets and splits of Kaldi data directories.

A random choice goes by a hash of seed and id: it does not depend on the order of the files, and a smaller choice with
the same seed is part of a larger one.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechssl.audio import probe
from speechssl.data import pipes
from speechssl.data.kaldi import parse_segment, resolve
from speechssl.data.kaldi_check import check_values
from speechssl.data.kaldi_dir import DataDir, load_dir, new_folder
from speechssl.data.kaldi_edit import common_utterances, write_part
from speechssl.data.lines import read_lines
from speechssl.data.recording import is_file
from speechssl.errors import DataError


@dataclass(frozen=True)
class Selection:
    """Which utterances a subset has; what is given is applied in this order."""

    utterances: str | None = None  # a file with an id at the beginning of each line
    speakers: str | None = None  # a file with a speaker at the beginning of each line, or names with commas between
    per_speaker: int | None = None  # at most so many of each, chosen by hash
    first: int | None = None
    last: int | None = None
    num: int | None = None  # chosen by hash
    max_duration_s: float | None = None  # of all together, chosen by hash
    seed: int = 0


def subset_dir(source: str | Path, target: str | Path, selection: Selection) -> int:
    """Write the selected utterances as a new data directory; returns their number. Raises DataError."""
    data = load_good(source)
    chosen = select(data, selection)
    if not chosen:
        raise DataError(f"{source}: the selection is empty")
    write_part(data, Path(target), chosen)
    return len(chosen)


def split_dir(source: str | Path, target: str | Path, num_parts: int, *, by: str = "utterance") -> list[int]:
    """Write `target`/1 … `target`/N; returns their numbers of utterances. Raises DataError.

    By "utterance" (stretches of the sorted list) or "speaker" (none is in two parts); parts are balanced by duration
    where utt2dur or segments tell it, else by number.
    """
    data = load_good(source)
    utterances = sorted(common_utterances(data), key=str.encode)
    weights = durations(data, utterances, probe_audio=False)
    if by == "speaker":
        parts = _by_speaker(data, utterances, weights, num_parts)
    elif by == "utterance":
        parts = _in_stretches(utterances, weights, num_parts)
    else:
        raise DataError(f"by={by!r}: choose utterance or speaker")
    with new_folder(Path(target)) as folder:
        for index, part in enumerate(parts):
            write_part(data, folder / str(index + 1), part)
    return [len(part) for part in parts]


def load_good(source: str | Path) -> DataDir:
    """A data directory whose lines can all be used. Raises DataError with the first problem."""
    data, problems = load_dir(source)
    errors = [problem for problem in problems if problem.is_error]
    errors += [problem for problem in check_values(data) if problem.file != data.path("wav.scp")]
    if errors:
        raise DataError(f"{errors[0]} ({len(errors)} problems in all; `speechssl data fix` mends them)")
    missing = set(data.table(data.unit_file)) - set(common_utterances(data))
    if missing:
        raise DataError(f"{source}: {min(missing)!r} is not in all files; `speechssl data fix` mends this")
    return data


def select(data: DataDir, selection: Selection) -> list[str]:
    """The utterances of a selection, in C order. Raises DataError for ids that are not there."""
    chosen = sorted(common_utterances(data), key=str.encode)
    utt2spk = data.table("utt2spk")
    if selection.utterances is not None:
        wanted = _listed(selection.utterances)
        _require(wanted, set(chosen), f"{selection.utterances}: no utterance of {data.folder}")
        chosen = [key for key in chosen if key in wanted]
    if selection.speakers is not None:
        is_file = Path(selection.speakers).is_file()
        wanted = _listed(selection.speakers) if is_file else set(selection.speakers.split(","))
        _require(wanted, set(utt2spk.values()), f"{data.folder}: no speaker")
        chosen = [key for key in chosen if utt2spk.get(key) in wanted]
    rank = {key: hashlib.sha256(f"{selection.seed} {key}".encode()).digest() for key in chosen}
    if selection.per_speaker is not None:
        chosen = _per_speaker(chosen, utt2spk, rank, _count(selection.per_speaker))
    if selection.first is not None:
        chosen = chosen[: _count(selection.first)]
    if selection.last is not None:
        chosen = chosen[max(0, len(chosen) - _count(selection.last)) :]
    if selection.num is not None:
        kept = set(sorted(chosen, key=lambda key: rank[key])[: _count(selection.num)])
        chosen = [key for key in chosen if key in kept]
    if selection.max_duration_s is not None:
        chosen = _within(chosen, durations(data, chosen, probe_audio=True), rank, selection.max_duration_s)
    return chosen


def durations(data: DataDir, utterances: Sequence[str], *, probe_audio: bool) -> dict[str, float]:
    """Seconds of each utterance by utt2dur, segments, or the audio's header; 1.0 each where they are not told."""
    utt2dur = {key: float(value) for key, value in data.table("utt2dur").items()}
    units = data.table(data.unit_file)
    found: dict[str, float] = {}
    for key in utterances:
        if key in utt2dur:
            found[key] = utt2dur[key]
        elif data.unit_file == "segments":
            _, start, end = parse_segment(units[key], data.path("segments"))
            if end is not None:
                found[key] = end - start
        elif probe_audio and is_file(resolve(units[key], data.base)) and not pipes.is_command(units[key]):
            found[key] = probe(resolve(units[key], data.base)).duration_s
    if len(found) == len(utterances):
        return found
    if probe_audio:
        missing = next(key for key in utterances if key not in found)
        raise DataError(f"{data.folder}: the duration of {missing!r} is not known; write utt2dur")
    return dict.fromkeys(utterances, 1.0)


def _per_speaker(chosen: list[str], utt2spk: Mapping[str, str], rank: Mapping[str, bytes], count: int) -> list[str]:
    if not utt2spk:
        raise DataError("per_speaker: the data directory has no utt2spk")
    taken: dict[str, int] = {}
    kept = set()
    for key in sorted(chosen, key=lambda key: rank[key]):
        speaker = utt2spk[key]
        if taken.get(speaker, 0) < count:
            taken[speaker] = taken.get(speaker, 0) + 1
            kept.add(key)
    return [key for key in chosen if key in kept]


def _within(chosen: list[str], seconds: Mapping[str, float], rank: Mapping[str, bytes], limit: float) -> list[str]:
    total, kept = 0.0, set()
    for key in sorted(chosen, key=lambda key: rank[key]):
        if total + seconds[key] > limit:
            break
        total += seconds[key]
        kept.add(key)
    return [key for key in chosen if key in kept]


def _in_stretches(utterances: Sequence[str], weights: Mapping[str, float], num_parts: int) -> list[list[str]]:
    _check_parts(num_parts, len(utterances), "utterances")
    total = math.fsum(weights[key] for key in utterances)
    parts: list[list[str]] = [[]]
    done = 0.0
    for index, key in enumerate(utterances):
        left, to_open = len(utterances) - index, num_parts - len(parts)
        middle = done + weights[key] / 2
        full = bool(parts[-1]) and to_open > 0 and middle > total * len(parts) / num_parts
        if full or (parts[-1] and left <= to_open):
            parts.append([])
        parts[-1].append(key)
        done += weights[key]
    return parts


def _by_speaker(
    data: DataDir, utterances: Sequence[str], weights: Mapping[str, float], num_parts: int
) -> list[list[str]]:
    """The longest speaker first, always to the part that has least."""
    utt2spk = data.table("utt2spk")
    if not utt2spk:
        raise DataError(f"{data.folder}: no utt2spk, so no split by speaker")
    by_speaker: dict[str, list[str]] = {}
    for key in utterances:
        by_speaker.setdefault(utt2spk[key], []).append(key)
    _check_parts(num_parts, len(by_speaker), "speakers")
    seconds: Callable[[str], float] = lambda speaker: math.fsum(weights[key] for key in by_speaker[speaker])  # noqa: E731
    parts: list[list[str]] = [[] for _ in range(num_parts)]
    loads = [0.0] * num_parts
    for speaker in sorted(by_speaker, key=lambda s: (-seconds(s), s)):
        index = min(range(num_parts), key=lambda i: (loads[i], i))
        parts[index] += by_speaker[speaker]
        loads[index] += seconds(speaker)
    return parts


def _check_parts(num_parts: int, available: int, what: str) -> None:
    if not 1 <= num_parts <= available:
        raise DataError(f"{num_parts} parts of {available} {what}: choose 1..{available}")


def _listed(path: str) -> set[str]:
    return {line.split(" ")[0].split("\t")[0] for _, line in read_lines(path) if line.strip()}


def _require(wanted: set[str], known: set[str], message: str) -> None:
    unknown = sorted(wanted - known)
    if unknown:
        raise DataError(f"{message} {unknown[0]!r}" + (f" (nor {len(unknown) - 1} more)" if len(unknown) > 1 else ""))


def _count(number: int) -> int:
    if number < 0:
        raise DataError(f"{number}: a number of utterances cannot be negative")
    return number

"""Phone (or word) alignments: who says what when, read from the field's formats, given as label ids per frame.

| kind       | a line, or a file                                                     | times      |
|------------|-----------------------------------------------------------------------|------------|
| `jsonl`    | `{"name": "utt", "phones": ["SIL", "SIL", "AE", ...]}` (also gzipped) | per frame  |
| `frames`   | `utt SIL SIL AE ...`: one label per frame                             | per frame  |
| `tsv`      | `utt<TAB>start_s<TAB>end_s<TAB>label`, with or without a header line   | seconds    |
| `ctm`      | `utt channel start_s duration_s label [confidence]` (Kaldi, NIST)     | seconds    |
| `textgrid` | a folder of Praat `.TextGrid` files, searched recursively; id = stem; | seconds    |
|            | an interval without text is `SIL`, as aligners write them             |            |

A frame's label is the one at the frame's centre. Time that no segment covers has no label (`UNLABELLED`): it is not
silence, for nobody said so. Ids are opaque.
"""

import gzip
import itertools
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from speechssl import files
from speechssl.errors import DataError
from speechssl.metrics.textgrid import read_textgrid
from speechssl.metrics.units import UNLABELLED, label_ids

KINDS = ("jsonl", "frames", "tsv", "ctm", "textgrid")
_LONGEST_LINE = 1 << 26  # characters
_LONGEST_S = 3e5  # three days and a half: 120 MB as labels of 10 ms
_OBJECT = re.compile(r'\{\s*(["}]|$)')
OVERLAP_S = 1e-3  # files round their times; more than this is an error

Segment = tuple[float, float, str]  # start and end in seconds, label
Runs = dict[str, tuple[NDArray, NDArray, NDArray]]  # per utterance: starts, ends (frames or seconds), label ids


@dataclass(frozen=True)
class Alignments:
    """The alignments of a set of utterances. Runs are stored, not frames, so a thousand hours fit in memory."""

    labels: tuple[str, ...]  # the text of each label id
    rate_hz: float | None  # of per-frame labels; None where times are in seconds
    runs: Runs = field(repr=False)

    def __contains__(self, utterance: object) -> bool:
        return utterance in self.runs

    def __iter__(self) -> Iterator[str]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def frames(self, utterance: str, rate_hz: float, *, shift_s: float = 0.0) -> NDArray[np.int32]:
        """Label ids [T] at rate_hz up to the last label's end, every label moved by shift_s (negative: earlier).

        Raises DataError for a rate that the file does not have, and for per-frame labels moved by half frames.
        """
        starts, ends, ids = self.runs[utterance]
        if self.rate_hz is None:  # a frame belongs to a segment if its centre does
            starts, ends = (np.ceil((t + shift_s) * rate_hz - 0.5 - 1e-6).astype(np.int64) for t in (starts, ends))
        else:
            if rate_hz != self.rate_hz:
                raise DataError(f"labels of {self.rate_hz:g} Hz asked for at {rate_hz:g} Hz; they have one rate")
            if abs(shift_s * rate_hz - round(shift_s * rate_hz)) > 1e-6:
                raise DataError(f"a shift of {shift_s:g} s is no whole number of label frames at {rate_hz:g} Hz")
            starts, ends = (times.astype(np.int64) + round(shift_s * rate_hz) for times in (starts, ends))
        starts, ends = starts.clip(0), ends.clip(0)
        frames = np.full(int(ends[-1]) if len(ends) else 0, UNLABELLED, np.int32)
        for start, end, label in zip(starts, ends, ids, strict=True):
            frames[start:end] = label
        return frames

    def boundaries(self, utterance: str) -> NDArray[np.float64]:
        """The times [N] in seconds, ascending, at which a label begins or ends."""
        starts, ends, _ = self.runs[utterance]
        scale = 1.0 if self.rate_hz is None else 1 / self.rate_hz
        times = np.sort(np.concatenate([starts, ends]).astype(np.float64) * scale)
        rounded = np.diff(times, prepend=-np.inf) > OVERLAP_S  # one's end and the next one's start are one
        return times[rounded]


def read_alignments(path: str | Path, *, kind: str = "auto", rate_hz: float = 100.0, tier: str = "") -> Alignments:
    """Alignments of a file or folder; `kind` is one of KINDS, or found from the name and the first line.

    rate_hz is the rate of per-frame labels (`jsonl`, `frames`); tier names a TextGrid's tier (default: `phones`,
    or the only one). Raises DataError with file and line for anything that breaks the format, utterances named twice
    and overlapping segments.
    """
    path = Path(path)
    vocabulary: dict[str, int] = {}
    try:
        kind = find_kind(path) if kind == "auto" else kind
        if kind not in KINDS:
            raise DataError(f"unknown alignment format {kind!r} (known: {', '.join(KINDS)})")
        if kind == "textgrid":
            return Alignments(*_segments(path, _textgrids(path, tier), vocabulary))
        with open_text(path) as file:
            if kind in ("tsv", "ctm"):
                return Alignments(*_segments(path, _table(path, file, kind), vocabulary))
            runs = _per_frame(path, file, kind, vocabulary)
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable as text: {error}") from error
    return Alignments(tuple(vocabulary), rate_hz, runs)


def find_kind(path: Path) -> str:
    """The format of a file or folder, from its name and, where that leaves a choice, its first line."""
    if path.is_dir():
        return "textgrid"
    name = path.name.lower().removesuffix(".gz")
    for kind in ("jsonl", "tsv", "ctm"):
        if name.endswith("." + kind):
            return kind
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
    if begins_object(first):
        return "jsonl"
    if first.count("\t") == 3:
        return "tsv"
    fields = first.split()
    return "ctm" if len(fields) in (5, 6) and _is_number(fields[2]) and _is_number(fields[3]) else "frames"


def begins_object(line: str) -> bool:
    """Whether a line begins as a JSON object does, and not with an id in braces: `{"`, `{}`, or a lone brace."""
    return _OBJECT.match(line) is not None


def open_text(path: Path) -> "Lines":
    """A text file, gzipped or not; DataError where there is none."""
    try:
        files.check_regular(path)
        with open(path, "rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        return Lines(path, gzip.open(path, "rt", encoding="utf-8") if compressed else open(path, encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: no such alignment file ({error.strerror})") from None


class Lines:
    """The lines of a text file, none longer than memory bears, however little a compressed one takes on the disk."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path, self._file = path, file

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[str]:
        try:
            while line := self._file.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    raise DataError(f"{self._path}: a line longer than {_LONGEST_LINE} characters")
                yield line
        except OSError as error:  # damaged gzip data among others
            raise DataError(f"{self._path}: not readable: {error}") from None


def _per_frame(path: Path, file: Lines, kind: str, vocabulary: dict[str, int]) -> Runs:
    runs: Runs = {}
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        utterance, labels = _json_line(path, number, line) if kind == "jsonl" else _frames_line(line)
        if utterance in runs:
            raise DataError(f"{path}:{number}: utterance {utterance!r} for the second time")
        runs[utterance] = _run_lengths(label_ids(labels, vocabulary))
    return runs


def _json_line(path: Path, number: int, line: str) -> tuple[str, list[str]]:
    try:
        row = json.loads(line)
        utterance, labels = row.get("name", row.get("id")), row.get("phones", row.get("labels"))
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}:{number}: not a JSON object: {error}") from error
    if not isinstance(utterance, str) or not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise DataError(f'{path}:{number}: want {{"name": "utterance", "phones": ["SIL", "AE", ...]}}')
    return utterance, labels


def _frames_line(line: str) -> tuple[str, list[str]]:
    utterance, *labels = line.split()
    return utterance, labels


def _run_lengths(ids: NDArray[np.int32]) -> tuple[NDArray, NDArray, NDArray]:
    starts = np.flatnonzero(np.diff(ids, prepend=UNLABELLED)).astype(np.int32)
    return starts, np.append(starts[1:], len(ids)).astype(np.int32)[: len(starts)], ids[starts]


def _table(path: Path, file: Lines, kind: str) -> Iterator[tuple[str, str, Segment]]:
    for number, line in enumerate(file, 1):
        where = f"{path}:{number}"
        fields = line.rstrip("\r\n").split("\t") if kind == "tsv" else line.split()
        if not line.strip() or (kind == "ctm" and line.startswith(";;")):
            continue
        if number == 1 and kind == "tsv" and not (len(fields) == 4 and _is_number(fields[1])):
            continue  # the header
        wanted = (4,) if kind == "tsv" else (5, 6)
        if len(fields) not in wanted or not all(map(_is_number, fields[1:3] if kind == "tsv" else fields[2:4])):
            raise DataError(f"{where}: not a line of a {kind} alignment: {line.rstrip()!r}")
        if kind == "tsv":
            yield where, fields[0], (float(fields[1]), float(fields[2]), fields[3])
        else:
            start = float(fields[2])
            yield where, fields[0], (start, start + float(fields[3]), fields[4])


def _textgrids(folder: Path, tier: str) -> Iterator[tuple[str, str, Segment]]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".textgrid")
    if not files:
        raise DataError(f"{folder}: no .TextGrid files in this folder")
    stems: dict[str, Path] = {}
    for file in files:
        if stems.setdefault(file.stem, file) != file:
            raise DataError(f"two TextGrids of one utterance: {stems[file.stem]} and {file}")
        for segment in read_textgrid(file, tier):
            yield str(file), file.stem, (*segment[:2], segment[2] or "SIL")


def _segments(
    path: Path, rows: Iterator[tuple[str, str, Segment]], vocabulary: dict[str, int]
) -> tuple[tuple[str, ...], None, Runs]:
    runs: Runs = {}
    for utterance, group in itertools.groupby(rows, key=lambda row: row[1]):
        if utterance in runs:
            raise DataError(f"{path}: the segments of utterance {utterance!r} do not stand together; sort the file")
        starts, ends, labels, last = [], [], [], 0.0
        for where, _, (start, end, label) in group:
            if not 0 <= start <= end < _LONGEST_S:
                raise DataError(f"{where}: {start} to {end} is no stretch of time")
            if start < last - OVERLAP_S:
                raise DataError(f"{where}: starts at {start} s, before the last segment's end at {last} s")
            starts.append(max(start, last))
            ends.append(max(end, starts[-1]))
            labels.append(label)
            last = ends[-1]
        ids = label_ids(labels, vocabulary)
        runs[utterance] = np.asarray(starts), np.asarray(ends), ids
    return tuple(vocabulary), None, runs


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

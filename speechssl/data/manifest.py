"""Manifests: fairseq `.tsv` (root line, then `path<TAB>frames`) and `.jsonl`, ours and NeMo's.

Our jsonl: one object per line, `id`, `audio`, and if there `start_s`, `end_s`, `speaker`, `text`; other keys go to
`extra`. NeMo's `audio_filepath`, `offset`, `duration`, `text` are read too; a row without id is named by its audio path
(and its offset). Relative paths are relative to the manifest's folder.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechssl.data import pipes, remote
from speechssl.data.folder import id_of
from speechssl.data.lines import parse_object, read_lines, seconds
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

_LABELS = ("ids", "wrd", "ltr", "phn", "lbl")  # .km is not held in memory: `read_labels` gives it line by line


def read_tsv(path: str | Path, *, allow_remote: bool = False) -> Iterator[Utterance]:
    """Utterances of a fairseq manifest in its order (which its label files share). Raises DataError with the line.

    Ids are the paths without extension, or the lines of an `.ids` file beside the manifest; `.wrd` beside it gives the
    texts, `.ltr`, `.phn` and `.lbl` further values. Files may lie outside the root (`..` or absolute), as fairseq's own
    tool writes them where there are symbolic links.
    """
    rows = read_lines(path)
    root = next((line for _, line in rows), "")
    if not root or "\t" in root:
        raise DataError(f"{path}:1: the first line of a fairseq manifest is the root folder")
    labels = {suffix: read_labels(path, suffix) for suffix in _LABELS if Path(path).with_suffix(f".{suffix}").exists()}
    for number, line in rows:
        name, tab, frames = line.partition("\t")
        if not name or (tab and not (frames.isascii() and frames.isdigit())):
            raise DataError(f"{path}:{number}: expected `path<TAB>frames`, found {line[:80]!r}")
        values, extra = {}, {}
        for suffix, lines in labels.items():
            values[suffix] = next(lines, None)
            if values[suffix] is None:
                raise DataError(f"{Path(path).with_suffix(f'.{suffix}')}: has fewer lines than {path} has files")
        if values:
            extra = {k: v for k, v in values.items() if v is not None and k not in ("ids", "wrd")}
        if tab:
            extra["frames"] = frames
        key = values.get("ids") or id_of(name)
        yield Utterance(
            key,
            _placed(name, root, f"{path}:{number}", allow_remote),
            text=values.get("wrd"),
            extra=extra or None,
        )
    for suffix, lines in labels.items():
        if next(lines, None) is not None:
            raise DataError(f"{Path(path).with_suffix(f'.{suffix}')}: has more lines than {path} has files")


def read_labels(manifest: str | Path, suffix: str) -> Iterator[str]:
    """The lines of a label file beside a fairseq manifest: `train.km` of `train.tsv`."""
    return (line for _, line in read_lines(Path(manifest).with_suffix(f".{suffix}")))


def read_jsonl(path: str | Path, *, allow_pipes: bool = False, allow_remote: bool = False) -> Iterator[Utterance]:
    """Utterances of a jsonl manifest. Raises DataError with the line."""
    folder = str(Path(path).parent)
    for number, line in read_lines(path):
        if line.strip():
            where = f"{path}:{number}"
            yield _from_row(parse_object(line, where), folder, where, allow_pipes, allow_remote)


def _placed(audio: str, folder: str, where: str, allow_remote: bool) -> str:
    """A path as seen from here, or an address. Raises DataError for an address where not allowed."""
    placed = audio if remote.is_address(audio) else os.path.join(folder, audio)  # noqa: PTH118 (pathlib is slow)
    if remote.is_address(placed):
        remote.check(placed, where, allow_remote=allow_remote)
    return placed


def _from_row(row: dict[str, Any], folder: str, where: str, allow_pipes: bool, allow_remote: bool) -> Utterance:
    audio = _text(row, "audio", where) or _text(row, "audio_filepath", where)
    if not audio:
        raise DataError(f"{where}: no audio (nor audio_filepath)")
    start, end = seconds(row, "start_s", where), seconds(row, "end_s", where)
    name = id_of(audio)
    if "offset" in row:
        start, length = seconds(row, "offset", where), seconds(row, "duration", where)
        end = None if start is None or length is None else start + length
        name = f"{name}-{row['offset']}"
    is_pipe = pipes.is_command(audio)
    if is_pipe:
        pipes.check(audio, where, allow_pipes=allow_pipes)
    else:
        audio = _placed(audio, folder, where, allow_remote)
    key = _text(row, "id", where)
    if key == "":
        raise DataError(f"{where}: an id cannot be empty")
    known = ("id", "audio", "audio_filepath", "start_s", "end_s", "offset", "speaker", "text", "recording")
    extra = {
        k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)
        for k, v in row.items()
        if k not in known and v is not None
    }
    return Utterance(
        key or name, audio, start, end, is_pipe, _text(row, "speaker", where), _text(row, "text", where), extra or None,
        _text(row, "recording", where),
    )  # fmt: skip


def _text(row: dict[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: {key} must be a string, found {value!r}")
    return value

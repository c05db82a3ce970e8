"""Manifests: fairseq `.tsv` (root line, then `path<TAB>frames`) and `.jsonl`, ours and NeMo's.

Our jsonl: one object per line, `id`, `audio`, and if there `start_s`, `end_s`, `speaker`, `text`; other keys go to
`extra`. NeMo's `audio_filepath`, `offset`, `duration`, `text` are read too; a row without id is named by its audio path
(and its offset). Relative paths are relative to the manifest's folder.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechssl.data import pipes
from speechssl.data.folder import id_of
from speechssl.data.lines import read_lines
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError


def read_tsv(path: str | Path) -> Iterator[Utterance]:
    """Utterances of a fairseq manifest in its order (which its label files share). Raises DataError with the line."""
    rows = read_lines(path)
    root = next((line for _, line in rows), "")
    if not root or "\t" in root:
        raise DataError(f"{path}:1: the first line of a fairseq manifest is the root folder")
    for number, line in rows:
        name, tab, frames = line.partition("\t")
        if not name or (tab and not (frames.isascii() and frames.isdigit())):
            raise DataError(f"{path}:{number}: expected `path<TAB>frames`, found {line[:80]!r}")
        yield Utterance(id_of(name), str(Path(root, name)), extra={"frames": frames} if tab else None)


def read_jsonl(path: str | Path, *, allow_pipes: bool = False) -> Iterator[Utterance]:
    """Utterances of a jsonl manifest. Raises DataError with the line."""
    folder = Path(path).parent
    for number, line in read_lines(path):
        if line.strip():
            yield _from_row(parse_object(line, f"{path}:{number}"), folder, f"{path}:{number}", allow_pipes)


def parse_object(line: str, where: str) -> dict[str, Any]:
    """A JSON object. Raises DataError that begins with `where` (file:line)."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, found {line[:40]!r}")
    return row


def _from_row(row: dict[str, Any], folder: Path, where: str, allow_pipes: bool) -> Utterance:
    audio = _text(row, "audio", where) or _text(row, "audio_filepath", where)
    if not audio:
        raise DataError(f"{where}: no audio (nor audio_filepath)")
    start, end = _seconds(row, "start_s", where), _seconds(row, "end_s", where)
    name = id_of(audio)
    if "offset" in row:
        start, length = _seconds(row, "offset", where), _seconds(row, "duration", where)
        end = None if start is None or length is None else start + length
        name = f"{name}-{row['offset']}"
    is_pipe = pipes.is_command(audio)
    if is_pipe:
        pipes.check(audio, where, allow_pipes=allow_pipes)
    else:
        audio = str(folder / audio)
    key = _text(row, "id", where) or name
    known = ("id", "audio", "audio_filepath", "start_s", "end_s", "offset", "speaker", "text")
    extra = {
        k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in row.items() if k not in known
    }
    return Utterance(
        key, audio, start, end, is_pipe, _text(row, "speaker", where), _text(row, "text", where), extra or None
    )


def _text(row: dict[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: {key} must be a string, found {value!r}")
    return value


def _seconds(row: dict[str, Any], key: str, where: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise DataError(f"{where}: {key} must be seconds from 0, found {value!r}")
    return float(value)

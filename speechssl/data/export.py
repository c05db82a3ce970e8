"""Utterances to any manifest format. What a format cannot hold is refused, naming the utterance, or noted."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechssl.data import pipes
from speechssl.data.corpus import probe_utterance
from speechssl.data.export_kaldi import absolute, write_kaldi
from speechssl.data.export_lhotse import length, num_samples, write_lhotse
from speechssl.data.folder import id_of
from speechssl.data.lines import check_target, write_lines, write_several
from speechssl.data.recording import is_file
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

FORMATS = ("kaldi", "espnet", "tsv", "jsonl", "lhotse")


def write_corpus(
    utterances: Sequence[Utterance], target: str | Path, kind: str, *, allow_pipes: bool = False
) -> list[str]:
    """Write utterances as `kind` (one of FORMATS): a folder, or a file for tsv and jsonl. Returns notes for the report.

    tsv, espnet and lhotse state lengths, so they read the header of every recording. Raises DataError for what the
    format cannot hold and where the target exists, AudioError for a recording whose length cannot be told.
    """
    target = Path(target)
    for utterance in utterances:
        _check_text(utterance)
    match kind:
        case "kaldi":
            return write_kaldi(utterances, target, {}, {})
        case "espnet":
            sizes = {u.id: str(num_samples(u, allow_pipes)) for u in utterances}
            return write_kaldi(utterances, target, {"utt2num_samples": sizes}, {"feats_type": "raw\n"})
        case "tsv":
            return _write_tsv(utterances, target, allow_pipes)
        case "jsonl":
            return _write_jsonl(utterances, target)
        case "lhotse":
            return write_lhotse(utterances, target, allow_pipes)
    raise DataError(f"kind={kind!r}: choose one of {', '.join(FORMATS)}")


def _check_text(utterance: Utterance) -> None:
    """Refuse what UTF-8 cannot hold (lone surrogates, also those that stand for bytes of odd file names)."""
    extra = utterance.extra or {}
    values = (utterance.id, utterance.audio, utterance.speaker or "", utterance.text or "", *extra, *extra.values())
    bad = next((value for value in values if any("\ud800" <= character <= "\udfff" for character in value)), None)
    if bad is not None or not utterance.id:
        raise DataError(f"{utterance.id!r}: {bad!r} cannot be written as UTF-8" if bad else "empty utterance id")


def _write_tsv(utterances: Sequence[Utterance], target: Path, allow_pipes: bool) -> list[str]:
    notes: list[str] = []
    paths: list[str] = []
    for u in utterances:
        if u.pipe or u.start_s is not None or u.end_s is not None or not is_file(u.audio):
            raise DataError(f"{u.id!r}: a fairseq manifest holds whole files only, no segments, archives or commands")
        paths.append(absolute(u.audio))
    root = os.path.commonpath([str(Path(path).parent) for path in paths])
    names = [os.path.relpath(path, root) for path in paths]
    for utterance, name in zip(utterances, names, strict=True):
        if any(c in f"{root}{name}" for c in "\t\n\r"):
            raise DataError(f"{utterance.id!r}: a fairseq manifest cannot hold the file name {utterance.audio!r}")
    infos = [probe_utterance(u) for u in utterances]
    rates = sorted({info.sample_rate for info in infos})
    if rates != [16000]:
        notes.append(f"lengths are in samples of the files' own rates ({', '.join(map(str, rates))} Hz)")
    sizes = [length(u, info, allow_pipes) for u, info in zip(utterances, infos, strict=True)]
    columns: dict[str, list[str]] = {".tsv": [root, *(f"{n}\t{s}" for n, s in zip(names, sizes, strict=True))]}
    if [id_of(name) for name in names] != [u.id for u in utterances]:
        columns[".ids"] = [u.id for u in utterances]
    if any(u.text is not None for u in utterances):
        columns[".wrd"] = [u.text or "" for u in utterances]
    for suffix, lines in columns.items():
        bad = next((line for line in lines if set("\n\r\0") & set(line) or line.startswith("\ufeff")), None)
        if bad is not None:
            message = f"{bad!r} holds a line break, NUL or byte order mark, which a line cannot keep"
            raise DataError(f"{target.with_suffix(suffix)}: {message}")
    if any(u.speaker is not None for u in utterances):
        notes.append("speakers are not kept by a fairseq manifest")
    if any(set(u.extra or {}) - {"frames"} for u in utterances):
        notes.append("further values of the utterances are not kept by a fairseq manifest")
    check_target(*(target.with_suffix(suffix) for suffix in columns))
    labels = {target.with_suffix(suffix): lines for suffix, lines in columns.items() if suffix != ".tsv"}
    write_several({**labels, target: columns[".tsv"]})
    return notes


def _write_jsonl(utterances: Sequence[Utterance], target: Path) -> list[str]:
    check_target(target)
    write_lines(target, (json.dumps(_jsonl_row(u), ensure_ascii=False) for u in utterances))
    return []


def _jsonl_row(utterance: Utterance) -> dict[str, Any]:
    audio = utterance.audio if utterance.pipe else absolute(utterance.audio)
    if not utterance.pipe and pipes.is_command(audio):
        raise DataError(f"{utterance.id!r}: the file name {audio!r} reads like a command")
    row = {"id": utterance.id, "audio": audio, "start_s": utterance.start_s, "end_s": utterance.end_s,
           "speaker": utterance.speaker, "text": utterance.text, "recording": utterance.recording}  # fmt: skip
    kept = {key: value for key, value in row.items() if value is not None}
    return {**{key: value for key, value in (utterance.extra or {}).items() if key not in row}, **kept}

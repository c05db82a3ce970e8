"""Any input to a list of utterances: `open_corpus` finds out what it was given, `read_utterance` gets the samples."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from speechssl import audio
from speechssl.audio import Audio, AudioInfo, AudioStream
from speechssl.data import folder, kaldi, lhotse, manifest
from speechssl.data.lines import parse_object, read_lines
from speechssl.data.recording import open_recording
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, DataError

KINDS = ("auto", "folder", "kaldi", "scp", "tsv", "jsonl", "lhotse", "list", "glob", "files")


@dataclass(frozen=True)
class Corpus:
    """Utterances in their order, with unique ids; `problems` are lines for the report (what was passed over)."""

    utterances: Sequence[Utterance]
    kind: str
    source: str
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.utterances)


def open_corpus(
    spec: str | Path | Sequence[str | Path],
    *,
    kind: str = "auto",
    allow_pipes: bool = False,
    id_from: str = "relative",
) -> Corpus:
    """The utterances of a folder, Kaldi data dir, wav.scp, .tsv, .jsonl, glob, file(s), or a list on stdin ("-").

    Several audio files are one corpus with ids relative to their common folder; several of anything else are opened one
    by one and joined. `kind` overrules what the name suggests. `id_from` is for files and folders: "relative" path
    without extension, or "name". Raises DataError naming file and line.
    """
    if kind not in KINDS:
        raise DataError(f"kind={kind!r}: choose one of {', '.join(KINDS)}")
    problems: list[str] = []
    if not isinstance(spec, str | Path):
        specs = list(map(str, spec))
        kinds = {_guess(one) if kind == "auto" else kind for one in specs}
        if kinds - {"files"}:
            return _join([open_corpus(one, kind=kind, allow_pipes=allow_pipes, id_from=id_from) for one in specs])
        source, kind = f"{len(specs)} files", "files"
        utterances = _from_files(specs, id_from, problems)
    else:
        source, kind = str(spec), _guess(str(spec)) if kind == "auto" else kind
        utterances = _open(kind, str(spec), allow_pipes, id_from, problems)
    if not utterances:
        raise DataError(f"{source}: no utterances found (read as {kind})" + "".join(f"\n  {p}" for p in problems))
    return Corpus(utterances, kind, source, tuple(problems))


def read_utterance(
    utterance: Utterance, *, sample_rate: int, allow_pipes: bool = False, max_s: float | None = None
) -> Audio:
    """The samples of an utterance, at most max_s seconds ("too-long"). Raises AudioError."""
    return audio.read(open_recording(utterance, allow_pipes=allow_pipes), sample_rate=sample_rate,
                      start_s=utterance.start_s, end_s=utterance.end_s, max_s=max_s)  # fmt: skip


def stream_utterance(
    utterance: Utterance,
    *,
    sample_rate: int,
    allow_pipes: bool = False,
    block_s: float = 30.0,
    max_s: float | None = None,
) -> AudioStream:
    """The samples of an utterance in blocks, memory bounded. Raises AudioError, also while iterating."""
    return audio.stream(open_recording(utterance, allow_pipes=allow_pipes), sample_rate=sample_rate, block_s=block_s,
                        start_s=utterance.start_s, end_s=utterance.end_s, max_s=max_s)  # fmt: skip


def probe_utterance(utterance: Utterance, *, allow_pipes: bool = False) -> AudioInfo:
    """What the header of the utterance's recording (the whole one) says. Raises AudioError."""
    with open_recording(utterance, allow_pipes=allow_pipes) as source:
        return source.info


def check_recordings(corpus: Corpus, *, allow_pipes: bool = False) -> Iterator[tuple[str, AudioError]]:
    """Id and error of every utterance whose recording's header is bad."""
    for utterance in corpus.utterances:
        try:
            probe_utterance(utterance, allow_pipes=allow_pipes)
        except AudioError as error:
            yield utterance.id, error


def _guess(spec: str) -> str:
    if spec == "-":
        return "list"
    if Path(spec).is_dir():
        if Path(spec, "wav.scp").exists():
            return "kaldi"
        return "lhotse" if any(lhotse.names_manifest(path.name) for path in Path(spec).iterdir()) else "folder"
    if not os.path.lexists(spec) and has_magic(spec):
        return "glob"
    name = spec.lower().removesuffix(".gz")
    by_suffix = {".scp": "scp", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".txt": "list", ".lst": "list"}
    kind = by_suffix.get(Path(name).suffix, "files")
    if kind == "jsonl":
        first = next((line for _, line in read_lines(spec)), "")
        return "lhotse" if first and lhotse.is_manifest(parse_object(first, f"{spec}:1")) else "jsonl"
    return kind


def _open(kind: str, spec: str, allow_pipes: bool, id_from: str, problems: list[str]) -> list[Utterance]:
    match kind:
        case "folder":
            utterances, found = folder.read_folder(spec, id_from=id_from)
            problems += found
            return utterances
        case "kaldi":
            return kaldi.read_dir(spec, allow_pipes=allow_pipes)
        case "scp":
            return kaldi.read_scp(spec, allow_pipes=allow_pipes)
        case "tsv":
            return _unique(manifest.read_tsv(spec), spec)
        case "jsonl":
            return _unique(manifest.read_jsonl(spec, allow_pipes=allow_pipes), spec)
        case "lhotse":
            return _unique(lhotse.read_lhotse(spec, allow_pipes=allow_pipes), spec)
        case "list":
            return _from_files(_read_list(spec), id_from, problems)
        case "glob":
            return _from_files(sorted(glob(spec, recursive=True), key=os.fsencode), id_from, problems)  # noqa: PTH207
        case _:
            if not os.path.lexists(spec):
                raise DataError(f"{spec}: no such file or folder")
            return _from_files([spec], id_from, problems)


def _join(parts: list[Corpus]) -> Corpus:
    """Several corpora as one; an id that stands in two of them is an error that names both."""
    home: dict[str, str] = {}
    for part in parts:
        for utterance in part.utterances:
            if utterance.id in home:
                raise DataError(f"{utterance.id!r} stands both in {home[utterance.id]} and in {part.source}")
            home[utterance.id] = part.source
    return Corpus(
        [utterance for part in parts for utterance in part.utterances],
        " + ".join(dict.fromkeys(part.kind for part in parts)),
        ", ".join(part.source for part in parts),
        tuple(problem for part in parts for problem in part.problems),
    )


def _from_files(paths: list[str], id_from: str, problems: list[str]) -> list[Utterance]:
    absolute = [str(Path(path).absolute()) for path in paths]
    root = os.path.commonpath([str(Path(path).parent) for path in absolute]) if absolute else "."
    utterances = folder.from_paths(absolute, root=root, id_from=id_from, problems=problems)
    as_given = dict(zip(absolute, paths, strict=True))
    return [Utterance(utterance.id, as_given[utterance.audio]) for utterance in utterances]


def _read_list(spec: str) -> list[str]:
    if spec == "-":
        lines = [os.fsdecode(line.removesuffix(b"\n").removesuffix(b"\r")) for line in sys.stdin.buffer]
    else:
        lines = [line for _, line in read_lines(spec)]
    return [line for line in lines if line]


def _unique(utterances: Iterable[Utterance], source: str) -> list[Utterance]:
    by_id: dict[str, Utterance] = {}
    for number, utterance in enumerate(utterances, start=1):
        if utterance.id in by_id:
            first = list(by_id).index(utterance.id) + 1
            raise DataError(f"{source}: {utterance.id!r} comes twice, as utterance no. {first} and no. {number}")
        by_id[utterance.id] = utterance
    return list(by_id.values())


__all__ = ["Corpus", "open_corpus", "probe_utterance", "read_utterance", "stream_utterance"]

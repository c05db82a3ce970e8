"""Any input to a list of utterances: `open_corpus` finds out what it was given, `read_utterance` gets the samples."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from itertools import chain
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from speechssl import audio
from speechssl.audio import Audio, AudioInfo, AudioStream
from speechssl.data import folder, kaldi, kaldi_stream, lhotse, manifest, remote, tars
from speechssl.data.lines import parse_object, read_lines
from speechssl.data.recording import open_recording
from speechssl.data.rows import collect, comes_twice
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, DataError

KINDS = ("auto", "folder", "kaldi", "scp", "tsv", "jsonl", "lhotse", "tar", "list", "glob", "files")
ID_FROM = ("relative", "name", "archive")


@dataclass(frozen=True)
class Corpus:
    """Utterances in their order, with unique ids; `problems` are lines for the report (what was passed over).

    A large corpus keeps its utterances in a temporary file (`speechssl.data.rows`), so take them in order or in slices.
    """

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
    allow_remote: bool = False,
    id_from: str = "relative",
) -> Corpus:
    """The utterances of a folder, Kaldi data dir, wav.scp, .tsv, .jsonl, tar(s), glob, file(s), or a list ("-": stdin).

    Several audio files are one corpus with ids relative to their common folder; several of anything else are opened one
    by one and joined. `kind` overrules what the name suggests. `id_from` is for files, folders and tars: "relative"
    path without extension, or "name"; or "archive", for tars: their name before the path in them. allow_pipes,
    allow_remote: whether commands and addresses may stand in the corpus. Raises DataError naming file and line.
    """
    if kind not in KINDS:
        raise DataError(f"kind={kind!r}: choose one of {', '.join(KINDS)}")
    if id_from not in ID_FROM:
        raise DataError(f"id_from={id_from!r}: choose one of {', '.join(ID_FROM)}")
    how = _How(allow_pipes, allow_remote, id_from)
    problems: list[str] = []
    specs = [str(spec)] if isinstance(spec, str | Path) else list(map(str, spec))
    if "" in specs:  # an unset variable of a script; as a path it would be the folder that one stands in
        raise DataError("an empty name where a corpus is expected")
    if not isinstance(spec, str | Path):
        kinds = {_guess(one) if kind == "auto" else kind for one in specs}
        if kinds == {"tar"} and all(map(tars.is_tar, specs)):
            source, kind = f"{len(specs)} tars", "tar"
            utterances = _from_tars(specs, how, problems)
        elif kinds - {"files"}:
            parts = [
                open_corpus(one, kind=kind, allow_pipes=allow_pipes, allow_remote=allow_remote, id_from=id_from)
                for one in specs
            ]
            return _join(parts)
        else:
            source, kind = f"{len(specs)} files", "files"
            utterances = _from_files(specs, how, problems)
    else:
        spec = specs[0]
        source, kind = remote.shown(spec) if remote.is_address(spec) else spec, _guess(spec) if kind == "auto" else kind
        utterances = _open(kind, spec, how, problems)
    if not utterances:
        raise DataError(f"{source}: no utterances found (read as {kind})" + "".join(f"\n  {p}" for p in problems))
    return Corpus(utterances, kind, source, tuple(problems))


def read_utterance(
    utterance: Utterance,
    *,
    sample_rate: int,
    allow_pipes: bool = False,
    allow_remote: bool = False,
    max_s: float | None = None,
) -> Audio:
    """The samples of an utterance, at most max_s seconds ("too-long"). Raises AudioError."""
    source = open_recording(utterance, allow_pipes=allow_pipes, allow_remote=allow_remote)
    return audio.read(source, sample_rate=sample_rate, start_s=utterance.start_s, end_s=utterance.end_s, max_s=max_s)


def stream_utterance(
    utterance: Utterance,
    *,
    sample_rate: int,
    allow_pipes: bool = False,
    allow_remote: bool = False,
    block_s: float = 30.0,
    max_s: float | None = None,
) -> AudioStream:
    """The samples of an utterance in blocks, memory bounded. Raises AudioError, also while iterating."""
    source = open_recording(utterance, allow_pipes=allow_pipes, allow_remote=allow_remote)
    return audio.stream(source, sample_rate=sample_rate, block_s=block_s,
                        start_s=utterance.start_s, end_s=utterance.end_s, max_s=max_s)  # fmt: skip


def probe_utterance(utterance: Utterance, *, allow_pipes: bool = False, allow_remote: bool = False) -> AudioInfo:
    """What the header of the utterance's recording (the whole one) says. Raises AudioError."""
    with open_recording(utterance, allow_pipes=allow_pipes, allow_remote=allow_remote) as source:
        return source.info


def check_recordings(
    corpus: Corpus, *, allow_pipes: bool = False, allow_remote: bool = False
) -> Iterator[tuple[str, AudioError]]:
    """Id and error of every utterance whose recording's header is bad."""
    for utterance in corpus.utterances:
        try:
            probe_utterance(utterance, allow_pipes=allow_pipes, allow_remote=allow_remote)
        except AudioError as error:
            yield utterance.id, error


@dataclass(frozen=True)
class _How:
    """What is allowed, and what ids are made of."""

    allow_pipes: bool
    allow_remote: bool
    id_from: str


def _guess(spec: str) -> str:
    if spec == "-":
        return "list"
    if remote.is_address(spec):
        return "tar" if tars.is_tar(spec) else "files"
    if Path(spec).is_dir():
        if Path(spec, "wav.scp").exists():
            return "kaldi"
        names = [path.name for path in Path(spec).iterdir()]
        if any(map(lhotse.names_manifest, names)):
            return "lhotse"
        recordings = any(Path(name).suffix[1:].lower() in folder.SUFFIXES for name in names)
        return "tar" if any(map(tars.is_tar, names)) and not recordings else "folder"
    if not os.path.lexists(spec) and has_magic(spec):
        return "glob"
    if tars.is_tar(spec):
        return "tar"
    name = spec.lower().removesuffix(".gz")
    by_suffix = {".scp": "scp", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".txt": "list", ".lst": "list"}
    kind = by_suffix.get(Path(name).suffix, "files")
    if kind == "jsonl":
        first = next((line for _, line in read_lines(spec)), "")
        return "lhotse" if first and lhotse.is_manifest(parse_object(first, f"{spec}:1")) else "jsonl"
    return kind


def _open(kind: str, spec: str, how: _How, problems: list[str]) -> Sequence[Utterance]:
    id_from = "relative" if how.id_from == "archive" else how.id_from
    match kind:
        case "folder":
            utterances, found = folder.read_folder(spec, id_from=id_from)
            rows = collect(utterances, folder.same_id)
            problems += found  # complete now
            return rows
        case "kaldi":
            return _from_kaldi(spec, how, problems)
        case "scp":
            return collect(
                kaldi.iter_scp(spec, allow_pipes=how.allow_pipes, allow_remote=how.allow_remote),
                kaldi.given_before(spec),
            )
        case "tsv":
            return collect(manifest.read_tsv(spec, allow_remote=how.allow_remote), comes_twice(spec))
        case "jsonl":
            return collect(
                manifest.read_jsonl(spec, allow_pipes=how.allow_pipes, allow_remote=how.allow_remote), comes_twice(spec)
            )
        case "lhotse":
            return collect(lhotse.read_lhotse(spec, allow_pipes=how.allow_pipes), comes_twice(spec))
        case "tar":
            if remote.is_address(spec) or not Path(spec).is_dir():
                return _from_tars([spec], how, problems)
            paths, found = tars.find(spec)
            problems += found
            return _from_tars(paths, how, problems)
        case "list":
            return _from_files(_read_list(spec), how, problems)
        case "glob":
            paths = sorted(glob(spec, recursive=True), key=os.fsencode)  # noqa: PTH207
            is_tars = paths and all(map(tars.is_tar, paths))
            return _from_tars(paths, how, problems) if is_tars else _from_files(paths, how, problems)
        case _:
            if not (remote.is_address(spec) or os.path.lexists(spec)):
                raise DataError(f"{spec}: no such file or folder")
            return _from_files([spec], how, problems)


def _from_kaldi(spec: str, how: _How, problems: list[str]) -> Sequence[Utterance]:
    if kaldi_stream.is_large(Path(spec)):
        try:
            return collect(
                kaldi_stream.stream_dir(spec, allow_pipes=how.allow_pipes, allow_remote=how.allow_remote),
                comes_twice(spec),
            )
        except kaldi_stream.NotInOrder as found:
            note = f"{spec}: {found} does not have the order of the other tables: all were held in memory to join them"
            problems.append(f"{note} (`speechssl data fix` sorts them)")
    return collect(kaldi.read_dir(spec, allow_pipes=how.allow_pipes, allow_remote=how.allow_remote), comes_twice(spec))


def _from_tars(paths: Sequence[str], how: _How, problems: list[str]) -> Sequence[Utterance]:
    rows = tars.read_tars(paths, problems, id_from=how.id_from, allow_remote=how.allow_remote)
    return collect(
        rows,
        lambda first, one, second, other: (
            f"{one.id!r} is in {one.shown} and in {other.shown}; with id_from archive (--id-from) the tar's name goes "
            "before the key"
        ),
    )


def _join(parts: list[Corpus]) -> Corpus:
    """Several corpora as one; an id that stands in two of them is an error that names both."""

    def home(number: int) -> str:
        for part in parts:
            if number <= len(part):
                return part.source
            number -= len(part)
        raise IndexError(number)

    utterances = collect(
        chain.from_iterable(part.utterances for part in parts),
        lambda first, one, second, other: f"{one.id!r} stands both in {home(first)} and in {home(second)}",
    )
    return Corpus(
        utterances,
        " + ".join(dict.fromkeys(part.kind for part in parts)),
        ", ".join(part.source for part in parts),
        tuple(problem for part in parts for problem in part.problems),
    )


def _from_files(paths: list[str], how: _How, problems: list[str]) -> Sequence[Utterance]:
    id_from = "relative" if how.id_from == "archive" else how.id_from
    if any(map(remote.is_address, paths)):
        return _from_addresses(paths, how, id_from)
    absolute = [str(Path(path).absolute()) for path in paths]
    root = os.path.commonpath([str(Path(path).parent) for path in absolute]) if absolute else "."
    utterances = folder.from_paths(absolute, root=root, id_from=id_from, problems=problems)
    as_given = dict(zip(absolute, paths, strict=True))
    return collect((Utterance(row.id, as_given[row.audio]) for row in utterances), folder.same_id)


def _from_addresses(paths: list[str], how: _How, id_from: str) -> Sequence[Utterance]:
    """Recordings by address: ids as for files, from the path (and host or bucket, where they differ)."""
    places = []
    for path in paths:
        if not remote.is_address(path):
            raise DataError(f"{path}: files and addresses in one list; give them apart")
        remote.check(path, "input", allow_remote=how.allow_remote)
        if folder.MANIFEST.search(urlsplit(path).path):
            raise DataError(f"{remote.shown(path)}: manifests are read from this machine only; copy it here first")
        parts = urlsplit(path)
        places.append(PurePosixPath(f"/{parts.netloc.rpartition('@')[2]}{parts.path}"))
    root = os.path.commonpath([str(place.parent) for place in places])
    names = (place.name if id_from == "name" else str(place.relative_to(root)) for place in places)
    rows = (Utterance(folder.id_of(name), path) for name, path in zip(names, paths, strict=True))
    return collect(rows, folder.same_id)


def _read_list(spec: str) -> list[str]:
    if spec == "-":
        lines = [os.fsdecode(line.removesuffix(b"\n").removesuffix(b"\r")) for line in sys.stdin.buffer]
    else:
        lines = [line for _, line in read_lines(spec)]
    return [line for line in lines if line]


__all__ = ["Corpus", "open_corpus", "probe_utterance", "read_utterance", "stream_utterance"]

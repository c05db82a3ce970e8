"""Tar archives as corpora, webdataset's way: `key.flac` with `key.txt` and `key.json` beside it, if any.

The archives are read by their headers once and never extracted; a recording is later read by offset and size, so
compressed tars cannot be used. The key is the member's path without its last extension (webdataset itself ends it at
the first dot of the file name). `key.txt` is the text; of `key.json` `text` and `speaker` are taken as such, the rest
goes to `extra`. The three stand next to each other in the archive.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from speechssl.audio.source import open_regular
from speechssl.data import remote
from speechssl.data.folder import SUFFIXES, id_of
from speechssl.data.lines import decode, parse_object
from speechssl.data.tar import Member, members
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, DataError

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
_MOST_TEXT = 1 << 20  # bytes of a .txt or .json
_SHOWN = 5  # names in a line of the report


def is_tar(name: str) -> bool:
    """Whether a path or address is a tar archive by its name, usable or not."""
    lower = name.partition("?")[0].lower() if remote.is_address(name) else name.lower()
    return lower.endswith((".tar", *COMPRESSED))


def find(folder: str | Path) -> tuple[list[str], list[str]]:
    """The archives in a folder and below it, sorted, and a line on what else is there."""
    found = sorted((path for path in Path(folder).rglob("*") if path.is_file()), key=os.fsencode)
    tars = [str(path) for path in found if is_tar(path.name)]
    others = Counter(path.suffix.lower() or path.name for path in found if not is_tar(path.name))
    if not others:
        return tars, []
    shown = ", ".join(f"{name} {count}" for name, count in others.most_common(8))
    return tars, [f"{folder}: {others.total()} files beside the tars were passed over ({shown})"]


def read_tars(
    paths: Sequence[str], problems: list[str], *, id_from: str = "relative", allow_remote: bool = False
) -> Iterator[Utterance]:
    """Utterances of archives, one after the other. Raises DataError naming archive and member.

    problems: gets a line for every kind of member that was passed over. id_from: "relative" (the key), "name" (its
    last part), or "archive" (the archive's name without extension, `/`, the key).
    """
    for path in paths:
        shown = remote.shown(path) if remote.is_address(path) else path
        if shown.removesuffix("?…").lower().endswith(COMPRESSED):
            raise DataError(f"{shown}: members of compressed tars cannot be read by offset; decompress it first")
        reader = _Reader(path, shown, id_from)
        with closing(_open(path, shown, allow_remote)) as file:
            try:
                yield from reader.utterances(file)
            except OSError as error:
                raise DataError(f"{shown}: {error.strerror or type(error).__name__}") from None
        problems += reader.problems()


def _open(path: str, shown: str, allow_remote: bool) -> BinaryIO:
    try:
        if remote.is_address(path):
            remote.check(path, "input", allow_remote=allow_remote)
            return remote.open_file(path)
        return open_regular(path)
    except AudioError as error:
        raise DataError(str(error)) from None


@dataclass
class _Sample:
    """Members of one key that stand together."""

    key: str
    audio: Member | None = None
    text: str | None = None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Reader:
    path: str
    shown: str
    id_from: str
    passed_over: dict[str, list[str]] = field(default_factory=dict)  # reason: the first names
    counts: Counter[str] = field(default_factory=Counter)

    def utterances(self, file: BinaryIO) -> Iterator[Utterance]:
        sample: _Sample | None = None
        for member in members(file, self.shown):
            reason = self._fault(member)
            if reason or member.kind == "folder":
                if reason:
                    self._pass_over(reason, member.name)
                continue
            name = member.name.removeprefix("./")
            key, suffix = id_of(name), PurePosixPath(name).suffix.lower()
            if sample is None or sample.key != key:
                yield from self._finished(sample)
                sample = _Sample(key)
            if suffix[1:] in SUFFIXES:
                if sample.audio is not None:
                    raise DataError(f"{self.shown}: {sample.audio.name!r} and {name!r} would both be utterance {key!r}")
                sample.audio = member
            elif suffix == ".txt":
                sample.text = self._text(file, member).strip()
            elif suffix == ".json":
                sample.values = parse_object(self._text(file, member), f"{self.shown}: {name!r}")
            else:
                self._pass_over("of no kind that is read", name)
        yield from self._finished(sample)

    def problems(self) -> list[str]:
        """Lines for the report."""
        lines = []
        for reason, names in self.passed_over.items():
            more = ", …" if self.counts[reason] > len(names) else ""
            lines.append(
                f"{self.shown}: {self.counts[reason]} members {reason}, passed over ({', '.join(names)}{more})"
            )
        return lines

    def _finished(self, sample: _Sample | None) -> Iterator[Utterance]:
        if sample is None:
            return
        if sample.audio is None:
            if sample.text is not None or sample.values:
                self._pass_over("without a recording beside them", sample.key)
            return
        values = dict(sample.values)
        text, speaker = values.pop("text", None), values.pop("speaker", None)
        if not isinstance(text, str | None) or not isinstance(speaker, str | None):
            raise DataError(f"{self.shown}: {sample.key + '.json'!r}: text and speaker must be strings")
        extra = {
            k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)
            for k, v in values.items()
            if v is not None
        }
        yield Utterance(
            self._id(sample.key), f"{self.path}:{sample.audio.offset}:{sample.audio.size}",
            speaker=speaker, text=text if sample.text is None else sample.text, extra=extra or None,
        )  # fmt: skip

    def _id(self, key: str) -> str:
        if self.id_from == "name":
            return PurePosixPath(key).name
        if self.id_from == "archive":
            return f"{id_of(PurePosixPath(self.shown.removesuffix('?…')).name)}/{key}"
        return key

    def _text(self, file: BinaryIO, member: Member) -> str:
        if member.size > _MOST_TEXT:
            raise DataError(f"{self.shown}: {member.name!r} has {member.size} bytes, too many for a text")
        file.seek(member.offset)
        return decode(file.read(member.size), f"{self.shown}: {member.name!r}", 1)

    def _pass_over(self, reason: str, name: str) -> None:
        self.counts[reason] += 1
        names = self.passed_over.setdefault(reason, [])
        if len(names) < _SHOWN:
            names.append(repr(name[:80]))

    def _fault(self, member: Member) -> str | None:
        """Why a member is not even looked at."""
        if member.kind not in ("file", "folder"):
            return {"link": "that are links", "device": "that are devices or pipes", "sparse": "that are sparse"}.get(
                member.kind, "of an unknown kind"
            )
        if member.name.startswith("/") or ".." in member.name.split("/"):
            return "with a path that leads out of the archive"
        if any("\ud800" <= c <= "\udfff" for c in member.name):
            return "whose names are not UTF-8"
        return "without a name, or with control characters in it" if not _is_plain(member.name) else None


def _is_plain(name: str) -> bool:
    return (bool(name.strip("./")) and not any(c < " " or c == "\x7f" for c in name)) or name in (".", "./")

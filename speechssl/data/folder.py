"""Folders, globs and lists of audio files as utterances. The id is the relative path without its last extension."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

# Recordings by their name; those that libsndfile cannot read are listed too: reported later, not passed over here.
_READ = "wav wave w64 rf64 flac ogg oga opus mp3 mp2 aif aiff aifc au snd caf sph nist"
_NOT_READ = "m4a aac alac wma amr ape ac3 wv spx webm mka"
MANIFEST = re.compile(r"\.(jsonl?|tsv|scp|txt|lst)(\.gz)?\Z")  # lists of recordings, by their name
SUFFIXES = frozenset(f"{_READ} {_NOT_READ}".split())


def read_folder(root: str | Path, *, id_from: str = "relative") -> tuple[Iterator[Utterance], list[str]]:
    """Every recording under a folder, sorted by path, and lines for the report on what was passed over.

    The lines are complete once the last recording was taken; two of these may have one id.
    """
    problems: list[str] = []
    return from_paths(_recordings(Path(root), problems), root=root, id_from=id_from, problems=problems), problems


def _recordings(root: Path, problems: list[str]) -> Iterator[Path]:
    passed_over: Counter[str] = Counter()
    for path in _walk(root, problems):
        if path.suffix[1:].lower() in SUFFIXES and not path.name.startswith("._"):
            yield path
        else:
            passed_over[path.suffix.lower() or path.name] += 1
    if passed_over:
        shown = ", ".join(f"{name} {count}" for name, count in passed_over.most_common(8))
        problems.append(f"{root}: {passed_over.total()} files are no audio by their name, passed over ({shown})")


def from_paths(
    paths: Iterable[str | Path], *, root: str | Path, id_from: str = "relative", problems: list[str]
) -> Iterator[Utterance]:
    """Utterances of recordings below `root`; `id_from` "relative" (path below root) or "name" (file name alone)."""
    for path in map(str, paths):
        key = id_of(os.path.relpath(path, root) if id_from == "relative" else Path(path).name)
        if not key.isprintable() and not _is_utf8(key):
            problems.append(f"{path!r}: the name is not UTF-8, passed over; rename the file")
            continue
        yield Utterance(key, path)


def same_id(first: int, one: Utterance, second: int, other: Utterance) -> str:
    """What to say of two files with one id."""
    return f"{other.shown} and {one.shown} would both be utterance {one.id!r}; rename one of them"


def id_of(path: str) -> str:
    """A path without its last extension: `a/b.c.wav` is `a/b.c`; a name that is all extension stays."""
    stem, suffix = os.path.splitext(path)  # noqa: PTH122 (pathlib takes most of the time of reading a manifest)
    return stem if len(suffix) > 1 else path


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _walk(root: Path, problems: list[str]) -> Iterator[Path]:
    """Files below root in byte order, through symbolic links, each real folder once."""
    seen: dict[tuple[int, int], str] = {}
    stack = [str(root)]
    while stack:
        folder = stack.pop()
        try:
            identity = Path(folder).stat()
            first = seen.setdefault((identity.st_dev, identity.st_ino), folder)
            if first != folder:
                problems.append(f"{folder}: the same folder as {first}, passed over")
                continue
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            if folder == str(root):
                raise DataError(f"{folder}: {error.strerror}") from None
            problems.append(f"{folder}: {error.strerror}, passed over")
            continue
        stack += [entry.path for entry in reversed(entries) if entry.is_dir()]
        yield from (Path(entry.path) for entry in entries if not entry.is_dir())

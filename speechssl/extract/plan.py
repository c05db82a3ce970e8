"""The manifest's rows cut into shards: a function of the rows alone, so every process comes to the same plan."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechssl.data.remote import is_address
from speechssl.data.rows import Spool
from speechssl.data.twice import IdCheck
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError
from speechssl.extract.job import Manifest, load

MAX_SHARD = 256  # utterances, up to _MOST_SHARDS shards: then all grow
_FEWEST_SHARDS = 64  # a small corpus is cut this fine, so that it spreads over workers and a kill costs little
_MOST_SHARDS = 20_000  # two files each in one folder, and a line of the journal in memory


@dataclass(frozen=True)
class Task:
    """One shard to run: its number and its rows."""

    shard: int
    rows: tuple[Utterance, ...]


def shard_size(num_utterances: int) -> int:
    """Utterances per shard: 256; fewer where that gives less than 64 shards, more where it gives over 20,000."""
    return max(1, min(MAX_SHARD, -(-num_utterances // _FEWEST_SHARDS)), -(-num_utterances // _MOST_SHARDS))


def planned_size(folder: Path, manifest: Manifest) -> int:
    """Utterances per shard for these rows: those of the job that was begun in `folder`, else `shard_size`."""
    if (folder / "job.json").exists():
        job = load(folder)
        if job.manifest == manifest:
            return job.shard_size
    return shard_size(manifest.utterances)


def tasks(utterances: Sequence[Utterance], size: int, wanted: Callable[[int], bool]) -> Iterator[Task]:
    """The shards that are wanted, in order; rows are taken as they are needed."""
    for shard, start in enumerate(range(0, len(utterances), size)):
        if wanted(shard):
            yield Task(shard, tuple(utterances[start : start + size]))


def check_manifest(utterances: Sequence[Utterance], refusals: Sequence[Callable[[str], str | None]]) -> Manifest:
    """Identity of the rows, after a look at every id. Memory does not grow with them.

    The sum covers ids, absolute paths, segments, in order; not what is in the audio files. Raises DataError for an id
    that comes twice, is empty or no valid Unicode, or that an output format refuses; the message names the row.
    """
    digest = hashlib.sha256()
    ids = None if isinstance(utterances, Spool) else IdCheck()  # a spool's ids were compared when it was made
    here = str(Path.cwd())
    row = 0
    for row, utterance in enumerate(utterances, 1):
        name = utterance.id
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"row {row}: utterance id {name!r} is not valid Unicode") from None
        reason = "an id cannot be empty" if not name else next((r for f in refusals if (r := f(name))), None)
        if reason:
            raise DataError(f"row {row}: utterance id {name!r}: {reason}")
        if ids:
            ids.add(name)
        fields = (name, _place(utterance, here), utterance.start_s, utterance.end_s, utterance.pipe)
        digest.update(repr(fields).encode(errors="surrogateescape"))
    twice = ids and ids.clash(lambda: (utterance.id for utterance in utterances))
    if twice:
        raise DataError(f"rows {twice[0]} and {twice[1]}: utterance id {utterances[twice[0] - 1].id!r} comes twice")
    return Manifest(digest.hexdigest(), row)


def _place(utterance: Utterance, here: str) -> str:
    """Where the audio is, whatever the working directory."""
    audio = utterance.audio
    if utterance.pipe:
        return os.path.normpath(audio)
    return audio if is_address(audio) else os.path.normpath(os.path.join(here, audio))  # noqa: PTH118

"""`run_shard`: the rows of one shard to files. Pure: the same job, model and rows give the same bytes anywhere.

On the CPU every utterance is encoded alone, without padding: what a row gives cannot depend on its neighbours. The
files appear under their final names whole or not at all, and may be written again at any time.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError
from speechssl.extract import atomic
from speechssl.extract.batches import Outcome, in_batches, one_by_one
from speechssl.extract.encode import Encoder
from speechssl.extract.journal import ShardResult
from speechssl.extract.plan import Task
from speechssl.extract.stores import Writer, store

OWN_REASONS = {  # beside speechssl.audio.REASONS
    "non-finite-features": "the encoder gave NaN or infinity for finite samples",
    "no-units": "a unit normaliser writes nothing of it",
    "out-of-memory": "not enough memory for this recording alone",
    "timeout": "no progress within the time limit",
    "worker-died": "the processes that worked on it died",
}
_MESSAGES = {  # of rows that are not to be tried again
    "timeout": "no progress within the time limit",
    "out-of-memory": "two processes that worked on it took more memory than the limit",
    "worker-died": "two or three processes died while working on it",
}


def run_shard(
    task: Task,
    folder: Path,
    encoder: Encoder,
    *,
    tag: str,
    skip: Mapping[int, str] | None = None,
    beat: Callable[[int, float], None] = lambda row, seconds: None,
) -> ShardResult:
    """Write the shard's files into `folder` and say what came of its rows.

    skip: rows not to try again and why (reason codes), after they hung or killed a process. Where it is given, if only
        empty, every row is encoded alone, so that the next one to do so is known.
    beat: called with the row in hand and the seconds of audio done so far, often enough to tell work from a hang.
    Raises OSError where the files cannot be written; nothing is left of them then.
    """
    job, stem = encoder.job, encoder.job.stem(task.shard)
    records = []
    with atomic.scratch(folder, tag) as scratch:
        spool = scratch / "spool"
        writer = store(job.store).Writer(scratch, stem, job)
        seconds = 0.0

        def tell(row: int) -> None:
            beat(row, seconds)

        for utterance, outcome in zip(task.rows, _outcomes(task, encoder, skip, spool, tell), strict=True):
            record = _record(utterance, outcome, writer)
            seconds += record.get("samples", 0) / job.model.sample_rate
            records.append(record)
        beat(len(task.rows), seconds)
        writer.close()
        spool.unlink(missing_ok=True)
        with (scratch / f"{stem}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        hashes = atomic.commit(scratch, folder)
    return _result(task.shard, hashes, records, job.model.sample_rate)


def _outcomes(
    task: Task, encoder: Encoder, skip: Mapping[int, str] | None, spool: Path, beat: Callable[[int], None]
) -> Iterator[Outcome]:
    if encoder.job.device == "cuda" and skip is None:
        return in_batches(encoder, task.rows, spool, beat)
    skipped = {row: AudioError(code, _MESSAGES[code]) for row, code in (skip or {}).items()}
    return one_by_one(encoder, task.rows, skipped, spool, beat)


def _record(utterance: Utterance, outcome: Outcome, writer: Writer) -> dict[str, Any]:
    """A row's line; its frames go to the writer."""
    if isinstance(outcome, AudioError):
        message = str(outcome).encode("utf-8", "backslashreplace").decode()  # a path need not be Unicode
        return {"id": utterance.id, "code": outcome.code, "error": message}
    record: dict[str, Any] = {
        "id": utterance.id,
        "frames": len(outcome.frames),
        "samples": outcome.num_samples,
        **writer.add(utterance.id, outcome.frames),
    }
    if outcome.notes:
        record["notes"] = list(outcome.notes)
    return record


def _result(shard: int, files: dict[str, str], records: list[dict[str, Any]], sample_rate: int) -> ShardResult:
    good = [record for record in records if "code" not in record]
    failures = Counter(record["code"] for record in records if "code" in record)
    notes = Counter(_kind(note) for record in good for note in record.get("notes", ()))
    return ShardResult(
        shard=shard,
        files=files,
        rows=len(records),
        ok=len(good),
        frames=sum(record["frames"] for record in good),
        seconds=sum(record["samples"] for record in good) / sample_rate,
        failures=dict(sorted(failures.items())),
        notes=dict(sorted(notes.items())),
    )


def _kind(note: str) -> str:
    """A note without the figures of the one recording, so that notes can be counted."""
    return re.sub(r"\d+\.\d+|\d+e[+-]?\d+", "…", note.partition(":")[0])

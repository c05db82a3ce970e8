"""Done shards to the final files: units in the asked formats, failures.tsv, the sidecar, the report, `sha256sums`.

Reads shards in their order, one at a time, checking each against the hash in the journal. Everything is written in a
scratch folder and renamed; `sha256sums` comes last, so its presence means that the output is whole.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechssl.data.corpus import Corpus
from speechssl.data.recording import is_file
from speechssl.data.remote import is_address
from speechssl.errors import DataError
from speechssl.extract import atomic
from speechssl.extract import folder as places
from speechssl.extract.job import Job
from speechssl.extract.journal import ShardResult, read_rows, total
from speechssl.extract.report import Report
from speechssl.extract.stores import store
from speechssl.units.formats import Info, Item, unit_format
from speechssl.units.units import Units

SUMS = "sha256sums"
_WANT_ROOT = ("fairseq",)  # finding it takes a pass over the rows


@dataclass(frozen=True)
class Output:
    """One format of units in the folder."""

    format: str
    merged: bool  # runs of one unit merged, with durations; of a normaliser without


def merge(
    folder: Path,
    job: Job,
    results: Mapping[int, ShardResult],
    corpus: Corpus,
    outputs: Sequence[Output],
    report: Report,
    tag: str,
    check: Callable[[], None] = lambda: None,
) -> Report:
    """Write the final files into `folder`; returns the report with their names, which is written too.

    check is called for every shard and may raise, to stop early.
    Raises DataError where a shard's files are not what the journal says: they are removed, so that the next run makes
    them again.
    """
    (folder / SUMS).unlink(missing_ok=True)
    written: dict[str, str] = {}
    written |= _commit_failures(folder, job, results, tag)
    if job.kind == "features":
        written |= _commit_index(folder, job, results, tag)
    root = corpus_root(corpus) if any(output.format in _WANT_ROOT for output in outputs) else "/"
    for output in outputs:
        with atomic.scratch(folder, tag) as scratch:
            merged = output.merged and not job.model.reduced
            info = Info(job.model.rate_hz, job.model.num_units or 0, merged, folder.resolve(), root)
            items = _items(folder, job, results, corpus, merged, check)
            unit_format(output.format).write(scratch, items, info)
            written |= atomic.commit(scratch, folder)
    sidecar = json.dumps(describe(job, corpus, results, outputs, written), indent=2, ensure_ascii=False) + "\n"
    name = f"{job.kind}.json"
    written[name] = atomic.write_text(folder / name, sidecar, tag)
    report = dataclasses.replace(report, finished=True, files=tuple(sorted(written)))
    written["report.json"] = atomic.write_text(folder / "report.json", report.to_json() + "\n", tag)
    for name in places.final_files(folder) - written.keys():  # of an earlier merge: durations where runs were merged
        (folder / name).unlink()
    _write_sums(folder, results, written, tag)
    return report


def describe(
    job: Job, corpus: Corpus, results: Mapping[int, ShardResult], outputs: Sequence[Output], files: Mapping[str, str]
) -> dict[str, Any]:
    """The sidecar: how the files came about. The same for every run of the job."""
    whole = total(results)
    return {
        "format": f"speechssl-{job.kind}-1",
        "tool": f"speechssl {job.version}",
        "model": dataclasses.asdict(job.model),
        "rate_hz": job.model.rate_hz,
        "precision": job.precision,
        "kernel": job.kernel,
        "device": job.device,
        "long_audio": dataclasses.asdict(job.long_audio),
        "input": {"source": corpus.source, "kind": corpus.kind, **dataclasses.asdict(job.manifest)},
        "outputs": [dataclasses.asdict(output) for output in outputs],
        "store": job.store,
        "shards": job.num_shards,
        "ok": whole.ok,
        "failures": whole.failures,
        "units" if job.model.reduced else "frames": whole.frames,
        "seconds": round(whole.seconds, 3),
        "files": dict(sorted(files.items())),
    }


def corpus_root(corpus: Corpus) -> str:
    """The deepest folder above all recordings."""
    import os

    files = (row.audio for row in corpus.utterances if not (row.pipe or is_address(row.audio)))
    paths = (os.path.dirname(os.path.abspath(file)) for file in files)  # noqa: PTH100, PTH120
    root = next(paths, "/")
    for path in paths:
        if not (path == root or path.startswith(root.rstrip("/") + "/")):
            root = os.path.commonpath([root, path])
    return root


def checked_rows(folder: Path, job: Job, result: ShardResult) -> list[dict[str, Any]]:
    """The rows of a done shard, after its files were compared with the journal."""
    shards = folder / "shards"
    for name, expected in result.files.items():
        if atomic.sha256(shards / name) != expected:
            for other in result.files:
                (shards / other).unlink(missing_ok=True)
            raise DataError(f"{shards / name}: changed since it was written; removed. The same command makes it again")
    return read_rows(shards, job.stem(result.shard))


def _items(
    folder: Path, job: Job, results: Mapping[int, ShardResult], corpus: Corpus, merged: bool, check: Callable[[], None]
) -> Iterator[Item]:
    reader = store(job.store)
    for shard in range(job.num_shards):
        check()
        rows = checked_rows(folder, job, results[shard])
        start = shard * job.shard_size
        by_row = zip(rows, corpus.utterances[start : start + len(rows)], strict=True)
        good = [(row, utterance) for row, utterance in by_row if "code" not in row]
        frames = reader.read(folder / "shards", job.stem(shard), rows, job)
        for (row, utterance), (name, ids) in zip(good, frames, strict=True):
            units = Units.from_frames(ids, rate_hz=job.model.rate_hz, size=job.model.num_units or 0)
            whole = utterance.start_s is None and utterance.end_s is None and not utterance.pipe
            whole = whole and is_file(utterance.audio)
            yield Item(name, units.dedup() if merged else units, utterance.audio, row["samples"], whole)


def _commit_failures(folder: Path, job: Job, results: Mapping[int, ShardResult], tag: str) -> dict[str, str]:
    with atomic.scratch(folder, tag) as scratch:
        with (scratch / "failures.tsv").open("w", encoding="utf-8", newline="\n") as file:
            file.write("id\tcode\terror\n")
            for shard in range(job.num_shards):
                if results[shard].failures:
                    for row in checked_rows(folder, job, results[shard]):
                        if "code" in row:
                            file.write("\t".join(_cell(row[key]) for key in ("id", "code", "error")) + "\n")
        return atomic.commit(scratch, folder)


def _commit_index(folder: Path, job: Job, results: Mapping[int, ShardResult], tag: str) -> dict[str, str]:
    """Kaldi's feats.scp, where features are in archives."""
    if job.store != "ark":
        return {}
    with atomic.scratch(folder, tag) as scratch:
        with (scratch / "feats.scp").open("w", encoding="utf-8", newline="\n") as file:
            for shard in range(job.num_shards):
                path = folder.resolve() / "shards" / f"{job.stem(shard)}.ark"
                rows = checked_rows(folder, job, results[shard])
                file.writelines(f"{row['id']} {path}:{row['offset']}\n" for row in rows if "code" not in row)
        return atomic.commit(scratch, folder)


def _write_sums(folder: Path, results: Mapping[int, ShardResult], written: Mapping[str, str], tag: str) -> None:
    """Every file of the folder, in the format of `sha256sum --check`."""
    sums = dict(written)
    for path in (folder / "job.json", *folder.glob("journal*.jsonl")):
        sums[path.name] = atomic.sha256(path)
    for result in results.values():
        sums |= {f"shards/{name}": value for name, value in result.files.items()}
    text = "".join(f"{value}  {name}\n" for name, value in sorted(sums.items()))
    atomic.write_text(folder / SUMS, text, tag)


def _cell(text: str) -> str:
    """Text without the characters that end a cell or a line."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")

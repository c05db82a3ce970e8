"""Memory and time of a large manifest: open it, sum it up, walk all shards, merge. No audio and no model take part.

    python tools/bench/manifest.py --rows 100000 10000000 --kinds tsv jsonl scp

Every case runs in a process of its own. A stand-in for the encoder writes four units per utterance, in the shard files
of a real run; opening, planning, the journal and the merge are those of `speechssl units`. Printed: the process's peak
memory after each step, and its CPU seconds per million rows. Needs some 250 bytes of disk per row in --folder.
"""

import argparse
import json
import pickle
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

KINDS = ("tsv", "jsonl", "scp", "kaldi")


def make(path: Path, kind: str, rows: int) -> Path:
    """A manifest of `rows` recordings that need not be there; kaldi: a data directory with text and utt2spk."""
    names = (f"spk{row // 500:06}/utt{row:09}" for row in range(rows))
    if kind == "kaldi":
        path.mkdir()
        with (
            (path / "wav.scp").open("w") as scp,
            (path / "text").open("w") as text,
            (path / "utt2spk").open("w") as spk,
        ):
            for name in names:
                key = name.replace("/", "-")
                scp.write(f"{key} /data/corpus/audio/{name}.flac\n")
                text.write(f"{key} some words that were said\n")
                spk.write(f"{key} {key[:9]}\n")
        return path
    with path.open("w") as file:
        if kind == "tsv":
            file.write("/data/corpus/audio\n")
            file.writelines(f"{name}.flac\t{80_000 + len(name)}\n" for name in names)
        elif kind == "jsonl":
            file.writelines(
                json.dumps({"id": name, "audio": f"/data/corpus/audio/{name}.flac", "speaker": name[:9]}) + "\n"
                for name in names
            )
        else:
            file.writelines(f"{name} /data/corpus/audio/{name}.flac\n" for name in names)
    return path


def measure(path: Path, out: Path) -> None:
    """All steps on one manifest, in this process; a line of JSON each."""
    import numpy as np

    from speechssl.data.corpus import open_corpus
    from speechssl.extract import atomic, journal, plan
    from speechssl.extract.job import Job, ModelSpec
    from speechssl.extract.journal import ShardResult
    from speechssl.extract.merge import Output, merge
    from speechssl.extract.report import make as make_report
    from speechssl.extract.stores import store
    from speechssl.units.formats import unit_format

    began = time.process_time()

    def step(name: str, rows: int) -> None:
        nonlocal began
        now, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"step": name, "rows": rows, "cpu_s": now - began, "peak_mb": peak}), flush=True)
        began = now

    def fake_shard(task: plan.Task) -> ShardResult:
        stem, records = job.stem(task.shard), []
        writer = store(job.store).Writer(shards, stem, job)
        for row in task.rows:
            records.append({"id": row.id, "frames": 4, "samples": 1520, **writer.add(row.id, np.arange(4))})
        writer.close()
        with (shards / f"{stem}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        names = [f"{stem}.jsonl", f"{stem}.npy"]
        hashes = {name: atomic.sha256(shards / name) for name in names}
        count = len(records)
        return ShardResult(task.shard, hashes, count, count, 4 * count, count * 0.095)

    step("start", 0)
    corpus = open_corpus(path)
    count = len(corpus)
    step("open", count)
    manifest = plan.check_manifest(corpus.utterances, [unit_format("text").refuse])
    step("plan", count)
    size = plan.shard_size(count)
    identity = ModelSpec(unit_model="default").identify("units")
    job = Job("units", "units", identity, manifest, size, -(-count // size))
    shards = out / "shards"
    shards.mkdir(parents=True)
    sent = sum(len(pickle.dumps(task)) for task in plan.tasks(corpus.utterances, size, lambda shard: True))
    step(f"walk ({job.num_shards} shards, {sent / 1e6:.0f} MB to workers)", count)
    with (out / "journal.jsonl").open("w", encoding="utf-8") as file:
        import dataclasses

        for task in plan.tasks(corpus.utterances, size, lambda shard: True):
            file.write(json.dumps(dataclasses.asdict(fake_shard(task))) + "\n")
    atomic.write_text(out / "job.json", json.dumps(dataclasses.asdict(job)), "bench")
    step("write shards", count)
    done = journal.read(out)
    assert len(done) == job.num_shards
    step("journal", count)
    report = make_report(str(out), job, journal.total(done), corpus.problems)
    merge(out, job, done, corpus, [Output("text", False)], report, "bench")
    with (out / "units").open("rb") as units:
        assert sum(1 for _ in units) == count
    step("merge", count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS[:3]))
    parser.add_argument("--folder", type=Path, default=Path("bench-manifest"), help="for what is made; removed again")
    parser.add_argument("--one", nargs=2, metavar=("MANIFEST", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(Path(args.one[0]), Path(args.one[1]))
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    print(f"{'manifest':<9}{'rows':>11}  {'step':<44}{'CPU s / 10^6 rows':>18}{'peak RSS MB':>13}")
    for kind in args.kinds:
        for rows in args.rows:
            path, out = args.folder / (kind if kind == "kaldi" else f"m.{kind}"), args.folder / "out"
            make(path, kind, rows)
            command = [sys.executable, __file__, "--one", str(path), str(out)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                total = 0.0
                for line in process.stdout:
                    row = json.loads(line)
                    total += row["cpu_s"]
                    each = f"{row['cpu_s'] / row['rows'] * 1e6:.2f}" if row["rows"] else ""
                    print(f"{kind:<9}{rows:>11}  {row['step']:<44}{each:>18}{row['peak_mb']:>13.0f}", flush=True)
            if process.returncode:
                sys.exit(process.returncode)
            print(f"{kind:<9}{rows:>11}  {'all':<44}{total / rows * 1e6:>18.2f}")
            shutil.rmtree(out)
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()

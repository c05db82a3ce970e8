"""`run`: a corpus to an output folder. Starts, resumes, and finishes; the same call every time.

OUT/units, units.jsonl, ...   units in the asked formats       (features: shards/ is the output; feats.scp for ark)
OUT/units.json                the sidecar: model, hashes, settings, counts   (features.json)
OUT/failures.tsv              id, reason code and message of every utterance that was skipped
OUT/report.json               counts and speed of the run that finished
OUT/sha256sums                of all files; written last; `speechssl verify` and `sha256sum --check` read it
OUT/job.json, journal*.jsonl  what is computed, which shards are done
OUT/shards/                   frames as computed, with one row file per shard
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speechssl import __version__, config, files
from speechssl.data.corpus import Corpus
from speechssl.errors import ConfigError, DataError
from speechssl.extract import atomic, engines, journal, lock, plan
from speechssl.extract import folder as places
from speechssl.extract import job as jobs
from speechssl.extract.engines import Engine, InProcess, LocalPool, Stopped, default_workers
from speechssl.extract.job import Job, Kernel, LongAudio, ModelIdentity, ModelSpec, Precision
from speechssl.extract.journal import ShardResult
from speechssl.extract.merge import SUMS, Output, merge
from speechssl.extract.progress import Progress
from speechssl.extract.report import Report, make
from speechssl.extract.stores import store
from speechssl.units.formats import unit_format


@dataclass(frozen=True)
class Options:
    """How to run; nothing here changes the bytes of the result."""

    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None  # of a running cluster: host:port, or auto; None: Ray on this machine, for this run
    workers: int | None = None  # processes; None: one per core that we may use, one for a GPU; 0: in this process
    part: tuple[int, int] = (0, 1)  # (i, n): only shards with number % n == i
    threads: int = 1  # of torch in each worker
    time_limit_s: float = 300.0  # without any progress on an utterance
    memory_limit_gb: float | None = None  # of each worker; None: its share of 90 % of the machine's; 0: none
    allow_pipes: bool = False
    allow_remote: bool = False
    overwrite: bool = False  # throw away what another job left in the folder
    merge_only: bool = False
    quiet: bool = False  # no progress line


def run_units(
    corpus: Corpus,
    folder: str | Path,
    spec: ModelSpec,
    *,
    outputs: Sequence[Output] = (Output("text", False),),
    precision: Precision = "fp32",
    device: Literal["cpu", "cuda"] = "cpu",
    long_audio: LongAudio | None = None,
    shard_size: int | None = None,
    kernel: Kernel | None = None,
    options: Options | None = None,
) -> Report:
    """Units of every utterance in `folder`. Raises DataError, ConfigError, CheckpointError, OSError (full disk).

    kernel: None takes the faster one that there is here; say "plain" where some machines of a cluster have no other.
    Units of a normaliser are merged as they come and have no durations, so that merged outputs are refused.
    """
    formats = [unit_format(output.format) for output in outputs]
    if not outputs or len({output.format for output in outputs}) != len(outputs):
        raise ConfigError("name each output format once")
    identity = spec.identify("units")
    if identity.reduced and kernel == "fast":
        raise ConfigError("--kernel fast has no form for unit normalisers: leave it out")
    outputs = _as_they_come(identity, outputs)
    manifest = plan.check_manifest(corpus.utterances, [chosen.refuse for chosen in formats])
    size = shard_size or plan.planned_size(Path(folder), manifest)
    job = Job("units", "units", identity, manifest, size, -(-manifest.utterances // size), precision, device,
              long_audio or LongAudio(), kernel=kernel or jobs.choose_kernel(identity, precision, device))  # fmt: skip
    return _Run(corpus, Path(folder), job, spec, outputs, options or Options()).run()


def run_features(
    corpus: Corpus,
    folder: str | Path,
    spec: ModelSpec,
    *,
    format: str = "npy",
    precision: Precision = "fp32",
    device: Literal["cpu", "cuda"] = "cpu",
    long_audio: LongAudio | None = None,
    shard_size: int | None = None,
    kernel: Kernel | None = None,
    options: Options | None = None,
) -> Report:
    """Features of every utterance in `folder`/shards. Raises as `run_units`."""
    if format == "units":
        raise ConfigError("features cannot be stored as units: use speechssl units")
    if (format == "codes") != (spec.codec is not None):
        raise ConfigError("codes are a codec's: use speechssl codec encode")
    identity = spec.identify("features")
    manifest = plan.check_manifest(corpus.utterances, [store(format).refuse])
    size = shard_size or plan.planned_size(Path(folder), manifest)
    job = Job("features", format, identity, manifest, size, -(-manifest.utterances // size), precision, device,
              long_audio or LongAudio(), kernel=kernel or jobs.choose_kernel(identity, precision, device))  # fmt: skip
    return _Run(corpus, Path(folder), job, spec, (), options or Options()).run()


def run_merge(
    corpus: Corpus,
    parts: Sequence[str | Path],
    folder: str | Path,
    *,
    outputs: Sequence[Output] = (Output("text", False),),
    options: Options | None = None,
) -> Report:
    """Shards of one job from the folders `parts` into `folder`, then the final files. Raises DataError, ConfigError.

    corpus: what the parts were computed from. outputs: of units; those of features are as computed.
    """
    from speechssl.extract.collect import Collector, open_parts

    others = [Path(part) for part in parts if Path(part).resolve() != Path(folder).resolve()]
    job, shards = open_parts([Path(part) for part in parts])
    if job.version != __version__:
        raise DataError(f"{parts[0]} was written by speechssl {job.version}, this is {__version__}")
    formats = [unit_format(output.format) for output in outputs] if job.kind == "units" else []
    manifest = plan.check_manifest(corpus.utterances, [chosen.refuse for chosen in formats])
    if manifest != job.manifest:
        raise DataError(f"{corpus.source} ({manifest.utterances} utterances) is not the input of {parts[0]} "
                        f"({job.manifest.utterances}): ids, paths or their order differ")  # fmt: skip
    shards = {shard: there for shard, at in shards.items() if (there := [one for one in at if one[0] in others])}
    chosen_outputs = _as_they_come(job.model, outputs) if job.kind == "units" else ()
    options = dataclasses.replace(options or Options(), part=(0, 1), merge_only=True)
    return _Run(corpus, Path(folder), job, ModelSpec(), chosen_outputs, options, Collector(shards)).run()


def _as_they_come(model: ModelIdentity, outputs: Sequence[Output]) -> tuple[Output, ...]:
    """Those of a normaliser are stated as merged, for whoever wants a unit per frame; nobody has their durations."""
    if not model.reduced:
        return tuple(outputs)
    if any(output.merged for output in outputs):
        raise ConfigError("units of a normaliser are merged already, and how long each lasts is not known: leave "
                          "--dedup out")  # fmt: skip
    return tuple(dataclasses.replace(output, merged=True) for output in outputs)


@dataclass
class _Run:
    """One call of `run_units`, `run_features` or `run_merge`."""

    corpus: Corpus
    folder: Path
    job: Job
    spec: ModelSpec
    outputs: tuple[Output, ...]
    options: Options
    engine: Engine | None = None  # None: as the options say
    stop: bool = False

    def run(self) -> Report:
        index, count = self.options.part
        if not 0 <= index < count:
            raise ConfigError(f"shard {index}/{count}: expected i/n with i in 0..n-1")
        if self.job.device == "cuda" and self.job.precision == "int8":
            raise ConfigError("precision int8 is made for the CPU; on a GPU choose fp32 or bf16")
        if self.options.overwrite and count > 1:
            raise ConfigError(
                "--overwrite with --shard would remove what the other parts wrote; remove the folder first"
            )
        self.began = time.monotonic()
        self.tag = f"{index}of{count}"
        self.journal = self.folder / ("journal.jsonl" if count == 1 else f"journal.{self.tag}.jsonl")
        places.check(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock.writing(self.folder, self.options.part), places.stopping_on_signals(self._ask_to_stop):
            if self.options.overwrite:
                places.clear(self.folder)
            self._clean()
            untouched = count == 1 and not any(self.folder.glob("journal*.jsonl"))
            with lock.claiming(self.folder):
                jobs.claim(self.folder, self.job, self.tag, untouched=untouched)
            finished = self._finished()
            if finished is None:
                return self._work()
            with lock.merging(self.folder) as ours:
                if ours:
                    atomic.clean(self.folder, "merge")
            return dataclasses.replace(finished, nothing_to_do=True)

    def _finished(self) -> Report | None:
        """The stored report, where the final files are there, in all formats that were asked for."""
        sidecar = self.folder / f"{self.job.kind}.json"
        if not (self.folder / SUMS).exists():
            return None
        try:
            stored = files.read_json(sidecar)
            there = {Output(**output) for output in stored["outputs"]}
            old = config.build(Report, files.read_json(self.folder / "report.json"))
            complete = old.kind == self.job.kind and all((self.folder / name).exists() for name in old.files)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if not complete or not set(self.outputs) <= there:
            return None
        return dataclasses.replace(old, output=str(self.folder))

    def _work(self) -> Report:
        (self.folder / "shards").mkdir(exist_ok=True)
        done = journal.read(self.folder)
        index, count = self.options.part
        mine = [s for s in range(index, self.job.num_shards, count) if s not in done]
        before = sum(result.rows for result in done.values())
        total = before + sum(self._rows(shard) for shard in mine)
        self.progress = Progress(total, before, self.options.quiet)
        workers = 0
        if mine and (self.engine or not self.options.merge_only):
            workers = self._run_shards(set(mine))
        done = journal.read(self.folder)
        report = self._report(done, workers)
        if self.stop:
            return dataclasses.replace(report, interrupted=True)
        if len(done) < self.job.num_shards:
            if self.options.merge_only:
                missing = [shard for shard in range(self.job.num_shards) if shard not in done]
                raise DataError(
                    f"{self.folder}: {len(missing)} of {self.job.num_shards} shards are missing: {missing[:9]}"
                )
            return report
        with lock.merging(self.folder) as ours:
            if not ours:  # another part finished at the same moment and merges
                return report
            if (merged := self._finished()) is not None:  # another part was faster
                return dataclasses.replace(report, finished=True, files=merged.files)
            atomic.clean(self.folder, "merge")
            try:
                return merge(
                    self.folder, self.job, done, self.corpus, self._all_outputs(), report, "merge", self._check
                )
            except Stopped:
                return dataclasses.replace(report, interrupted=True)

    def _rows(self, shard: int) -> int:
        start = shard * self.job.shard_size
        return min(self.job.shard_size, self.job.manifest.utterances - start)

    def _all_outputs(self) -> tuple[Output, ...]:
        """The asked formats, and those that an earlier run of this job wrote."""
        try:
            stored = files.read_json(self.folder / f"{self.job.kind}.json")
            earlier = [Output(**output) for output in stored["outputs"]]
        except (OSError, ValueError, TypeError, KeyError):
            earlier = []
        asked = {output.format for output in self.outputs}
        both = [*self.outputs, *(output for output in earlier if output.format not in asked)]
        return tuple(sorted(both, key=lambda output: output.format))

    def _run_shards(self, wanted: set[int]) -> int:
        """Run shards, journalling each; returns the number of workers."""
        from speechssl.extract.worker import Settings  # imports torch
        from speechssl.nn.fast.operators import slow_precision

        if slow := slow_precision(self.job.device, self.job.precision):
            self.progress.say(slow)
        engine = self.engine or _choose(self.options, self.job.device, len(wanted))
        shards = (self.folder / "shards").resolve()
        spec = dataclasses.replace(self.spec, offline=True) if self.spec.unit_model is None else self.spec
        allowed = {"allow_pipes": self.options.allow_pipes, "allow_remote": self.options.allow_remote}
        settings = Settings(self.job, spec, shards, self.tag, self.options.threads, **allowed)
        tasks = plan.tasks(self.corpus.utterances, self.job.shard_size, wanted.__contains__)
        engine.run(tasks, settings, self._done, self.progress.show, lambda: self.stop)
        self.progress.end()
        self._clean()  # after workers that died
        return engine.workers

    def _check(self) -> None:
        if self.stop:
            raise Stopped

    def _done(self, result: ShardResult) -> None:
        journal.append(self.journal, result)
        self.progress.add(result.rows, result.seconds)

    def _report(self, done: dict[int, ShardResult], workers: int) -> Report:
        wall_s = time.monotonic() - self.began
        hours = self.progress.seconds / 3600
        report = make(str(self.folder), self.job, journal.total(done), self.corpus.problems)
        return dataclasses.replace(
            report,
            wall_s=round(wall_s, 3),
            run_hours=hours,
            run_utterances=self.progress.rows,
            workers=workers,
            speed=hours * 3600 / wall_s,
        )

    def _clean(self) -> None:
        """Remove what killed processes of this part left; we hold its lock and none of ours is alive."""
        for place in (self.folder, self.folder / "shards"):
            atomic.clean(place, self.tag)

    def _ask_to_stop(self) -> None:
        self.stop = True


def _choose(options: Options, device: str, shards: int) -> Engine:
    """The engine of the options. ConfigError where Ray is asked for and missing."""
    if options.engine == "ray":
        engines.need_ray()
        from speechssl.extract.ray_engine import RayActors

        limits = options.time_limit_s, options.memory_limit_gb
        return RayActors(options.workers, shards, *limits, options.ray_address)
    workers = min(shards, default_workers(device) if options.workers is None else options.workers)
    return LocalPool(workers, options.time_limit_s, options.memory_limit_gb) if workers else InProcess()

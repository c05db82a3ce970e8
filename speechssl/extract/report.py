"""What came of a run: for people as text, for programs as report.json."""

import dataclasses
import json
from dataclasses import dataclass

from speechssl.extract.job import Job
from speechssl.extract.journal import ShardResult
from speechssl.extract.progress import clock


@dataclass(frozen=True)
class Report:
    """The whole job's counts, and this run's speed. `ok + sum(failures) == rows` of the shards that are done."""

    output: str
    kind: str
    finished: bool  # the final files are there
    shards_done: int
    num_shards: int
    utterances: int  # in the manifest
    ok: int
    failed: int
    failures: dict[str, int]  # reason code: utterances
    hours: float  # of audio in utterances that are ok
    frames: int  # of a normaliser: units, after merging
    notes: dict[str, int]  # what was done to recordings: utterances
    problems: tuple[str, ...]  # what the corpus reader passed over
    files: tuple[str, ...] = ()  # final files, in the output folder
    interrupted: bool = False
    nothing_to_do: bool = False  # everything was there already
    wall_s: float = 0.0  # of this run
    run_hours: float = 0.0  # of audio done by this run
    run_utterances: int = 0
    workers: int = 0
    speed: float = 0.0  # hours of audio per hour of wall time, this run
    reduced: bool = False  # by a unit normaliser

    @property
    def exit_code(self) -> int:
        """0 all done; 1 done but some utterances failed; 2 stopped early, or nothing was usable."""
        if self.interrupted or (self.failed and not self.ok):
            return 2
        return 1 if self.failed else 0

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """A few lines for people."""
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        what = {"units": "units", "features": "features"}[self.kind]
        lines = [f"{self.output}: {what} of {self.ok} utterances, {self.hours:.2f} h of audio, {self.frames} "
                 + ("units without durations" if self.reduced else "frames")]  # fmt: skip
        if self.nothing_to_do:
            lines.append("everything was done already: nothing was computed")
        else:
            lines.append(
                f"this run: {self.run_utterances} utterances, {self.run_hours:.2f} h of audio in {clock(self.wall_s)} "
                f"{f'with {self.workers} workers' if self.workers else 'in one process'}: {self.speed:.0f} x real time"
            )
        if self.failed:
            reasons = ", ".join(f"{code} {count}" for code, count in self.failures.items())
            lines.append(f"skipped: {self.failed} utterances ({reasons}); each with its reason in failures.tsv")
        lines += [f"note: {note}: {count} utterances" for note, count in self.notes.items()]
        lines += [f"note: {problem}" for problem in self.problems]
        if self.finished:
            lines.append(f"files: {' '.join(self.files)}")
        else:
            state = "stopped early; the same command goes on from here" if self.interrupted else "not finished"
            lines.append(f"{self.shards_done} of {self.num_shards} shards are done: {state}")
        return lines


def make(output: str, job: Job, total: ShardResult, problems: tuple[str, ...]) -> Report:
    """The report of a job from the sum of its results, before anything is said of this run."""
    return Report(
        output=output,
        kind=job.kind,
        finished=False,
        shards_done=total.shard,
        num_shards=job.num_shards,
        utterances=job.manifest.utterances,
        ok=total.ok,
        failed=total.rows - total.ok,
        failures=total.failures,
        hours=total.seconds / 3600,
        frames=total.frames,
        notes=total.notes,
        problems=problems,
        reduced=job.model.reduced,
    )

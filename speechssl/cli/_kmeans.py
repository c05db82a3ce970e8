"""What the verb kmeans needs besides: a process's part of the work, and the file that keeps full passes."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from torch import Tensor

    from speechssl.data.utterance import Utterance
    from speechssl.quantizers.kmeans_fit import Features


@dataclass(frozen=True)
class Part(Sequence["Utterance"]):
    """A process's share of a corpus, as many utterances as any other's: a stretch, since these are fast to read."""

    whole: "Sequence[Utterance]"
    rank: int
    size: int

    def __len__(self) -> int:
        return self._range().stop - self._range().start

    def __iter__(self) -> Iterator["Utterance"]:
        stretch = self._range()
        for start in range(stretch.start, stretch.stop, 256):
            yield from self.whole[start : min(start + 256, stretch.stop)]

    @overload
    def __getitem__(self, index: int) -> "Utterance": ...
    @overload
    def __getitem__(self, index: slice) -> "list[Utterance]": ...
    def __getitem__(self, index: int | slice) -> "Utterance | list[Utterance]":
        numbers = self._range()[index]
        return self.whole[numbers] if isinstance(numbers, int) else [self.whole[number] for number in numbers]

    def _range(self) -> range:
        count = len(self.whole)
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)


def part_of(features: "Features", rank: int, size: int) -> "Features":
    """Every size-th utterance."""
    return lambda: islice(features(), rank, None, size)


class ProgressFile:
    """Full passes of k-means, beside the model that is to be: a restart goes on after the last one that was finished.

    `settings`: everything that decides the result. What was saved under others is not used.
    """

    def __init__(self, model: Path, settings: Mapping[str, Any]) -> None:
        self._path = model.parent / f".{model.name}.fit-in-progress"
        text = json.dumps(settings, sort_keys=True, default=str)
        self._fingerprint = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def load(self) -> "dict[str, Tensor] | None":
        """The tensors saved last; None where there are none, or of another fit, or damaged ones."""
        from safetensors import SafetensorError, safe_open

        if not self._path.is_file():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                if (file.metadata() or {}).get("format") == self._fingerprint:
                    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            print(f"speechssl kmeans: {self._path} is damaged and not used: {error}", file=sys.stderr)
        return None

    def save(self, tensors: "Mapping[str, Tensor]") -> None:
        """Atomically, in place of the last ones."""
        from speechssl.encoders.pretrained import write_tensors
        from speechssl.extract import atomic

        with atomic.scratch(self._path.parent, self._path.name) as folder:
            write_tensors(folder / self._path.name, tensors, format=self._fingerprint)
            atomic.commit(folder, self._path.parent)

    def remove(self) -> None:
        """Once the model is there."""
        from speechssl.extract import atomic

        self._path.unlink(missing_ok=True)
        atomic.clean_abandoned(self._path.parent, self._path.name)


def identity_of(path: str | Path) -> list[tuple[str, int, int]]:
    """Name, size and time of every file of stored features: changed ones are another corpus."""
    path = Path(path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path, path.with_suffix(".len")]
    facts = [(file, file.stat()) for file in files if file.is_file()]
    return [(os.path.relpath(file, path), stat.st_size, stat.st_mtime_ns) for file, stat in facts]


def text(report: dict[str, Any]) -> str:
    """The report for a terminal."""
    lines = [f"{report['output']}: unit model of {report['num_units']} units, {report['dim']} channels"]
    if "usage" in report:
        usage, total = report["usage"], sum(report["usage"])
        run = report["runs"][report["best_run"]]
        ended = "converged" if run["converged"] else "stopped at the limit"
        lines += [
            f"  inertia {report['inertia']:.6g} per frame after {len(run['inertia']) - 1} iterations ({ended})",
            f"  usage: perplexity {report['perplexity']:.1f} of {report['num_units']}, {report['empty_units']} empty, "
            f"largest {100 * max(usage) / total:.2f} %, smallest {100 * min(usage) / total:.2f} % of frames",
            f"  {report['frames_seen']} frames seen, {report['frames_sampled']} sampled; "
            f"{sum(run['refilled'] for run in report['runs'])} empty units refilled; "
            f"at most {report['ram_bytes'] / 2**20:.0f} MiB beside the encoder; {report['seconds']:.1f} s",
        ]
    if "codebooks" in report:
        sizes = " x ".join(str(book["num_units"]) for book in report["codebooks"])
        lines += [
            f"  {report['kind']} of {sizes}: inertia {report['inertia']:.6g} per frame"
            + (
                f" (by codebook: {', '.join(f'{value:.6g}' for value in report['inertias'])})"
                if report["inertias"]
                else ""
            ),
            f"  usage: perplexity {report['perplexity']:.1f} of {report['num_units']}; "
            f"{report['frames_seen']} frames seen, {report['frames_sampled']} sampled; {report['seconds']:.1f} s",
        ]
    if "levels" in report:
        sizes = " x ".join(map(str, report["levels"]))
        evenly = ", ".join(f"{value:.1f}" for value in report["level_perplexities"])
        lines += [
            f"  fsq of {sizes}: inertia {report['inertia']:.6g} per frame, {100 * report['explained']:.1f} % of the "
            f"variance is quantized",
            f"  usage: perplexity {report['perplexity']:.1f} of {report['num_units']}, of levels {evenly}; "
            f"{report['frames_seen']} frames seen, {report['frames_sampled']} sampled; {report['seconds']:.1f} s",
        ]
    if report.get("skipped"):
        lines.append(f"  {len(report['skipped'])} utterances skipped; reasons in {report['output']}/kmeans.json")
    return "\n".join([*lines, *(f"  {problem}" for problem in report.get("problems", ()))])

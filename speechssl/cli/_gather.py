"""From an output folder of units to a page: units from its shards, sound from the corpus it was made of."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from speechssl import files
from speechssl.data.corpus import Corpus, open_corpus, read_utterance
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, CheckpointError, ConfigError, DataError
from speechssl.extract import job as jobs
from speechssl.extract import journal
from speechssl.extract.job import Job
from speechssl.extract.merge import SUMS, checked_rows
from speechssl.extract.stores import store
from speechssl.metrics.alignments import Alignments
from speechssl.report.page import MAX_UTTERANCE_S, Failure, Page, Statistics
from speechssl.report.utterance import Recording
from speechssl.units.card import find, read_card
from speechssl.units.units import Units

if TYPE_CHECKING:
    from speechssl.metrics.alignments import Segment
    from speechssl.units.vocoder import Vocoder

_MOST_FAILURES = 200  # rows on the page


@dataclass(frozen=True)
class Texts:
    """What the page is called and what is said of the recordings."""

    title: str
    subtitle: str = ""
    banner: str = ""
    source: Sequence[str] = ()


def is_output(folder: Path) -> bool:
    """Whether `folder` was written by `speechssl units` (or `features`)."""
    return (folder / "job.json").is_file()


def from_output(
    folder: Path,
    texts: Texts,
    *,
    corpus: Corpus | None = None,
    model: str | None = None,
    num: int = 12,
    only: Sequence[str] = (),
    by_hash: bool = False,
    alignments: Alignments | None = None,
    shift_s: float = 0.0,
    speakers: Mapping[str, str] | None = None,
    allow_pipes: bool = False,
    vocoder: "Vocoder | None" = None,
    seen: Callable[[str, Units], None] = lambda key, units: None,
) -> Page:
    """The page of a finished output folder.

    corpus: where the recordings are; by default what the sidecar names. model: the unit model, for its card and its
    codebook; by default the built-in one if it made these units. num: utterances to draw, the first; by_hash: those
    whose ids have the lowest hashes; or `only` those. shift_s moves every label. speakers: by utterance, where the
    corpus does not say. vocoder: speaks the units that are drawn. seen: called with every utterance's units. Raises
    DataError, ConfigError, CheckpointError.
    """
    job = jobs.load(folder)
    if job.kind != "units":
        raise DataError(f"{folder}: holds features, not units")
    if job.model.reduced:
        raise DataError(f"{folder}: units of a normaliser, which belong to no frames that could be drawn")
    if not (folder / SUMS).exists():
        raise DataError(f"{folder}: not finished; give the command that made it once more")
    sidecar, report = _read_object(folder / "units.json"), _read_object(folder / "report.json")
    results = journal.read(folder)
    if missing_shards := [shard for shard in range(min(job.num_shards, len(results) + 1)) if shard not in results]:
        raise DataError(f"{folder}: shard {missing_shards[0]} is missing; the command that made it makes it again")
    source = list(texts.source)
    if corpus is None:
        corpus = _reopen(sidecar, source)
    statistics = Statistics(job.model.num_units or 0, job.model.rate_hz)
    failures: list[Failure] = []
    chosen: dict[str, tuple[Units, dict[str, Any]]] = {}
    for shard in range(job.num_shards):
        rows = checked_rows(folder, job, results[shard])
        failures += [Failure(row["id"], row["code"], row["error"]) for row in rows if "code" in row]
        for key, units, row in _units(folder, job, shard, rows):
            statistics.add(units)
            seen(key, units)
            if key in only if only else by_hash or len(chosen) < num:
                chosen[key] = (units, row)
            if by_hash and not only and len(chosen) > num:
                del chosen[max(chosen, key=hashed)]
    missing = [key for key in only if key not in chosen]
    if missing:
        raise DataError(f"{folder}: no units of utterance {missing[0]!r}")
    utterances = {} if corpus is None else {u.id: u for u in corpus.utterances if u.id in chosen}
    order = sorted(chosen, key=hashed) if by_hash and not only else list(chosen)
    recordings = [
        _recording(key, *chosen[key], utterances.get(key), job.model.sample_rate, _labels(alignments, key, shift_s),
                   (speakers or {}).get(key, ""), allow_pipes)
        for key in order
    ]  # fmt: skip
    if vocoder is not None:
        vocoder.check(job.model.unit_model or "")
        recordings = [_spoken(recording, vocoder) for recording in recordings]
    card, codebook = _model(model, job)
    if len(failures) > _MOST_FAILURES:
        source.append(f"{len(failures) - _MOST_FAILURES} more inputs were skipped; failures.tsv has all of them.")
    problems, speed, reasons = report.get("problems"), report.get("speed"), report.get("failures")
    if not isinstance(problems, list) or not isinstance(speed, int | float) or not 0 <= speed < math.inf:
        raise DataError(f"{folder / 'report.json'}: damaged")
    if not isinstance(reasons, dict) or not all(isinstance(count, int) for count in reasons.values()):
        raise DataError(f"{folder / 'report.json'}: damaged")
    source += [f"Passed over: {problem}" for problem in problems[:10]]
    name = job.model.name or job.model.encoder.id
    kinds = f"{job.model.num_units} kinds of units at {job.model.rate_hz:g} per second, from {name}"
    return Page(
        texts.title,
        f"{texts.subtitle}. {kinds}." if texts.subtitle else f"{kinds}.",
        statistics,
        recordings,
        failures[:_MOST_FAILURES],
        reasons,
        texts.banner,
        1 / speed if speed else None,
        codebook,
        card,
        {key: value for key, value in sidecar.items() if key not in ("files", *(("model",) if card else ()))},
        source,
    )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = files.read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: damaged: no JSON object")
    return value


def _reopen(sidecar: Mapping[str, Any], notes: list[str]) -> Corpus | None:
    given = sidecar.get("input")
    source, kind = (given.get("source"), given.get("kind")) if isinstance(given, dict) else (None, None)
    if not isinstance(source, str) or not isinstance(kind, str) or source == "-":  # never wait for standard input
        notes.append("The sidecar does not say where the recordings are; --input says it.")
        return None
    try:
        return open_corpus(source, kind="auto" if kind == "files" else kind)
    except (DataError, OSError) as error:
        notes.append(f"The recordings are not where they were ({error}); --input says where they are now.")
        return None


def _units(
    folder: Path, job: Job, shard: int, rows: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, Units, dict[str, Any]]]:
    good = [row for row in rows if "code" not in row]
    frames = store(job.store).read(folder / "shards", job.stem(shard), rows, job)
    for row, (key, ids) in zip(good, frames, strict=True):
        yield key, Units.from_frames(ids, rate_hz=job.model.rate_hz, size=job.model.num_units or 0), row


def _recording(
    key: str,
    units: Units,
    row: Mapping[str, Any],
    utterance: Utterance | None,
    sample_rate: int,
    labels: "Sequence[Segment]",
    speaker: str,
    allow_pipes: bool,
) -> Recording:
    notes = list(row.get("notes", ()))
    samples = None
    if utterance is not None:
        try:
            samples = _samples(utterance, row["samples"] / sample_rate, sample_rate, allow_pipes)
        except AudioError as error:
            notes.append(f"{error.code}: {error}")
    speaker = speaker or (utterance and utterance.speaker) or ""
    return Recording(key, units, samples, sample_rate, (utterance and utterance.text) or "", labels, notes, speaker)


def _spoken(recording: Recording, vocoder: "Vocoder") -> Recording:
    frames = recording.units.frames()[: round(MAX_UTTERANCE_S * recording.units.rate_hz)]
    if not len(frames):
        return recording
    wav = vocoder(frames).numpy()
    return dataclasses.replace(recording, again=wav, again_rate=vocoder.card.sample_rate)


def _samples(utterance: Utterance, seconds: float, rate: int, allow_pipes: bool) -> NDArray[np.float32]:
    if seconds > MAX_UTTERANCE_S and not utterance.pipe:  # of hours of audio only the beginning is read
        start = utterance.start_s or 0.0
        utterance = dataclasses.replace(utterance, start_s=start, end_s=start + MAX_UTTERANCE_S)
    return read_utterance(utterance, sample_rate=rate, allow_pipes=allow_pipes).samples


def hashed(key: str) -> bytes:
    """What puts ids into an order that has nothing to do with them, the same one every time."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _labels(alignments: Alignments | None, key: str, shift_s: float) -> "Sequence[Segment]":
    if alignments is None or key not in alignments:
        return ()
    starts, ends, ids = alignments.runs[key]
    rate = alignments.rate_hz or 1.0
    return [
        (float(a) / rate + shift_s, float(b) / rate + shift_s, alignments.labels[label] if label >= 0 else "")
        for a, b, label in zip(starts.tolist(), ends.tolist(), ids.tolist(), strict=True)
    ]


def _model(name: str | None, job: Job) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
    """Card and codebook of the unit model `name`, which must be the job's; of the built-in one if it happens to be."""
    try:
        card = read_card(find(name or "default"))
    except CheckpointError:
        if name is not None:
            raise
        return {}, None
    if card.sha256 != job.model.unit_model:
        if name is not None:
            raise ConfigError(f"{name}: these units were made by another model")
        return {}, None
    import torch

    from speechssl.quantizers.mlp import MLP
    from speechssl.units.model import UnitModel

    try:
        quantizer = UnitModel.load(name or "default", offline=True).quantizer
    except CheckpointError:  # the encoder is not at hand; units can be drawn all the same, in colours that mean nothing
        return dataclasses.asdict(card), None
    if isinstance(quantizer, MLP):  # no frames stand for its units
        return dataclasses.asdict(card), None
    codebook = quantizer.decode(torch.arange(card.num_units)).float().numpy()
    return dataclasses.asdict(card), codebook

"""The page of a unit model on a corpus: `speechssl report MODEL --corpus CORPUS`."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from speechssl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from speechssl.data.corpus import Corpus
    from speechssl.report.model_page import ModelPage
    from speechssl.report.page import Page
    from speechssl.report.quality import Quality
    from speechssl.report.score_files import Edits
    from speechssl.units.card import StoredCard
    from speechssl.units.model import UnitModel

EXAMPLES = 6  # utterances drawn


def is_model(spec: str) -> bool:
    """Whether `spec` is a unit model: its folder, or the name of a built-in one that is no file here."""
    from speechssl.errors import CheckpointError
    from speechssl.units.card import find

    try:
        return find(spec) == Path(spec) or not Path(spec).exists()
    except CheckpointError:
        return False


def run(args: argparse.Namespace) -> int:
    """Gather and write."""
    from speechssl.extract import atomic
    from speechssl.report.model_page import render

    made = model_page(args)
    text = render(made)
    atomic.write_output(Path(args.output), text)
    counted, skipped = made.page.statistics.counts.utterances, sum(made.page.reasons.values())
    print(f"{args.output}: {counted} utterances, {skipped} skipped, {len(text) / 1e6:.1f} MB")
    return 0 if not skipped else 1 if counted else 2


def model_page(args: argparse.Namespace) -> "ModelPage":
    """All that the page says."""
    from speechssl.cli._scores._input import read_groups
    from speechssl.data.corpus import open_corpus
    from speechssl.report.model_page import ModelPage
    from speechssl.report.score_files import read_scores
    from speechssl.units.card import find, read_card
    from speechssl.units.changes import parse_changes

    _check(args)
    spec = args.input[0]
    card = read_card(find(spec))
    changes = parse_changes(args.changes) if args.changes else []
    scores = read_scores(args.scores)
    for path, models in scores.unit_models.items():
        if models != {card.sha256}:
            raise ConfigError(f"{path}: scores of another unit model than {spec}: {', '.join(sorted(models))}")
    strengths = [(one.kind, one.strength) for one in scores.edits] + [(one.kind, one.strength) for one in changes]
    if twice := [pair for pair in strengths if strengths.count(pair) > 1]:
        raise ConfigError(f"two scores of edits for {twice[0][0]}={twice[0][1]:g}")
    speakers = read_groups(Path(args.speakers)) if args.speakers else {}
    quality = _quality(args, card)
    corpus = open_corpus(args.recordings, allow_pipes=args.allow_pipes) if args.recordings else None
    if args.units:
        page = _page(args, Path(args.units), corpus, card, quality, speakers)
    else:
        page = _extracted(args, corpus, card, quality, speakers)
    if quality is not None:
        quality.check()
    model = _load(spec, args.offline, needed=bool(changes))
    about = ""
    if changes and model is not None and corpus is not None:
        edits, about = _measured(args, model, corpus)
        scores.edits += edits
    found = set(speakers.values()) if speakers else {u.speaker for u in corpus.utterances} if corpus else set()
    layers = None if model is None else int(model.pretrained.encoder.num_layers)
    return ModelPage(page, card, layers, len(found - {None}), quality, scores, about)


def _check(args: argparse.Namespace) -> None:
    if not args.recordings and not args.units:
        raise ConfigError(f"{args.input[0]} is a unit model: give --corpus, or --units, a folder of its units")
    if args.changes and not args.recordings:
        raise ConfigError("--changes needs the recordings: give --corpus")
    if args.model:
        raise ConfigError(f"--model has no effect: {args.input[0]} is the unit model")
    if args.phones is None and args.phone_shift:
        raise ConfigError("--phone-shift has no effect without --phones")
    if args.num_changed < 1:
        raise ConfigError(f"--num-changed {args.num_changed}: at least 1")


def _quality(args: argparse.Namespace, card: "StoredCard") -> "Quality | None":
    from speechssl.metrics.alignments import read_alignments
    from speechssl.report.quality import Quality

    if not args.phones:
        return None
    alignments = read_alignments(args.phones, rate_hz=args.phone_rate)
    return Quality(alignments, num_units=card.num_units, rate_hz=card.rate_hz, label_rate=args.phone_rate,
                   shift_s=args.phone_shift)  # fmt: skip


def _extracted(
    args: argparse.Namespace, corpus: "Corpus | None", card: "StoredCard", quality: "Quality | None",
    speakers: dict[str, str],
) -> "Page":  # fmt: skip
    """The page of units that are extracted for it, with a progress line, and not kept."""
    import dataclasses

    from speechssl.extract.job import ModelSpec
    from speechssl.extract.merge import Output
    from speechssl.extract.run import Options, run_units

    assert corpus is not None
    options = Options(workers=args.workers, allow_pipes=args.allow_pipes)
    with tempfile.TemporaryDirectory(prefix="speechssl-") as folder:
        run_units(corpus, folder, ModelSpec(args.input[0], offline=args.offline), outputs=[Output("jsonl", True)],
                  options=options)  # fmt: skip
        page = _page(args, Path(folder), corpus, card, quality, speakers)
    return dataclasses.replace(page, sidecar={k: v for k, v in page.sidecar.items() if k != "outputs"})


def _page(
    args: argparse.Namespace, folder: Path, corpus: "Corpus | None", card: "StoredCard", quality: "Quality | None",
    speakers: dict[str, str],
) -> "Page":  # fmt: skip
    import dataclasses

    from speechssl.cli import _gather
    from speechssl.extract import job as jobs

    if jobs.load(folder).model.unit_model != card.sha256:
        raise ConfigError(f"{folder}: these units were not made by {args.input[0]}")
    title = args.title or f"Unit model {card.name or Path(args.input[0]).name}"
    page = _gather.from_output(
        folder, _gather.Texts(title), corpus=corpus, model=args.input[0], num=args.num or EXAMPLES, only=args.id,
        by_hash=True, alignments=quality.alignments if quality else None, shift_s=args.phone_shift, speakers=speakers,
        allow_pipes=args.allow_pipes, seen=quality.add if quality else lambda key, units: None,
    )  # fmt: skip
    place = corpus.source if corpus else (page.sidecar.get("input") or {}).get("source", folder)
    source = list(page.source)
    if args.scores:
        source.append(f"Scores of layers, ABX and edits from files: {', '.join(args.scores)}. Those of units say that "
                      "they are of this unit model where they were made from an output folder.")  # fmt: skip
    return dataclasses.replace(page, subtitle=f"Corpus {place}", source=source)


def _load(spec: str, offline: bool, *, needed: bool) -> "UnitModel | None":
    from speechssl.errors import CheckpointError
    from speechssl.units.model import UnitModel

    try:
        return UnitModel.load(spec, offline=offline or not needed)
    except CheckpointError:  # units made before can be shown without their encoder
        if needed:
            raise
        return None


def _measured(args: argparse.Namespace, model: "UnitModel", corpus: "Corpus") -> "tuple[list[Edits], str]":
    """Scores of edits, measured here on some recordings, and in words on what."""
    from speechssl.cli._gather import hashed
    from speechssl.extract.progress import Progress
    from speechssl.report.score_files import Edits
    from speechssl.units.changes import measure, parse_changes

    changes = parse_changes(args.changes)
    chosen = sorted((hashed(u.id), k) for k, u in enumerate(corpus.utterances))[: args.num_changed]
    progress = Progress(len(chosen), 0)
    left_out: list[str] = []

    def done(seconds: float) -> None:
        progress.add(1, seconds)
        progress.show(0, 0.0)

    recordings = _samples(corpus, [k for _, k in chosen], model.sample_rate, args.allow_pipes, left_out)
    found = measure(model, recordings, changes, done=done)
    progress.end()
    for line in left_out:
        print(f"not changed: {line}", file=sys.stderr)
    unread = f" {len(left_out)} more could not be read." if left_out else ""
    about = f"Measured here on {len(chosen) - len(left_out)} recordings: {args.changes}. Noise is white.{unread}"
    return [Edits(change.kind, change.strength, scores.ued, scores.unit_error_rate, scores.utterances)
            for change, scores in zip(changes, found, strict=True)], about  # fmt: skip


def _samples(
    corpus: "Corpus", chosen: list[int], rate: int, allow_pipes: bool, left_out: list[str]
) -> "Iterator[tuple[str, np.ndarray]]":
    from speechssl.data.corpus import read_utterance
    from speechssl.errors import AudioError

    for k in chosen:
        utterance = corpus.utterances[k]
        try:
            yield utterance.id, read_utterance(utterance, sample_rate=rate, allow_pipes=allow_pipes, max_s=60.0).samples
        except AudioError as error:
            left_out.append(f"{utterance.id}: {error.code}: {error}")

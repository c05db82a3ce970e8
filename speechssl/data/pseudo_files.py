"""Pseudo-labels as a folder: data/ (a Kaldi data dir of what is kept), labels.tsv (all, with reasons), report.json."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from speechssl.data import pseudo_labels
from speechssl.data.corpus import Corpus, probe_utterance
from speechssl.data.export import write_corpus
from speechssl.data.kaldi_dir import new_folder
from speechssl.data.pseudo_labels import PseudoLabel, Rules
from speechssl.errors import DataError


def labelled_texts(
    corpus: Corpus, *, allow_pipes: bool = False, allow_remote: bool = False
) -> list[tuple[str, float]]:  # fmt: skip
    """Texts and seconds of a corpus, by utterances' own ends or headers of recordings. Raises AudioError."""
    found = []
    for utterance in corpus.utterances:
        end = utterance.end_s
        if end is None:
            end = probe_utterance(utterance, allow_pipes=allow_pipes, allow_remote=allow_remote).duration_s
        found.append((utterance.text or "", end - (utterance.start_s or 0.0)))
    return found


def write_pseudo_labels(
    corpus: Corpus, labels: Sequence[PseudoLabel], target: Path, rules: Rules, limits: tuple[float, float],
    truths: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Judge the labels of a corpus and write the folder, whole or not at all; the report.

    limits: see `rate_limits`. Utterances of the corpus without a label are counted ("without"): the recogniser could
    not use them. Raises DataError for labels of other utterances, where nothing is kept, and where the target exists.
    """
    places = {utterance.id: utterance for utterance in corpus.utterances}
    if strange := next((label.id for label in labels if label.id not in places), None):
        raise DataError(f"{corpus.source}: has no utterance {strange!r}, which was transcribed")
    reasons = pseudo_labels.judge(labels, rules, limits)
    kept = [replace(places[label.id], text=label.text)
            for label, reason in zip(labels, reasons, strict=True) if reason == "kept"]  # fmt: skip
    if not kept:
        raise DataError(f"{corpus.source}: none of {len(labels)} pseudo-labels is kept: {rules}")
    told = {
        "rules": {name: value for name, value in asdict(rules).items() if math.isfinite(value)},
        "characters_per_s": [round(limit, 4) for limit in limits],
        "without": len(places) - len(labels),
        "labels": pseudo_labels.report(labels, reasons, truths),
    }
    with new_folder(target) as folder:
        write_corpus(kept, folder / "data", "kaldi")
        (folder / "labels.tsv").write_text(pseudo_labels.as_table(labels, reasons), encoding="utf-8")
        (folder / "report.json").write_text(pseudo_labels.as_json(told), encoding="utf-8")
    return told

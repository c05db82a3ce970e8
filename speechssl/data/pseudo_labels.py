"""Which texts of a recogniser its successor may learn from: self-training (arXiv:2010.11430) with the filters of
arXiv:1909.09116.

An utterance is left out where nothing was written ("empty"), where the text is too short or too long for the speech
("slow", "fast": characters a second beyond what the labelled utterances have), and where the recogniser was not sure
("unsure"). Confidence is the decoder's score, a natural log probability, over the number of symbols.
differs: there it is the acoustic model's log probability; a language model's is in here, which told good
texts from bad ones better (egs/mboshi/asr/SELF_TRAINING.md). arXiv:2010.11430 keeps all.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechssl.data.lines import parse_object, read_lines
from speechssl.errors import ConfigError, DataError
from speechssl.metrics.text_rules import TextRules
from speechssl.metrics.word_errors import EditCounts, count_edits

REASONS = ("kept", "empty", "slow", "fast", "unsure")


@dataclass(frozen=True)
class Rules:
    """What is kept."""

    keep: float = 1.0  # the share of those that are left by the other rules, the most sure ones
    least: float = -math.inf  # confidence below which none is kept
    deviations: float = 3.0  # of log characters a second from their mean, over labelled utterances

    def __post_init__(self) -> None:
        """Refuse rules that keep nothing, or make no sense."""
        if not 0 < self.keep <= 1 or not self.deviations > 0 or math.isnan(self.least) or self.least == math.inf:
            raise ConfigError(f"keep is a share above 0, deviations above 0, least a number: {self}")


@dataclass(frozen=True)
class PseudoLabel:
    """What a recogniser wrote."""

    id: str
    text: str
    duration_s: float
    confidence: float  # -inf where there are no symbols

    @property
    def rate(self) -> float:
        """Characters a second."""
        return len(self.text) / self.duration_s if self.duration_s > 0 else math.inf


def read_transcripts(path: Path) -> list[PseudoLabel]:
    """What `speechssl transcribe --format json` wrote. Raises DataError for lines that are none of that."""
    found = []
    for number, line in read_lines(path):
        row, where = parse_object(line, f"{path}:{number}"), f"{path}:{number}"
        try:
            symbols, score = int(row["symbols"]), float(row["score"])
            label = PseudoLabel(str(row["id"]), str(row["text"]), float(row["duration_s"]),
                                score / symbols if symbols > 0 else -math.inf)  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: not of speechssl transcribe --format json ({error!r})") from None
        if math.isnan(label.confidence) or not 0 <= label.duration_s < math.inf:
            raise DataError(f"{where}: score {score} of {symbols} symbols in {label.duration_s} s")
        found.append(label)
    return found


def rate_limits(labelled: Sequence[tuple[str, float]], rules: Rules) -> tuple[float, float]:
    """Least and most characters a second, by texts and seconds of labelled utterances; those without are passed over.

    Raises DataError where fewer than two are left.
    """
    found = [len(text) / seconds for text, seconds in labelled if text and seconds > 0]
    return usual(found, rules.deviations, f"{len(found)} labelled utterances with text say nothing of usual rates")


def usual(rates: Sequence[float], deviations: float, few: str) -> tuple[float, float]:
    """Least and most of rates, so many standard deviations of their logarithms from the mean. DataError, which says
    `few`, for less than two."""
    logs = [math.log(rate) for rate in rates]
    if len(logs) < 2:
        raise DataError(f"{few}: give two at least")
    mean, half = statistics.fmean(logs), deviations * statistics.stdev(logs)
    return math.exp(mean - half), math.exp(mean + half)


def judge(labels: Sequence[PseudoLabel], rules: Rules, limits: tuple[float, float]) -> list[str]:
    """One of REASONS for each; of equally sure ones the earlier is kept."""
    reasons = [_by_text(label, limits) for label in labels]
    left = [row for row, reason in enumerate(reasons) if reason == "kept"]
    left.sort(key=lambda row: -labels[row].confidence)
    for place, row in enumerate(left):
        if place >= math.ceil(rules.keep * len(left)) or labels[row].confidence < rules.least:
            reasons[row] = "unsure"
    return reasons


def _by_text(label: PseudoLabel, limits: tuple[float, float]) -> str:
    if not label.text:
        return "empty"
    return "slow" if label.rate < limits[0] else "fast" if label.rate > limits[1] else "kept"


def report(
    labels: Sequence[PseudoLabel], reasons: Sequence[str], truths: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """By reason, and of all that is dropped and all there is: utterances, hours, mean confidence, and error rates where
    truths are at hand."""
    groups = {reason: [reason] for reason in REASONS} | {"dropped": list(REASONS[1:]), "all": list(REASONS)}
    rows: dict[str, Any] = {}
    for name, wanted in groups.items():
        some = [label for label, reason in zip(labels, reasons, strict=True) if reason in wanted]
        sure = [label.confidence for label in some if label.confidence > -math.inf]
        rows[name] = {"utterances": len(some), "hours": round(math.fsum(label.duration_s for label in some) / 3600, 4),
                      "confidence": round(statistics.fmean(sure), 4) if sure else None}  # fmt: skip
        if truths is not None:
            rows[name] |= _errors(some, truths)
    return rows


def _errors(labels: Iterable[PseudoLabel], truths: Mapping[str, str]) -> dict[str, float | None]:
    rules, words, characters = TextRules(), EditCounts(), EditCounts()
    for label in labels:
        if label.id not in truths:
            raise DataError(f"no truth of utterance {label.id!r}")
        true, written = rules(truths[label.id]), rules(label.text)
        words += count_edits(true.split(), written.split())
        characters += count_edits(true, written)
    return {name: round(counts.rate, 4) if counts.reference else None
            for name, counts in (("cer", characters), ("wer", words))}  # fmt: skip


def as_table(labels: Sequence[PseudoLabel], reasons: Sequence[str]) -> str:
    """TSV with a head: id, reason, confidence, characters a second, seconds, text."""
    lines = [f"{label.id}\t{reason}\t{label.confidence:.4f}\t{label.rate:.2f}\t{label.duration_s:.2f}\t{label.text}\n"
             for label, reason in zip(labels, reasons, strict=True)]  # fmt: skip
    return "".join(["id\treason\tconfidence\tcharacters_per_s\tseconds\ttext\n", *lines])


def as_json(rows: Mapping[str, Any]) -> str:
    """With an end of line; no numbers that JSON lacks."""
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

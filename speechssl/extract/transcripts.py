"""Texts of a corpus: a recogniser's log probabilities, stored as features are, decoded one utterance after another.

OUT/emissions/          what `speechssl features` would leave: shards of log probabilities, failures.tsv, report.json
OUT/text                Kaldi's `text`: id and words, a line each, in the corpus's order
OUT/transcripts.json    by which recogniser, of which emissions

The emissions stay (4 bytes per symbol and frame: 6.6 kB per second of 33 symbols), so that another way of decoding
costs no second pass of the encoder, and a run that was killed goes on where it was.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from speechssl.errors import DataError
from speechssl.extract import atomic
from speechssl.extract.merge import SUMS
from speechssl.extract.outputs import read_features
from speechssl.recognition.model import Recognizer

Decode = Callable[[np.ndarray], str]  # log probabilities [T, V] to text
FORMATS = ("text",)


@dataclass(frozen=True)
class Transcript:
    """What was said in an utterance."""

    id: str
    text: str


def greedy(recognizer: Recognizer) -> Decode:
    """The best symbol of every frame."""
    return lambda log_probs: recognizer.text(torch.from_numpy(np.array(log_probs)))


def transcripts(emissions: Path, decode: Decode) -> Iterator[Transcript]:
    """Ids and texts of a finished folder of log probabilities, in the corpus's order."""
    for name, log_probs in read_features(emissions):
        yield Transcript(name, decode(log_probs))


def write(emissions: Path, target: Path, recognizer: Recognizer, decode: Decode, *, format: str = "text") -> Path:
    """Write the texts of `emissions` into `target`, whole or not at all; the file's path.

    Raises DataError for an unknown format and for ids that a line cannot hold.
    """
    if format not in FORMATS:
        raise DataError(f"unknown format {format!r} (known: {', '.join(FORMATS)})")
    lines = []
    for transcript in transcripts(emissions, decode):
        if transcript.id.split() != [transcript.id]:
            raise DataError(f"id {transcript.id!r} holds white space, which a line of text cannot")
        lines.append(f"{transcript.id} {transcript.text}".rstrip() + "\n")
    facts = {
        "format": "speechssl-transcripts-1",
        "recognizer": recognizer.card.name,
        "recognizer_sha256": recognizer.sha256,
        "vocabulary_sha256": recognizer.vocabulary.sha256,
        "emissions": atomic.sha256(emissions / SUMS),
        "decoding": "greedy",
        "utterances": len(lines),
    }
    atomic.write_text(target / "text", "".join(lines), "transcripts")
    atomic.write_text(
        target / "transcripts.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "transcripts"
    )
    return target / "text"

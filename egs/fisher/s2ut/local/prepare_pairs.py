#!/usr/bin/env python3
"""Fisher Spanish (LDC2010S01, LDC2010T04) and its English translations to Kaldi data dirs of parallel speech.

prepare_pairs.py --corpus DIR --source es --target en [--limit N] OUT

--corpus: the folders LDC2010S01 (*.sph anywhere in it, two channels), LDC2010T04 (data/transcripts/*.tdf),
fisher-callhome-corpus (Post et al. 2013: mapping/fisher_PART, corpus/ldc/fisher_PART.en or .en.0) and, where you have
synthesised it, the target speech: spoken/{train,dev,test}/ID.wav, ID as in this script's data dirs (FILE-LINES).
Without that folder espeak-ng says the translations; the paper had them from a Transformer TTS of one English voice.

Parts are the corpus's own: train, dev (valid) and test; of the four references of dev and test the first one is used.
Segments over both channels are left out and counted. Compressed SPHERE files that libsndfile refuses: sph2pipe makes
FILE.wav of them, which is taken in their place.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import RATE
from said import Said
from speech_pairs import Pair, main

from speechssl.data.lines import read_lines
from speechssl.errors import AudioError, DataError

PARTS = {"train": ("train", ""), "dev": ("valid", ".0"), "test": ("test", ".0")}
MARKUP = re.compile(r"<[^>]*>|\{[^}]*\}|\[[^\]]*\]|[()+*/#]")


@dataclass(frozen=True)
class Turn:
    """A line of a transcript."""

    channel: int
    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Segment:
    """A part of one channel of a conversation."""

    path: Path
    channel: int
    start_s: float
    end_s: float

    def samples(self) -> np.ndarray:
        """[S] float32 at 16 kHz. Raises AudioError."""
        import soundfile
        import soxr

        try:
            with soundfile.SoundFile(self.path) as file:
                rate = file.samplerate
                file.seek(round(self.start_s * rate))
                found = file.read(round((self.end_s - self.start_s) * rate), dtype="float32", always_2d=True)
            return soxr.resample(found[:, self.channel], rate, RATE)
        except (soundfile.LibsndfileError, IndexError) as error:
            what = f"{self.path}: {error}; put the WAV that sph2pipe makes beside it"
            raise AudioError("unsupported", what) from None


def find(corpus: Path, source: str, target: str) -> tuple[list[Pair], int]:
    """Pairs, and how many segments lie over both channels."""
    if (source, target) != ("es", "en"):
        raise DataError(f"--source {source} --target {target}: Fisher is es, its translations are en")
    texts, speech = corpus / "fisher-callhome-corpus", recordings(corpus / "LDC2010S01")
    pairs, lost, known = [], 0, dict[str, list[Turn]]()
    for name, (part, reference) in PARTS.items():
        lines = zip(read(texts / "mapping" / f"fisher_{name}"),
                    read(texts / "corpus" / "ldc" / f"fisher_{name}.en{reference}"), strict=True)  # fmt: skip
        for mapped, english in lines:
            conversation, numbers = mapped.split()
            if conversation not in known:
                known[conversation] = list(transcript(corpus / "LDC2010T04", conversation))
            turns = [known[conversation][int(number) - 1] for number in numbers.split("_")]
            if len({turn.channel for turn in turns}) > 1:
                lost += 1
                continue
            if conversation not in speech:
                raise DataError(f"{corpus / 'LDC2010S01'}: no recording of {conversation}")
            key, channel = f"{conversation}-{numbers}", turns[0].channel
            said = corpus / "spoken" / name / f"{key}.wav"
            target_speech = said if (corpus / "spoken").is_dir() else Said(english, target)
            segment = Segment(speech[conversation], channel, turns[0].start_s, turns[-1].end_s)
            pairs.append(Pair(key, conversation, f"{conversation}-{channel}", (segment, target_speech),
                              (" ".join(turn.text for turn in turns), english), part))  # fmt: skip
    return pairs, lost


def recordings(folder: Path) -> dict[str, Path]:
    """Files by conversation; a WAV is preferred."""
    return {path.stem: path for suffix in ("sph", "wav") for path in sorted(folder.rglob(f"*.{suffix}"))}


def transcript(folder: Path, conversation: str) -> Iterator[Turn]:
    """Lines of a conversation, without markup; those of comments and the header do not count."""
    path = folder / "data" / "transcripts" / f"{conversation}.tdf"
    for number, line in enumerate(read(path), 1):
        if line.startswith((";;MM", "file;unicode")):
            continue
        cells = line.split("\t")
        try:
            yield Turn(int(cells[1]), float(cells[2]), float(cells[3]), " ".join(MARKUP.sub("", cells[7]).split()))
        except (IndexError, ValueError) as error:
            raise DataError(f"{path}:{number}: no line of a transcript (channel, start, end, text): {error}") from None


def read(path: Path) -> list[str]:
    """All lines. DataError where there is no such file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; --corpus must hold LDC2010S01, LDC2010T04 and fisher-callhome-corpus")
    return [line for _, line in read_lines(path)]


if __name__ == "__main__":
    sys.exit(main(find, __doc__, source="es", target="en", packages="Fisher corpora", repeats_stay=True))

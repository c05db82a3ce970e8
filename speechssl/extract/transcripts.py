"""Texts of a corpus: a recogniser's outputs, stored as features are, decoded one utterance after another.

OUT/emissions/          what `speechssl features` would leave: shards of outputs, failures.tsv, report.json
OUT/emissions.npz       of a recogniser of units in their place: outputs by id
OUT/text                Kaldi's `text`: id and words, a line each, in the corpus's order
OUT/ctm, OUT/json       with times and confidences of words; OUT/srt/ and OUT/textgrid/: a file for each recording
OUT/transcripts.json    by which recogniser, of which emissions, decoded how

Outputs are log probabilities (4 bytes per symbol and frame: 6.6 kB per second of 33 symbols), or what a transducer's
joiner sees (51 kB per second of 256 channels). They stay, so that another way of decoding costs no second pass of the
encoder, and a run that was killed goes on where it was.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from speechssl.data.utterance import Utterance
from speechssl.decoders import outputs
from speechssl.decoders.cut import LONGEST, parts
from speechssl.decoders.decoder import Decoder, Settings, load_decoder
from speechssl.decoders.hypothesis import Word
from speechssl.decoders.outputs import Transcript
from speechssl.decoders.spelling import spelling_of
from speechssl.decoders.transducer import Transducer
from speechssl.decoders.transducer_text import TransducerDecoder
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.errors import ConfigError, DataError
from speechssl.extract import atomic
from speechssl.extract.merge import SUMS
from speechssl.extract.outputs import read_features
from speechssl.recognition.model import Recognizer
from speechssl.units.formats._npz import NpzReader, NpzWriter

LINES: dict[str, Callable[[Iterable[Transcript]], str]] = {
    "text": outputs.as_text, "ctm": outputs.as_ctm, "json": outputs.as_json,
}  # fmt: skip
FILES: dict[str, Callable[[list[Transcript]], str]] = {
    "srt": outputs.as_srt, "textgrid": lambda spoken: outputs.as_textgrid(outputs.joined(spoken)),
}  # fmt: skip
FORMATS = (*LINES, *FILES)
_SUFFIX = {"srt": "srt", "textgrid": "TextGrid"}


@dataclass(frozen=True)
class Decoding:
    """How log probabilities become texts."""

    settings: Settings = field(default_factory=Settings)
    lm: Path | None = None  # ARPA, of words or symbols
    lexicon: Path | None = None

    def decoder(self, vocabulary: Vocabulary) -> Decoder:
        """Of a recogniser's symbols; files are read. ConfigError for settings that do not fit them."""
        return load_decoder(spelling_of(vocabulary), self.settings, lm=self.lm, lexicon=self.lexicon)

    def facts(self) -> dict[str, object]:
        """What transcripts.json says of it."""
        if self.settings.beam == 1:
            return {"decoding": "greedy"}
        files = {"lm_sha256": self.lm, "lexicon_sha256": self.lexicon}
        hashes = {name: atomic.sha256(path) for name, path in files.items() if path is not None}
        return {"decoding": "beam", **asdict(self.settings), **hashes}


def decoder_of(
    decoding: Decoding, vocabulary: Vocabulary, transducer: Transducer | None = None
) -> Decoder | TransducerDecoder:  # fmt: skip
    """What decodes the outputs of a recogniser; see `Decoding.decoder`.

    ConfigError for what has no effect on a transducer: language model, lexicon, and all settings but the beam.
    """
    if transducer is None:
        return decoding.decoder(vocabulary)
    if decoding.lm is not None or decoding.lexicon is not None:
        raise ConfigError("a transducer is decoded without language model or lexicon: leave --lm and --lexicon out")
    if decoding.settings != Settings(beam=decoding.settings.beam):
        raise ConfigError("of the settings for decoding a transducer has the beam alone: leave --lm-weight, --bonus, "
                          "--closed and --decoder out")  # fmt: skip
    return TransducerDecoder(transducer, spelling_of(vocabulary), decoding.settings.beam)


class Decoded(NamedTuple):
    """Of an utterance: score and symbols are sums over its parts."""

    text: str
    words: tuple[Word, ...]
    score: float
    symbols: int


def decode(
    decoder: Decoder | TransducerDecoder, outputs: np.ndarray, *, frame_s: float | None, longest: int = LONGEST
) -> Decoded | None:  # fmt: skip
    """What is said in an utterance; None where a lexicon allows nothing that fits.

    With times (frame_s, seconds from frame to frame) a recording of more than `longest` frames is decoded in parts,
    see `decoders.cut`: a language model begins anew in each. A transducer needs no such parts.
    """
    if frame_s is None or isinstance(decoder, TransducerDecoder):
        found = decoder.decode(outputs, frame_s=frame_s)
        return Decoded(found[0].text, found[0].words, found[0].score, len(found[0].symbols)) if found else None
    texts: list[str] = []
    words: list[Word] = []
    score, symbols = 0.0, 0
    for first, last in parts(outputs, blank=decoder.spelling.blank, longest=longest):
        found = decoder.decode(outputs[first:last], frame_s=frame_s)
        if not found:
            return None
        moved = (replace(w, start_s=w.start_s + first * frame_s, end_s=w.end_s + first * frame_s)
                 for w in found[0].words)  # fmt: skip
        texts.append(found[0].text)
        words.extend(moved)
        score, symbols = score + found[0].score, symbols + len(found[0].symbols)
    return Decoded(" ".join(filter(None, texts)), tuple(words), score, symbols)


def transcripts(
    emissions: Iterable[tuple[str, np.ndarray]], decoder: Decoder | TransducerDecoder,
    places: Mapping[str, Utterance], *, frame_s: float, times: bool,
) -> Iterator[Transcript | str]:  # fmt: skip
    """Of ids and a recogniser's outputs [T, V or J], in their order; the id alone where nothing fits."""
    for name, values in emissions:
        found = decode(decoder, np.array(values), frame_s=frame_s if times else None)
        if found is None:
            yield name
            continue
        place = places.get(name)
        recording, begin = (place.recording or "", place.start_s or 0.0) if place is not None else ("", 0.0)
        yield Transcript(name, found.text, found.words, len(values) * frame_s, recording, begin,
                         score=found.score, symbols=found.symbols)  # fmt: skip


def store(emissions: Iterable[tuple[str, np.ndarray]], path: Path) -> None:
    """Write ids and log probabilities [T, V] into one archive, whole or not at all."""
    with atomic.scratch(path.parent, "emissions") as scratch:
        archive = NpzWriter(scratch / path.name)
        for name, values in emissions:
            archive.add(name, values.astype("<f4", copy=False))
        archive.close()
        atomic.commit(scratch, path.parent)


def stored(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Ids and outputs of a folder of emissions, or of what `store` wrote, in their order. DataError for damage."""
    if path.is_dir():
        yield from read_features(path)
        return
    with NpzReader(path) as arrays:
        for name in arrays:
            values = arrays[name]
            if values.ndim != 2 or values.dtype != np.float32:
                raise DataError(f"{path}: {name!r} is no table of log probabilities")
            yield name, values


@dataclass(frozen=True)
class Written:
    """path: the file, or the folder of a format that has a file for each recording. without: ids without a text."""

    path: Path
    without: tuple[str, ...] = ()


def write(
    emissions: Path, target: Path, recognizer: Recognizer, decoding: Decoding | None = None, *, format: str = "text",
    places: Mapping[str, Utterance] | None = None,
) -> Written:  # fmt: skip
    """Write the texts of a finished folder of `emissions` into `target`, whole or not at all; see `write_texts`."""
    facts = {
        "recognizer": recognizer.card.name,
        "recognizer_sha256": recognizer.sha256,
        "vocabulary_sha256": recognizer.vocabulary.sha256,
        "emissions": atomic.sha256(emissions / SUMS),
    }
    return write_texts(read_features(emissions), target, recognizer.vocabulary, decoding or Decoding(), facts=facts,
                       frame_s=1 / recognizer.rate_hz, format=format, places=places,
                       transducer=recognizer.transducer)  # fmt: skip


def write_texts(
    emissions: Iterable[tuple[str, np.ndarray]], target: Path, vocabulary: Vocabulary, decoding: Decoding, *,
    facts: Mapping[str, object], frame_s: float, format: str = "text",
    places: Mapping[str, Utterance] | None = None, transducer: Transducer | None = None,
) -> Written:  # fmt: skip
    """Write the texts of ids and log probabilities [T, V] into `target`, whole or not at all.

    facts: where those come from, for transcripts.json. places: utterances by id, for formats that say where in a
    recording words are. transducer: that of outputs [T, J]. An utterance that the lexicon allows no text for has an
    empty one. Raises DataError for an unknown format and for ids that a line cannot hold.
    """
    if format not in FORMATS:
        raise DataError(f"unknown format {format!r} (known: {', '.join(FORMATS)})")
    found, without = [], []
    decoder = decoder_of(decoding, vocabulary, transducer)
    for spoken in transcripts(emissions, decoder, places or {}, frame_s=frame_s, times=format != "text"):
        name = spoken if isinstance(spoken, str) else spoken.id
        if format in ("text", "ctm") and name.split() != [name]:
            raise DataError(f"id {name!r} holds white space, which a line of {format} cannot: --format json can")
        without += [name] if isinstance(spoken, str) else []
        found.append(Transcript(spoken, "") if isinstance(spoken, str) else spoken)
    known = {
        "format": "speechssl-transcripts-1",
        **facts,
        **(decoder.facts() if isinstance(decoder, TransducerDecoder) else decoding.facts()),
        "utterances": len(found),
        "without_text": without,
    }
    path = target / format
    if format in LINES:
        atomic.write_text(path, LINES[format](found), "transcripts")
    else:
        path.mkdir(exist_ok=True)
        found.sort(key=lambda t: (t.recording or t.id, t.begin_s))
        for recording, group in groupby(found, key=lambda t: t.recording or t.id):
            name = quote(recording, safe=" ") + f".{_SUFFIX[format]}"
            atomic.write_text(path / name, FILES[format](list(group)), "transcripts")
    atomic.write_text(
        target / "transcripts.json", json.dumps(known, indent=2, ensure_ascii=False) + "\n", "transcripts"
    )
    return Written(path, tuple(without))

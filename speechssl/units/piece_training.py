"""Learns pieces from units: sentencepiece's BPE (as arXiv:1508.07909) or unigram model (arXiv:1804.10959).

sentencepiece holds all training units in memory; for more than fits, train on a share of the utterances. It draws
nothing at random: the same units in the same order give the same bytes (with several threads a unigram model's scores
differ in their last digits from those of one).

A sentence of ours is an utterance, cut where it has more than `LONGEST_SENTENCE` units: sentencepiece's unigram
training adds up a whole sentence in float32, which fails for very long ones. Nothing is left out; what is lost is the
pair across a cut.
"""

import hashlib
import io
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from speechssl import __version__
from speechssl.errors import DataError
from speechssl.units.piece_card import FIRST_CHARACTER, FORMAT, Kind, PieceCard, check_sizes
from speechssl.units.piece_seeds import without_seed_file, write_seeds
from speechssl.units.pieces import PieceModel, characters, sentencepiece
from speechssl.units.units import Units

LONGEST_SENTENCE = 4096  # units: some three minutes of speech


def train(
    utterances: Iterable[Units],
    *,
    num_pieces: int,
    num_units: int,
    rate_hz: float,
    kind: Kind = "bpe",
    longest: int = 16,
    num_threads: int = 1,
    unit_model: str = "",
) -> PieceModel:
    """A model of num_pieces pieces, each unit and <unk> included, none of more than `longest` units.

    Units are taken as they stand: give deduplicated ones. Raises DataError where there are none, where they are of
    another size or rate, and where they do not give so many pieces; ConfigError for sizes that cannot be.
    """
    check_sizes(num_pieces, num_units)
    if not (1 <= longest <= 512 and 1 <= num_threads <= 1024):
        raise DataError(f"pieces of at most {longest} units, {num_threads} threads: both must be at least 1")
    library = sentencepiece()
    sentences = Sentences(utterances, num_units, rate_hz)
    options = {"model_type": kind, "vocab_size": num_pieces, "max_sentencepiece_length": longest,
               "num_threads": num_threads}  # fmt: skip
    try:
        if kind == "bpe":
            data = _run(library, sentences, options)
        else:
            data = _run_from_seeds(library, list(sentences), options)
    except RuntimeError as error:
        if sentences.failure is not None:  # told by sentencepiece in words of its own
            raise sentences.failure from None
        if most := re.search(r"too high .*<= (\d+)", str(error)):
            raise DataError(f"these units give {most[1]} pieces at the most, not {num_pieces}: ask for fewer, or "
                            "give more units") from None  # fmt: skip
        raise DataError(f"sentencepiece cannot learn pieces of these units: {error}") from error
    training = {
        "utterances": sentences.utterances, "units": sentences.units, "cut": sentences.cut, "longest": longest,
        "threads": num_threads, "sentencepiece": library.__version__, "speechssl": __version__,
    }  # fmt: skip
    sha256 = hashlib.sha256(data).hexdigest()
    card = PieceCard(FORMAT, kind, num_pieces, num_units, rate_hz, sha256, unit_model, training)
    return PieceModel(card, data)


def _run(library: Any, sentences: Iterable[str], options: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=data, character_coverage=1.0,
        normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
        split_by_whitespace=False, split_by_unicode_script=False, split_by_number=False,
        max_sentence_length=8 * LONGEST_SENTENCE, unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1, minloglevel=2, **options,
    )  # fmt: skip
    return data.getvalue()


def _run_from_seeds(library: Any, sentences: list[str], options: dict[str, Any]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="speechssl-") as folder:
        path = Path(folder, "seeds")
        write_seeds(path, sentences, options["max_sentencepiece_length"])
        return without_seed_file(_run(library, sentences, options | {"seed_sentencepieces_file": str(path)}))


class Sentences:
    """Utterances as sentencepiece wants them, and what was in them."""

    def __init__(self, utterances: Iterable[Units], num_units: int, rate_hz: float) -> None:
        self._source, self._kind = utterances, (num_units, rate_hz)
        self.utterances = self.units = self.cut = 0
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[str]:
        """Every utterance that has units, and each kind of unit once by itself, so that all are known."""
        try:
            yield from self._sentences()
        except BaseException as error:
            self.failure = error
            raise

    def _sentences(self) -> Iterator[str]:
        for units in self._source:
            if (units.size, units.rate_hz) != self._kind:
                raise DataError(f"units of {units.size} kinds at {units.rate_hz:g} Hz among those of {self._kind[0]} "
                                f"at {self._kind[1]:g} Hz")  # fmt: skip
            text = characters(units.ids)
            self.utterances, self.units = self.utterances + 1, self.units + len(text)
            self.cut += len(text) > LONGEST_SENTENCE
            for start in range(0, len(text), LONGEST_SENTENCE):
                yield text[start : start + LONGEST_SENTENCE]
        if not self.units:
            raise DataError(f"no units to learn pieces from, in {self.utterances} utterances")
        yield from map(chr, range(FIRST_CHARACTER, FIRST_CHARACTER + self._kind[0]))

"""A unit normaliser: recordings of many speakers, and one reference speaker's units of the same, to what gives those
units whoever speaks (arXiv:2112.08352).

    speechssl units data/anna -o exp/units                                       the reference speaker's units
    python -m recipes.unit_normalizer recipes/conf/unit_normalizer.toml 'encoder={checkpoint="hubert-base-ls960"}' \\
        data.train=data/train data.units=exp/units data.contents=utt2content data.valid=data/dev
    python -m recipes.unit_normalizer recipes/conf/tiny_unit_normalizer.toml run=exp/normalizer data.train=...
    speechssl units data/all -o exp/normalized --model exp/normalizer/normalizer

data.units is an output folder of `speechssl units`. A recording learns the units under its own id, or, with
data.contents, under the id in that extra value (a file utt2content of the Kaldi data dir, a key of the manifest): many
recordings may say what one reference says. Runs of one unit are merged. Recordings whose content has no units, that are
too short for them (a frame for each) or longer than data.batching.crop_s are left out and counted.

Goes on from the newest checkpoint in the run's folder where there is one, bit for bit on a CPU. Writes into it:
config.toml, log.jsonl, left_out.tsv, checkpoints/, best/ (by the validation's token error rate, which is of units),
normalizer/ (of the best, what `speechssl units --model` reads; as a recogniser it writes units as text), encoder/ (its
encoder alone) and result.json. Exit code: 0 trained to the end, 2 stopped early or refused.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from torch import nn

from recipes import ctc
from recipes.shared import run_recipe
from speechssl.data.corpus import Corpus, open_corpus
from speechssl.data.sequences import read_units
from speechssl.data.training_set import TrainingSet
from speechssl.encoders.pretrained import EncoderCard
from speechssl.errors import DataError
from speechssl.recognition.model import Recognizer
from speechssl.training.distributed import Group
from speechssl.units.normalizer import UnitNormalizer, vocabulary_of
from speechssl.units.vocoder import SpokenUnits


@dataclass(frozen=True, kw_only=True)
class Data(ctc.Data):
    """What to train on."""

    units: str  # of the reference speaker: an output folder of `speechssl units`
    valid_units: str | None = None  # None: as units
    contents: str | None = None  # the extra value that says whose units a recording learns; None: those of its own id


@dataclass(frozen=True)
class Run(ctc.FineTuned):
    """Everything that decides a run."""

    model: ClassVar[Literal["ctc"]] = "ctc"
    data: Data
    run: str = "exp/unit_normalizer"  # the run's folder


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    reference, folder = SpokenUnits.of_folder(run.data.units), Path(run.run) / "normalizer"
    if run.data.valid_units is not None:
        reference.check(SpokenUnits.of_folder(run.data.valid_units).sha256, "training")
    vocabulary = vocabulary_of(reference.num_units)

    def encode(text: str) -> list[int]:
        if not text:
            raise DataError("no units of what it says")
        return vocabulary.encode(text)

    def opened(encoder: nn.Module, card: EncoderCard, training: bool) -> TrainingSet:
        units = run.data.units if training else run.data.valid_units or run.data.units
        corpus = open_corpus(run.data.train if training else run.data.valid)
        corpus = saying(corpus, read_units(Path(units)).of, run.data.contents)
        return ctc.open_data(run, corpus, encoder, card, encode, training=training)

    def keep(recognizer: Recognizer) -> str:
        UnitNormalizer(recognizer, reference).save(folder)
        return f"normaliser in {folder}"

    return ctc.fine_tune(run, group, vocabulary, opened, keep, recipe="recipes.unit_normalizer")


def saying(corpus: Corpus, units: Mapping[str, np.ndarray], contents: str | None) -> Corpus:
    """The corpus with units for texts, none where there are none; see `Data.contents`.

    DataError where an utterance lacks that value.
    """
    rows = []
    for utterance in corpus.utterances:
        name = utterance.id if contents is None else (utterance.extra or {}).get(contents)
        if name is None:
            raise DataError(f"utterance {utterance.id!r} has no {contents}, which says whose units it learns")
        rows.append(replace(utterance, text=" ".join(map(str, units.get(name, np.zeros(0, int)).tolist()))))
    return replace(corpus, utterances=rows)


if __name__ == "__main__":
    sys.exit(main())

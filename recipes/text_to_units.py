"""Training of models from text to units of speech, of one or several languages: what `speechssl speak` speaks with.

    python -m recipes.text_to_units recipes/conf/tiny_text_to_units.toml 'data.train={fr=["data/train"]}' \\
        'data.units={fr=["exp/units"]}' 'data.valid={fr=["data/dev"]}' 'data.valid_units={fr=["exp/dev"]}' run=exp/speak
    python -m recipes.text_to_units recipes/conf/text_to_units.toml 'decoder={checkpoint="exp/lm/decoder"}' \\
        'data.train={es=["es/train"],fr=["fr/train"]}' 'data.units={es=["exp/units-es"],fr=["exp/units-fr"]}' ...

data.train gives each language's texts: Kaldi data dirs, `text` files, folders with one, manifests; data.units their
units, as many for each language, joined by utterance id: output folders of `speechssl units` (text) or files with a
line `id 17 4 ...` each, all of one unit model. vocabulary says what symbols are: characters, pieces, or phones where
texts are phones (`speechssl data phones`). decoder.checkpoint is what recipes.unit_lm or recipes.unit_bart trained.
data.embeddings=resemblyzer tells the model who speaks by that package's embedding (the mean over recordings of each
speaker), or by a folder's NAME.npy, so that others may speak, too.

Goes on from the newest checkpoint in the run's folder where there is one, bit for bit on a CPU. Writes into it:
config.toml, log.jsonl, left_out.tsv, checkpoints/, best/ (the least `nll` of the validation), model/ (of the best),
hypotheses.tsv (search of the validation set) and result.json. Exit code: 0 trained to the end, 2 stopped early or
refused.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipes.ctc import Symbols, learn_symbols, tell
from recipes.shared import (
    Common,
    Start,
    all_once,
    begin_decoder,
    best_state,
    count,
    held_out_units,
    run_recipe,
    run_trainer,
    search_units,
    speaker_embeddings,
    start_folder,
    unit_batches,
    write_result,
)
from speechssl import config
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import Corpus
from speechssl.data.speaker_embedding import NAME
from speechssl.data.text_units import open_text_units
from speechssl.data.texts import open_texts
from speechssl.data.unit_batches import UnitBatches, UnitSet
from speechssl.data.utterance import Utterance
from speechssl.decoders import vocabulary as vocabularies
from speechssl.decoders.search import Search
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.errors import ConfigError, DataError
from speechssl.generation import decoder as decoders
from speechssl.generation.model import Output
from speechssl.generation.text_to_units import SEARCH, Speakers, TextToUnits
from speechssl.objectives import text_to_units
from speechssl.training.distributed import Group

Paths = dict[str, tuple[str, ...]]  # of each language
Texts = dict[str, list[Corpus]]


@dataclass(frozen=True)
class Data:
    """What to train on."""

    train: Paths  # texts
    units: Paths  # theirs
    valid: Paths = field(default_factory=dict)
    valid_units: Paths = field(default_factory=dict)
    num_units: int | None = None  # V, where they are files that do not say it
    reduced: bool = True  # runs of one unit are merged
    rate_hz: int = 50  # units, and symbols, to a second of `batching`
    embeddings: str | None = None  # of speakers: "resemblyzer", or a folder with NAME.npy of each; None: not told
    batching: Batching = field(default_factory=lambda: Batching(seconds=64.0, crop_s=10.24, min_s=0.02))


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    decoder: Start = field(default_factory=Start)
    run: str = "exp/text_to_units"  # the run's folder
    vocabulary: Symbols = field(default_factory=Symbols)
    settings: dict[str, Any] = field(default_factory=dict)  # of objectives.text_to_units, but what the data decide
    search: Search = field(default_factory=lambda: SEARCH)  # of validation


@dataclass(frozen=True)
class Told:
    """Who speaks: names with embeddings [N, E], those of training first."""

    names: tuple[str, ...]
    trained: int  # of training
    voices: Tensor


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    folder, languages = Path(run.run), tuple(run.data.train)
    if not languages:
        raise ConfigError('data.train names no language: data.train={fr=["data/train"]}')
    texts, held_out = ({language: [open_texts(path) for path in paths] for language, paths in found.items()}
                       for found in (run.data.train, run.data.valid))  # fmt: skip
    vocabulary = make_vocabulary(run.vocabulary, texts)
    told = tell_speakers(run.data.embeddings, texts, held_out)
    names = None if told is None else told.names
    data = open_data(run, texts, run.data.units, vocabulary, names, run.data.num_units)
    (size,) = data.sizes
    valid = open_data(run, held_out, run.data.valid_units, vocabulary, names, size) if run.data.valid else None
    if valid is not None and None not in (*valid.models, *data.models) and valid.models != data.models:
        raise DataError("data.valid_units are of another unit model than data.units")
    start = None
    if run.decoder.checkpoint is not None:
        said = (size, run.data.reduced, data.models[0])
        settings, start = begin_decoder(run.settings, Path(run.decoder.checkpoint), said)
        run = replace(run, settings=settings)
    objective = build(run, size, vocabulary, told)  # before the folder: what cannot be built leaves nothing behind
    if start is not None:
        decoders.begin(objective.model.decoder, start)
    log = start_folder(run, folder, group)
    for kind, one in (("train", data), ("valid", valid)):
        if one is not None:
            tell(one, kind, folder, log, group)
    log.line(f"text_to_units: {count(objective) / 1e6:.2f} M parameters, {len(vocabulary)} symbols, {size} units, "
             f"languages {', '.join(languages)}, {'no' if told is None else told.trained} speakers told")  # fmt: skip

    batches, valid_batches = unit_batches(run, data, group), held_out_units(run, valid, group)
    ended = run_trainer(run, objective, batches, valid_batches, group=group, folder=folder, log=log,
                        failures=data.failures, best="nll")  # fmt: skip
    if ended is None:
        return 2
    trainer, result = ended
    state, result = best_state(trainer, objective, folder, result)
    if group.first:
        facts = {"recipe": "recipes.text_to_units", "seed": run.seed, "utterances": len(data.units),
                 "decoder": run.decoder.checkpoint, **result}  # fmt: skip
        trained = build(run, size, vocabulary, told)
        trained.load_state_dict(state)
        model = finish(run, trained, vocabulary, data.models[0], told, facts)
        model.save(folder / "model")
        if valid is not None:
            whole = UnitBatches(valid, all_once(run.data.batching), run.seed)
            result |= search_units(model.to(group.device).parts.model, whole, run.search, folder / "hypotheses.tsv",
                                   None if told is None else told.voices)  # fmt: skip
        write_result(folder, result, log, f"model in {folder / 'model'}")
    return 0


def make_vocabulary(symbols: Symbols, texts: Texts) -> Vocabulary:
    """The symbols: those of a folder, of a corpus, or of all languages' texts."""
    if symbols.folder is not None:
        return vocabularies.load(Path(symbols.folder))
    corpora = [corpus for found in texts.values() for corpus in found]
    if symbols.texts is not None:
        corpora = [open_texts(symbols.texts)]
    found = [utterance.text for corpus in corpora for utterance in corpus.utterances if utterance.text]
    if not found:
        raise ConfigError(f"{symbols.texts or 'data.train'}: no utterance has a text")
    return learn_symbols(symbols, found)


def tell_speakers(source: str | None, texts: Texts, held_out: Texts) -> Told | None:
    """Embeddings of everybody who speaks; None where nobody says it. DataError where no speaker is known."""
    if source is None:
        return None
    spoken: dict[str, list[Utterance]] = {}
    trained = 0
    for found in (texts, held_out):
        utterances = (row for corpora in found.values() for corpus in corpora for row in corpus.utterances)
        for row in sorted((row for row in utterances if row.speaker), key=lambda row: str(row.speaker)):
            spoken.setdefault(str(row.speaker), []).append(row)
        trained = trained or len(spoken)
    if not trained:
        raise DataError("data.embeddings: no utterance of data.train has a speaker (utt2spk)")
    return Told(tuple(spoken), trained, speaker_embeddings(source, spoken))


def build(run: Run, num_units: int, vocabulary: Vocabulary, told: Told | None) -> text_to_units.Objective:
    """The objective, drawn from the run's seed."""
    following = {"num_labels": len(vocabulary), "num_units": num_units, "num_languages": len(run.data.train),
                 "num_speakers": 0 if told is None else len(told.names),
                 "speaker_inputs": 0 if told is None else told.voices.shape[1]}  # fmt: skip
    if fixed := sorted(set(following) & set(run.settings)):
        raise ConfigError(f"settings.{fixed[0]} follows from the data: leave it out")
    torch.manual_seed(run.seed)
    objective = text_to_units.Objective(nn.Identity(),
                                        config.build(text_to_units.Config, {**run.settings, **following}))  # fmt: skip
    if told is not None:
        objective.voices.copy_(told.voices)
    return objective


def finish(
    run: Run, trained: text_to_units.Objective, vocabulary: Vocabulary, unit_model: str | None, told: Told | None,
    facts: dict[str, Any],
) -> TextToUnits:  # fmt: skip
    """The model of a trained objective."""
    output = Output("units", run.data.reduced, float(run.data.rate_hz), unit_model)
    name = f"text to units, {facts['update']} updates, seed {run.seed}"
    if told is None:
        return TextToUnits(trained.model, vocabulary, tuple(run.data.train), output, name=name, training=facts)
    speakers = Speakers(told.names[: told.trained], NAME if run.data.embeddings == NAME else "")
    return TextToUnits(trained.model, vocabulary, tuple(run.data.train), output, speakers=speakers,
                       voices=told.voices[: told.trained].clone(), name=name, training=facts)  # fmt: skip


def open_data(
    run: Run, texts: Texts, units: Paths, vocabulary: Vocabulary, speakers: tuple[str, ...] | None, size: int | None
) -> UnitSet:
    """Texts with their units."""
    batching, rate = run.data.batching, run.data.rate_hz
    if run.decoder.checkpoint is not None:
        places = decoders.read_card(Path(run.decoder.checkpoint)).decoder.max_positions
    else:
        places = config.build(DecoderShape, run.settings.get("decoder", {})).max_positions
    most, least = (int(seconds * rate + 1e-6) for seconds in (batching.crop_s, batching.min_s))
    return open_text_units(
        texts, {language: [Path(path) for path in paths] for language, paths in units.items()}, vocabulary.encode,
        most=min(places - 1, most), least=max(1, least), reduced=run.data.reduced, size=size, rate_hz=rate,
        names=tuple(run.data.train), speakers=speakers,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

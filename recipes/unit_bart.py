"""Denoising pre-training over discrete units of one or more languages (unit mBART): what translators begin with.

    python -m recipes.unit_bart recipes/conf/unit_bart.toml 'data.train={es=["exp/units-es"],fr=["exp/units-fr"]}'
    python -m recipes.unit_bart recipes/conf/tiny_unit_bart.toml 'data.train={fr=["exp/units"]}' run=exp/unit_bart
    python -m recipes.seq2seq recipes/conf/tiny_s2ut.toml 'decoder={checkpoint="exp/unit_bart/decoder"}' ...
    python -m recipes.unit_translation recipes/conf/tiny_unit_translation.toml start=exp/unit_bart/model ...

data.train and data.valid give each language's units: output folders of `speechssl units` (text) or files with a line
`id 17 4 ...` each, all of one unit model. Longer utterances than data.batching.crop_s (in units over data.rate_hz) and
settings.decoder.max_positions are cut into pieces. Goes on from the newest checkpoint in the run's folder where there
is one, bit for bit on a CPU. Writes into it: config.toml, log.jsonl, left_out.tsv, checkpoints/, best/ (the least `nll`
of the validation), decoder/ and model/, all of it (of the best), and result.json. Exit code: 0 trained to the end, 2
stopped early or refused.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recipes.ctc import tell
from recipes.shared import (
    Common,
    best_state,
    count,
    held_out_units,
    run_recipe,
    run_trainer,
    start_folder,
    unit_batches,
    write_result,
)
from speechssl import config
from speechssl.data.batch_plan import Batching
from speechssl.data.unit_batches import UnitSet
from speechssl.data.unit_corpus import open_unit_corpus
from speechssl.decoders import transformer
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.errors import ConfigError, DataError
from speechssl.generation import decoder
from speechssl.generation.decoder import DecoderCard
from speechssl.generation.model import Output
from speechssl.generation.unit_translator import UnitTranslator
from speechssl.objectives import unit_bart
from speechssl.training.distributed import Group


@dataclass(frozen=True)
class Data:
    """What to train on."""

    train: dict[str, tuple[str, ...]]  # a language's folders or files of units
    valid: dict[str, tuple[str, ...]] = field(default_factory=dict)
    num_units: int | None = None  # V, where they are files that do not say it
    reduced: bool = True  # runs of one unit are merged
    rate_hz: int = 50  # units to a second of `batching`
    batching: Batching = field(default_factory=lambda: Batching(seconds=64.0, crop_s=10.24, min_s=0.04, balance=0.7))


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    run: str = "exp/unit_bart"  # the run's folder
    settings: dict[str, Any] = field(default_factory=dict)  # of objectives.unit_bart, but what follows from the data


@dataclass(frozen=True)
class Kept:
    """A pre-training that has ended."""

    run: Any
    objective: Any  # the best
    data: UnitSet
    valid: UnitSet | None
    card: DecoderCard  # of its decoder


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    return pretrain(run, group, "unit_bart", "unit BART", build, lambda objective: objective.model.decoder, keep)


def pretrain(
    run: Any, group: Group, recipe: str, name: str, build: Callable[[Any, int], Any],
    decoder_of: Callable[[Any], transformer.Model], keep: Callable[[Kept], dict[str, Any]],
) -> int:  # fmt: skip
    """Train what `build` makes of a run and V, keep its decoder, and whatever `keep` does with it.

    keep gives figures for result.json.
    """
    folder = Path(run.run)
    data = open_data(run, run.data.train, run.data.num_units)
    (size,) = data.sizes
    valid = open_data(run, run.data.valid, size) if run.data.valid else None
    if valid is not None and None not in (*valid.models, *data.models) and valid.models != data.models:
        raise DataError("data.valid has units of another unit model than data.train")
    objective = build(run, size)  # before the folder: what cannot be built leaves nothing behind
    log = start_folder(run, folder, group)
    tell(data, "train", folder, log, group)
    if valid is not None:
        tell(valid, "valid", folder, log, group)
    log.line(f"{recipe}: {count(objective) / 1e6:.2f} M parameters, {count(decoder_of(objective)) / 1e6:.2f} M of "
             f"them in the decoder, {size} units, languages {', '.join(run.data.train)}")  # fmt: skip

    batches, valid_batches = unit_batches(run, data, group), held_out_units(run, valid, group)
    ended = run_trainer(run, objective, batches, valid_batches, group=group, folder=folder, log=log,
                        failures=data.failures, best="nll")  # fmt: skip
    if ended is None:
        return 2
    trainer, result = ended
    state, result = best_state(trainer, objective, folder, result)
    if group.first:
        facts = {"recipe": f"recipes.{recipe}", "seed": run.seed, "units": sum(map(len, data.units)),
                 "utterances": len(data.units), **result}  # fmt: skip
        trained = build(run, size)
        trained.load_state_dict(state)
        saved, name = decoder_of(trained), f"{name}, {trainer.update} updates, seed {run.seed}"
        card = DecoderCard(name, saved.config, saved.memory_dim, run.data.reduced, data.models[0],
                           tuple(run.data.train), facts)  # fmt: skip
        decoder.save(folder / "decoder", saved, card)
        result |= keep(Kept(run, trained, data, valid, card))
        write_result(folder, result, log, f"decoder in {folder / 'decoder'}")
    return 0


def keep(kept: Kept) -> dict[str, Any]:
    """All of the model, for `recipes.unit_translation`."""
    card, data = kept.card, kept.run.data
    output = Output("units", card.reduced, float(data.rate_hz), card.unit_model)
    UnitTranslator(kept.objective.model, card.languages, output, name=card.name,
                   training=card.training).save(Path(kept.run.run) / "model")  # fmt: skip
    return {}


def build(run: Run, num_units: int) -> unit_bart.Objective:
    """The objective, drawn from the run's seed."""
    if fixed := sorted({"num_labels", "num_languages"} & set(run.settings)):
        raise ConfigError(f"settings.{fixed[0]} follows from the data: leave it out")
    torch.manual_seed(run.seed)
    values = {**run.settings, "num_labels": num_units, "num_languages": len(run.data.train)}
    return unit_bart.Objective(nn.Identity(), config.build(unit_bart.Config, values))


def open_data(run: Any, languages: dict[str, tuple[str, ...]], size: int | None) -> UnitSet:
    """Units of each language, in pieces that fit."""
    data = run.data
    if not languages:
        raise ConfigError('data.train names no language: data.train={es=["exp/units-es"]}')
    places = config.build(DecoderShape, run.settings.get("decoder", {})).max_positions - 1  # and the end
    most, least = (int(seconds * data.rate_hz + 1e-6) for seconds in (data.batching.crop_s, data.batching.min_s))
    return open_unit_corpus(
        {language: [Path(path) for path in paths] for language, paths in languages.items()},
        most=min(places, most), least=max(1, least), reduced=data.reduced, size=size, rate_hz=data.rate_hz,
        names=tuple(data.train),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

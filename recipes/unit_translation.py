"""Textless translation between languages, all directions in one model, with pairs and without (arXiv:2305.15405).

    python -m recipes.unit_bart recipes/conf/tiny_unit_bart.toml 'data.train={es=["units-es"],fr=["units-fr"]}'
    python -m recipes.unit_translation recipes/conf/tiny_unit_translation.toml start=exp/tiny_unit_bart/model \
        'data.train={es=["units-es"],fr=["units-fr"]}' 'data.valid={es=["valid-es"],fr=["valid-fr"]}' run=exp/unit
    python -m recipes.unit_translation recipes/conf/tiny_unit_translation.toml start=exp/unit/model run=exp/unit-bt \
        'data.train=…' 'data.valid=…' 'data.monolingual={es=["more-es"],fr=["more-fr"]}' data.back_share=0.5

The three steps of the paper: pre-train on units of every language, fine-tune on pairs, go on with back-translation, of
which pairs may keep a share (1 - data.back_share of the batches). data.train and data.valid give each language's units:
output folders of `speechssl units` (text) or files with a line `id 17 4 ...` each, all of one unit model; the first
ones of all languages are parallel, joined by id, so are the second ones, and so on. data.monolingual needs no partners.
start: a folder model/ of recipes.unit_bart or of this one, whose shape and languages become the model's.

Goes on from the newest checkpoint in the run's folder where there is one, bit for bit on a CPU. Writes into it:
config.toml, log.jsonl (made, empty, runaway: sequences of back-translation, and those of them left out), left_out.tsv,
checkpoints/, best/ (the least `nll` of the validation), model/ (of the best), hypotheses.tsv (search of the validation
set) and result.json. Exit code: 0 trained to the end, 2 stopped early or refused.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recipes.ctc import tell
from recipes.shared import Common, best_state, count, run_recipe, run_trainer, search_units, start_folder, write_result
from speechssl import config
from speechssl.data.batch_plan import Batching
from speechssl.data.mixed_batches import MixedBatches
from speechssl.data.unit_batches import UnitBatches, UnitSet
from speechssl.data.unit_corpus import open_unit_corpus, open_unit_pairs
from speechssl.decoders.search import Search
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.errors import ConfigError, DataError
from speechssl.generation.model import Output
from speechssl.generation.unit_translator import UnitTranslator
from speechssl.objectives import unit_translation
from speechssl.training.distributed import Group


@dataclass(frozen=True)
class Data:
    """What to train on."""

    train: dict[str, tuple[str, ...]]  # a language's folders or files of units, parallel to those of the others
    valid: dict[str, tuple[str, ...]] = field(default_factory=dict)
    monolingual: dict[str, tuple[str, ...]] = field(default_factory=dict)  # without translations
    back_share: float = 0.5  # of batches that are monolingual, where there are some
    num_units: int | None = None  # V, where they are files that do not say it
    reduced: bool = True  # runs of one unit are merged
    rate_hz: int = 50  # units to a second of `batching`
    batching: Batching = field(default_factory=lambda: Batching(seconds=64.0, crop_s=10.24, min_s=0.04))


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    start: str | None = None  # a folder model/ that recipes.unit_bart or recipes.unit_translation wrote
    run: str = "exp/unit_translation"  # the run's folder
    settings: dict[str, Any] = field(default_factory=dict)  # of objectives.unit_translation, but what the data decide
    search: Search = field(default_factory=lambda: Search(beam=5, max_per_frame=2.0, max_tokens=20))  # of validation


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    folder = Path(run.run)
    known = None if run.start is None else UnitTranslator.load(run.start)
    languages = tuple(run.data.train) if known is None else known.languages
    if known is not None:
        run = begin_with(run, known)
    if run.data.monolingual and run.training.shard:
        raise ConfigError("back-translation searches with a whole model: leave training.shard or data.monolingual out")
    data = open_pairs(run, run.data.train, languages, run.data.num_units)
    (size,) = data.sizes
    valid = open_pairs(run, run.data.valid, languages, size) if run.data.valid else None
    alone = open_monolingual(run, languages, size) if run.data.monolingual else None
    models = {one.models[0] for one in (data, valid, alone) if one is not None} - {None}
    if known is not None:
        check(known, data, run)
        models |= {known.output.unit_model} - {None}
    if len(models) > 1:
        raise DataError(f"units of {len(models)} unit models: pairs, monolingual units and start must be of one")
    objective = build(run, size, len(languages))  # before the folder: what cannot be built leaves nothing behind
    if known is not None:
        objective.model.load_state_dict(known.model.state_dict())
    batches, valid_batches = make_batches(run, group, data, valid, alone)
    log = start_folder(run, folder, group)
    for kind, one in (("train", data), ("valid", valid), ("monolingual", alone)):
        if one is not None:
            tell(one, kind, folder, log, group)
    share = run.data.back_share if alone else 0
    log.line(f"unit_translation: {count(objective) / 1e6:.2f} M parameters, {size} units, languages "
             f"{', '.join(languages)}, {share:.0%} of batches translated back")  # fmt: skip

    failures = [*data.failures, *(alone.failures if alone else ())]
    ended = run_trainer(run, objective, batches, valid_batches, group=group, folder=folder, log=log, failures=failures,
                        best="nll", validate_first=known is not None)  # fmt: skip
    if ended is None:
        return 2
    trainer, result = ended
    state, result = best_state(trainer, objective, folder, result)
    if group.first:
        facts = {"recipe": "recipes.unit_translation", "seed": run.seed, "pairs": len(data.units) // 2,
                 "start": None if known is None else known.sha256, **result}  # fmt: skip
        trained = build(run, size, len(languages))
        trained.load_state_dict(state)
        output = Output("units", run.data.reduced, float(run.data.rate_hz), next(iter(models), None))
        name = f"unit translation, {trainer.update} updates, seed {run.seed}"
        translator = UnitTranslator(trained.model, languages, output, targets=tuple(run.data.train), name=name,
                                    training=facts)  # fmt: skip
        translator.save(folder / "model")
        if valid is not None:
            whole = UnitBatches(valid, run.data.batching, run.seed)
            result |= search_units(translator.to(group.device).model, whole, run.search, folder / "hypotheses.tsv")
        write_result(folder, result, log, f"model in {folder / 'model'}")
    return 0


def begin_with(run: Run, known: UnitTranslator) -> Run:
    """The run with the shape of what it begins with. ConfigError where settings say another."""
    shape = {name: config.to_dict(getattr(known.model.config, name)) for name in ("adaptor", "decoder")}
    asked = {name: {**values, **run.settings.get(name, {})} for name, values in shape.items()}
    given = config.build(unit_translation.Config, {"num_labels": 1, **asked})
    if changed := config.differences({name: config.to_dict(getattr(given, name)) for name in shape}, shape):
        raise ConfigError(f"settings.{changed[0]} is not that of {run.start}: leave settings.adaptor and "
                          "settings.decoder out")  # fmt: skip
    return replace(run, settings={**run.settings, **shape})


def check(known: UnitTranslator, data: UnitSet, run: Run) -> None:
    """ConfigError where units are not those of what the run begins with."""
    if (data.sizes[0], run.data.reduced) != (known.num_symbols, known.output.reduced):
        raise ConfigError(f"{run.start} knows {known.num_symbols} units, {'' if known.output.reduced else 'not '}"
                          "reduced: data.train has others")  # fmt: skip


def build(run: Run, num_units: int, num_languages: int) -> unit_translation.Objective:
    """The objective, drawn from the run's seed."""
    if fixed := sorted({"num_labels", "num_languages"} & set(run.settings)):
        raise ConfigError(f"settings.{fixed[0]} follows from the data: leave it out")
    if "back" in run.settings and not run.data.monolingual:
        raise ConfigError("settings.back has no effect without data.monolingual")
    torch.manual_seed(run.seed)
    values = {**run.settings, "num_labels": num_units, "num_languages": num_languages}
    if run.data.monolingual:
        values = {"back": {}, **values}
    return unit_translation.Objective(nn.Identity(), config.build(unit_translation.Config, values))


def make_batches(
    run: Run, group: Group, data: UnitSet, valid: UnitSet | None, alone: UnitSet | None
) -> tuple[UnitBatches | MixedBatches, UnitBatches | None]:
    """Batches of training, of pairs and of what is alone in turns, and of validation."""
    mine = (group.rank, group.world)
    valid_batches = None if valid is None else UnitBatches(valid, run.data.batching, run.seed, *mine)
    if alone is None:
        return UnitBatches(data, run.data.batching, run.seed, *mine, run.training.accumulate), valid_batches
    pairs, others = (UnitBatches(one, run.data.batching, run.seed) for one in (data, alone))
    return MixedBatches(pairs, others, run.data.back_share, *mine), valid_batches


def open_pairs(run: Run, units: dict[str, tuple[str, ...]], names: tuple[str, ...], size: int | None) -> UnitSet:
    """Pairs in all directions."""
    most, least = _bounds(run)
    return open_unit_pairs(_paths(units), most=most, least=least, reduced=run.data.reduced, size=size,
                           rate_hz=run.data.rate_hz, names=names)  # fmt: skip


def open_monolingual(run: Run, names: tuple[str, ...], size: int) -> UnitSet:
    """Units without translations, in pieces so short that what is made of them fits the decoder."""
    most, least = _bounds(run)
    back = config.build(unit_translation.Back, run.settings.get("back", {}))
    longest = back.longest(_places(run))
    if longest < least:
        raise ConfigError(f"a decoder of {_places(run)} places cannot make {back.max_more} units and "
                          f"{back.max_per_unit:g} for each unit: lower settings.back.max_more")  # fmt: skip
    return open_unit_corpus(_paths(run.data.monolingual), most=min(most, longest), least=least,
                            reduced=run.data.reduced, size=size, rate_hz=run.data.rate_hz, names=names)  # fmt: skip


def _bounds(run: Run) -> tuple[int, int]:
    """Most and least units of an utterance."""
    batching = run.data.batching
    most, least = (int(seconds * run.data.rate_hz + 1e-6) for seconds in (batching.crop_s, batching.min_s))
    return min(_places(run) - 1, most), max(1, least)  # and the end


def _places(run: Run) -> int:
    return config.build(DecoderShape, run.settings.get("decoder", {})).max_positions


def _paths(units: dict[str, tuple[str, ...]]) -> dict[str, list[Path]]:
    return {language: [Path(path) for path in paths] for language, paths in units.items()}


if __name__ == "__main__":
    sys.exit(main())

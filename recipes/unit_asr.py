"""Recognition of discrete units with CTC: units and texts in, a recogniser of units out. No audio is read.

    python -m recipes.unit_asr recipes/conf/unit_asr.toml data.train=data/train 'data.units=["exp/units"]' ...
    python -m recipes.unit_asr recipes/conf/tiny_unit_asr.toml data.train=data/train 'data.units=["exp/units"]' \\
        data.valid=data/dev 'data.valid_units=["exp/dev-units"]'

data.train and data.valid give utterances and their texts (a Kaldi data dir, a manifest), data.units one output folder
of `speechssl units` (text, not merged) or file for each stream. With settings.context={before=1, after=1} it looks at
the units of neighbours too, in the order of data.sessions (lines `session utterance utterance …`). With
start=RECOGNIZER it begins with the weights of another one, which may have been without a context. Goes on from the
newest checkpoint in the run's folder where there is one, bit for bit on a CPU. Writes into it: config.toml, log.jsonl,
left_out.tsv, checkpoints/, best/ (by the validation's token error rate), recognizer/ (of the best) and result.json.
Exit code: 0 trained to the end, 2 stopped early or refused.
"""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recipes.ctc import Symbols, make_vocabulary, tell
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
from speechssl.data.context import Context, read_sessions
from speechssl.data.corpus import open_corpus
from speechssl.data.unit_batches import UnitSet, open_units
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.errors import ConfigError
from speechssl.objectives import unit_ctc
from speechssl.recognition.units import UnitRecognizer
from speechssl.training.distributed import Group


@dataclass(frozen=True)
class Data:
    """What to train on."""

    train: str
    units: tuple[str, ...]  # of each stream
    valid: str | None = None
    valid_units: tuple[str, ...] = ()  # empty: as units
    rate_hz: int = 50  # of files that do not say it
    sessions: str | None = None  # which utterances follow each other, for settings.context; None: the corpus' segments
    valid_sessions: str | None = None  # None: as sessions
    batching: Batching = field(default_factory=lambda: Batching(seconds=200.0, crop_s=40.0, min_s=0.1))


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    run: str = "exp/unit_asr"  # the run's folder
    start: str | None = None  # a recogniser of the same units and symbols, whose weights it begins with
    vocabulary: Symbols = field(default_factory=Symbols)
    settings: dict[str, Any] = field(default_factory=dict)  # of objectives.unit_ctc, but what follows from the data


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    folder = Path(run.run)
    vocabulary = make_vocabulary(run)
    data = open_data(run, run.data.train, run.data.units, vocabulary, sessions=run.data.sessions)
    objective = build(run, data.sizes, vocabulary)  # before the folder: what cannot be built leaves nothing behind
    if run.start is not None:
        start_from(UnitRecognizer.load(run.start), objective, data, vocabulary)
    log = start_folder(run, folder, group)
    tell(data, "train", folder, log, group)
    valid = None
    if run.data.valid is not None:
        valid = open_data(run, run.data.valid, run.data.valid_units or run.data.units, vocabulary, data.sizes,
                          sessions=run.data.valid_sessions or run.data.sessions)  # fmt: skip
        tell(valid, "valid", folder, log, group)
    log.line(f"unit_asr: {count(objective) / 1e6:.2f} M parameters, streams of {list(data.sizes)} units at "
             f"{data.rate_hz} Hz, {data.rate_hz * sum(map(math.log2, data.sizes)):.0f} bit/s, "
             f"{len(vocabulary)} symbols")  # fmt: skip

    batches, valid_batches = unit_batches(run, data, group), held_out_units(run, valid, group)
    ended = run_trainer(run, objective, batches, valid_batches, group=group, folder=folder, log=log,
                        failures=data.failures, best="token_error_rate")  # fmt: skip
    if ended is None:
        return 2
    trainer, result = ended
    state, result = best_state(trainer, objective, folder, result)
    if group.first:
        facts = {"recipe": "recipes.unit_asr", "seed": run.seed, "hours": round(data.hours, 4), "train": run.data.train,
                 "utterances": int((data.seconds > 0).sum()), **result}  # fmt: skip
        trained = build(run, data.sizes, vocabulary)
        trained.load_state_dict(state)
        name = f"CTC of units, {trainer.update} updates, seed {run.seed}"
        recognizer = UnitRecognizer(trained.model, vocabulary, rate_hz=data.rate_hz, unit_models=data.models, name=name,
                                    training=facts)  # fmt: skip
        recognizer.save(folder / "recognizer")
        write_result(folder, result, log, f"recognizer in {folder / 'recognizer'}")
    return 0


def build(run: Run, sizes: tuple[int, ...], vocabulary: Vocabulary) -> unit_ctc.Objective:
    """The objective, drawn from the run's seed."""
    if fixed := sorted({"num_labels", "more_streams", "num_symbols", "blank"} & set(run.settings)):
        raise ConfigError(f"settings.{fixed[0]} follows from the data: leave it out")
    torch.manual_seed(run.seed)
    values = {**run.settings, "num_labels": sizes[0], "more_streams": list(sizes[1:]), "num_symbols": len(vocabulary),
              "blank": vocabulary.blank}  # fmt: skip
    return unit_ctc.Objective(nn.Identity(), config.build(unit_ctc.Config, values))


def start_from(known: UnitRecognizer, objective: unit_ctc.Objective, data: UnitSet, vocabulary: Vocabulary) -> None:
    """The weights of a recogniser; vectors of a context that it lacks stay zero. ConfigError where it does not fit."""
    if known.vocabulary != vocabulary or known.card.unit_models != tuple(data.models):
        raise ConfigError("start: that recogniser is of other symbols or of other units")
    tensors = known.model.state_dict()
    own = {name: tensor.shape for name, tensor in objective.model.state_dict().items() if name != "sides"}
    if own != {name: tensor.shape for name, tensor in tensors.items() if name != "sides"}:
        raise ConfigError("start: that recogniser has other settings (embedding, adaptor) than these")
    objective.model.load_state_dict(tensors, strict=False)


def open_data(
    run: Run, spec: str, streams: tuple[str, ...], vocabulary: Vocabulary, sizes: tuple[int, ...] | None = None, *,
    sessions: str | None = None,
) -> UnitSet:  # fmt: skip
    """Utterances with units and texts."""
    adaptor = config.build(unit_ctc.AdaptorConfig, {"strides": [], **run.settings.get("adaptor", {})})
    values = run.settings.get("context")
    context = None if values is None else config.build(Context, values)
    if context is None and sessions is not None:
        raise ConfigError("data.sessions has no effect without settings.context, such as {before=1, after=1}")
    order = None if sessions is None else read_sessions(Path(sessions))
    return open_units(open_corpus(spec), [Path(stream) for stream in streams], vocabulary.encode, sizes=sizes,
                      longest_s=run.data.batching.crop_s, rate_hz=run.data.rate_hz, factor=math.prod(adaptor.strides),
                      context=context, sessions=order)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

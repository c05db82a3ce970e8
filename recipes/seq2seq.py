"""Training of sequence-to-sequence models: speech to units of other speech, or to text, with attention.

    python -m recipes.seq2seq recipes/conf/s2ut.toml data.train=es data.targets=exp/units-en data.valid=es-dev ...
    python -m recipes.seq2seq recipes/conf/aed_asr.toml data.train=data/train data.valid=data/dev
    python -m recipes.seq2seq recipes/conf/tiny_s2ut.toml data.train=es data.targets=units-fr data.valid=es-dev
    python -m recipes.seq2seq recipes/conf/tiny_s2ut.toml 'decoder={checkpoint="exp/unit_bart/decoder"}' ...

Takes TOML files, of which the later win, and key=value overrides. Targets are joined to the speech by utterance id:
data.targets is an output folder of `speechssl units` or a file with a line `id 17 4 ...` each; without it they are the
corpus' texts. `tasks` in the settings are auxiliary; data.tasks names their texts (`task=FILE` with a line `id text`
each, or "source": the corpus' own), whose characters are their symbols. decoder.checkpoint is what `recipes.unit_bart`
or `recipes.unit_lm` trained; settings.trained says what of a pretrained encoder and decoder goes on learning.
data.reduced=false with settings.decoder.stack=N: units of all frames, N of them in one step
(recipes/conf/s2ut_stacked.toml).

Goes on from the newest checkpoint in the run's folder where there is one, bit for bit on a CPU. Writes into it:
config.toml (everything resolved), log.jsonl, left_out.tsv, checkpoints/, best/ (the least `nll` of the validation),
model/ (of the best) and encoder/ (the model's own, for other recipes to go on from), hypotheses.tsv (beam search of the
validation set) and result.json. Exit code: 0 trained to the end, 2 stopped early or refused.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recipes.ctc import Symbols, make_vocabulary, size, tell
from recipes.shared import (
    Common,
    Start,
    begin_decoder,
    best_state,
    count,
    held_out_batches,
    make_encoder,
    run_recipe,
    run_trainer,
    speech_batches,
    start_folder,
    write_hypotheses,
    write_result,
)
from speechssl import config, encoders
from speechssl.data.batch import Batch
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.sequences import UnitTargets, read_texts, read_units, with_targets, with_task
from speechssl.data.training_set import Batches, Lengths, TrainingSet, open_training_set
from speechssl.decoders import transformer
from speechssl.decoders import vocabulary as vocabularies
from speechssl.decoders.search import Hypothesis, Search
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import ConfigError
from speechssl.generation import decoder as decoders
from speechssl.generation.model import Output, Seq2Seq, search_states
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import seq2seq
from speechssl.training.distributed import Group


@dataclass(frozen=True)
class Data:
    """What to train on: anything that `speechssl units` takes as its input."""

    train: str
    valid: str | None = None
    targets: str | None = None  # units of all utterances; None: the corpus' texts
    valid_targets: str | None = None  # None: as targets
    num_units: int | None = None  # V, where the targets are a file that does not say it
    reduced: bool = True  # runs of one unit are merged
    tasks: dict[str, str] = field(default_factory=dict)  # texts of auxiliary tasks by name; "source": the corpus' own
    valid_tasks: dict[str, str] = field(default_factory=dict)  # where they are in other files
    lengths: Lengths = "headers"  # "stated": those of utt2dur, segments or a manifest; no header is read beforehand
    batching: Batching = field(default_factory=lambda: Batching(seconds=200.0, crop_s=40.0, min_s=0.1))


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    encoder: dict[str, Any]  # family, preset and values of its Config; or checkpoint = anything load_encoder reads
    decoder: Start = field(default_factory=Start)
    run: str = "exp/seq2seq"  # the run's folder
    vocabulary: Symbols = field(default_factory=Symbols)  # for texts
    settings: dict[str, Any] = field(default_factory=dict)  # of objectives.seq2seq, but num_symbols and blank
    search: Search = field(default_factory=lambda: Search(beam=10, max_per_frame=1.0, max_tokens=200))
    search_ctc_weight: float = 0.0  # of the CTC head in the search
    normalize: bool | None = None  # waveforms to zero mean and unit variance; None: as the checkpoint, a fresh one not
    dropout: Dropout = field(default_factory=Dropout)  # of the encoder


@dataclass(frozen=True)
class Targets:
    """What is to be said: units, or symbols of a vocabulary; and symbols of auxiliary tasks."""

    units: UnitTargets | None
    vocabulary: Vocabulary | None
    tasks: dict[str, Vocabulary]

    @property
    def num_symbols(self) -> int:
        """V."""
        if self.units is not None:
            return self.units.size
        assert self.vocabulary is not None
        return len(self.vocabulary)

    @property
    def output(self) -> Output:
        """For the model's card."""
        if self.units is None:
            return Output("text")
        return Output("units", self.units.reduced, self.units.rate_hz, self.units.model_sha256)


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    folder = Path(run.run)
    targets = make_targets(run)
    start = None
    if run.decoder.checkpoint is not None:
        run, start = begin_with(run, Path(run.decoder.checkpoint), targets)
    encoder, card = make_encoder(run.encoder, normalize=run.normalize, seed=run.seed, purpose="seq2seq")
    objective = build(run, encoder, targets)  # before the folder: what cannot be built leaves nothing behind
    if start is not None:
        decoders.begin(objective.model.decoder, start)
    log = start_folder(run, folder, group)

    data = open_data(run, targets, encoder, card, training=True)
    tell(data, "train", folder, log, group)
    valid = None
    if run.data.valid is not None:
        valid = open_data(run, targets, encoder, card, training=False)
        tell(valid, "valid", folder, log, group)
    log.line(f"seq2seq: {count(encoder) / 1e6:.2f} M parameters in training of {size(encoder) / 1e6:.2f} M in the "
             f"encoder, {count(objective.model) / 1e6:.2f} M behind it, {targets.num_symbols} symbols")  # fmt: skip

    batches = speech_batches(run, data, encoder.conv.hop, group)
    valid_batches = held_out_batches(run, valid, encoder.conv.hop, group)
    ended = run_trainer(run, objective, batches, valid_batches, group=group, folder=folder, log=log,
                        failures=data.failures, best="nll")  # fmt: skip
    if ended is None:
        return 2
    trainer, result = ended
    state, result = best_state(trainer, objective, folder, result)
    if group.first:
        facts = {"recipe": "recipes.seq2seq", "seed": run.seed, "hours": round(data.hours, 4), "train": run.data.train,
                 "utterances": int((data.seconds > 0).sum()), **result}  # fmt: skip
        model = finish(run, card, encoder.config, targets, state, facts)
        model.save(folder / "model")
        pretrained.save(folder / "encoder", Pretrained(model.parts.encoder, model.encoder_card))
        if valid is not None:
            whole = Batches(valid, run.data.batching, run.seed, encoder.conv.hop)
            result |= evaluate(model.to(group.device), whole, run, folder / "hypotheses.tsv")
        write_result(folder, result, log, f"model in {folder / 'model'}")
    return 0


def make_targets(run: Run) -> Targets:
    """What is to be said, as far as it does not depend on the utterance."""
    tasks = {}
    for name, source in run.data.tasks.items():
        texts = _task_texts(run.data.train, source)
        tasks[name] = vocabularies.of_characters(texts)
    if run.data.targets is None:
        return Targets(None, make_vocabulary(run), tasks)
    return Targets(read_units(Path(run.data.targets), reduced=run.data.reduced, size=run.data.num_units), None, tasks)


def _task_texts(corpus: str, source: str) -> list[str]:
    if source == "source":
        return [utterance.text for utterance in open_corpus(corpus).utterances if utterance.text]
    found, _ = read_texts(Path(source), lambda text: list(text.encode()))
    return [bytes(values.tolist()).decode() for values in found.values()]


def begin_with(run: Run, folder: Path, targets: Targets) -> tuple[Run, transformer.Model]:
    """A pretrained decoder, and the run with its shape. ConfigError where it does not fit the units or the adaptor."""
    units = targets.units
    said = None if units is None else (units.size, units.reduced, units.model_sha256)
    settings, found = begin_decoder(run.settings, folder, said)
    return replace(run, settings=settings), found


def build(run: Run, encoder: nn.Module, targets: Targets) -> seq2seq.Objective:
    """The objective, what it adds drawn from the run's seed."""
    if not isinstance(encoder, SpeechEncoder):
        raise ConfigError("recipes.seq2seq takes encoders of the wav2vec 2.0 kind (hubert, wavlm, melhubert, tdnn …)")
    if fixed := sorted({"num_symbols", "blank"} & set(run.settings)):
        raise ConfigError(f"settings.{fixed[0]} follows from the targets: leave it out")
    values = dict(run.settings)
    tasks = [dict(task) for task in values.get("tasks", [])]
    if {task.get("name") for task in tasks} != set(targets.tasks):
        raise ConfigError(f"settings.tasks are {sorted(str(task.get('name')) for task in tasks)}, data.tasks "
                          f"{sorted(targets.tasks)}: each needs the other")  # fmt: skip
    values["tasks"] = [{**task, "num_symbols": len(targets.tasks[task["name"]])} for task in tasks]
    values["num_symbols"] = targets.num_symbols
    if targets.vocabulary is not None:
        values["blank"] = targets.vocabulary.blank
    torch.manual_seed(run.seed)
    objective = seq2seq.Objective(encoder, config.build(seq2seq.Config, values))
    set_dropout(encoder, run.dropout)
    return objective


def open_data(run: Run, targets: Targets, encoder: nn.Module, card: EncoderCard, *, training: bool) -> TrainingSet:
    """A corpus ready for training this encoder."""
    spec = run.data.train if training else run.data.valid
    assert spec is not None
    data = open_training_set(open_corpus(spec), sample_rate=encoder.sample_rate, normalize=card.normalize,
                             lengths=run.data.lengths)  # fmt: skip
    refused: list[tuple[str, str]] = []
    if targets.vocabulary is not None:
        found, refused = read_texts(data.corpus, targets.vocabulary.encode)
        what = "text"
    else:
        units = targets.units
        if not training and run.data.valid_targets is not None:
            units = read_units(Path(run.data.valid_targets), reduced=run.data.reduced, size=targets.num_symbols)
        assert units is not None
        found, what = dict(units.of), "target"
    shape = config.build(seq2seq.DecoderShape, run.settings.get("decoder", {}))
    most = shape.max_positions * shape.stack - 1  # and the end
    data = with_targets(data, found, most=most, longest_s=run.data.batching.crop_s, what=what, refused=refused)
    for name, vocabulary in targets.tasks.items():
        source = run.data.tasks[name] if training else run.data.valid_tasks.get(name, run.data.tasks[name])
        texts, _ = read_texts(data.corpus if source == "source" else Path(source), vocabulary.encode)
        data = with_task(data, name, texts)
    return data


def finish(
    run: Run, card: EncoderCard, encoder_config: Any, targets: Targets, state: dict[str, torch.Tensor],
    facts: dict[str, Any],
) -> Seq2Seq:  # fmt: skip
    """The model of a trained objective's tensors."""
    encoder = encoders.build(card.family, config.to_dict(encoder_config))
    objective = build(run, encoder, targets)
    objective.load_state_dict(state)
    name = f"{card.name.removesuffix(', trained further')}, seq2seq, {facts['update']} updates, seed {run.seed}"
    return Seq2Seq(encoder, card, objective.model, targets.output, layer=objective.config.layer,
                   vocabulary=targets.vocabulary, name=name, training=facts)  # fmt: skip


@torch.inference_mode()
def evaluate(model: Seq2Seq, batches: Batches, run: Run, path: Path) -> dict[str, float]:
    """Beam search of a set: symbols inserted, left out or replaced over all symbols; how many are right as a whole.

    Writes id, score and what was found of each utterance.
    """
    found = ((name, target, hypotheses) for batch in (loaded.batch for loaded in batches.once()) if batch is not None
             for name, target, hypotheses in _searched(model, batch.to(model.device), run))  # fmt: skip
    return write_hypotheses(found, path, model.spell)


def _searched(model: Seq2Seq, batch: Batch, run: Run) -> Iterable[tuple[str, np.ndarray, list[Hypothesis]]]:
    assert batch.targets is not None
    states, counts = model.encode(batch.wav, batch.lengths)
    found = search_states(model.parts.model, states, counts, run.search, ctc_weight=run.search_ctc_weight)
    return zip(batch.ids, batch.targets.cpu().numpy(), found, strict=True)


if __name__ == "__main__":
    sys.exit(main())

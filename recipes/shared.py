"""What training programs share: their arguments, folder, encoder or decoder to begin with, speakers, their end."""

import dataclasses
import json
import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from speechssl import config, convert, encoders
from speechssl.data.batch import Batch
from speechssl.data.batch_plan import Batching
from speechssl.data.speaker_embedding import NAME, SpeakerEmbedder
from speechssl.data.training_set import Batches, TrainingSet
from speechssl.data.unit_batches import UnitBatches, UnitSet
from speechssl.data.utterance import Utterance
from speechssl.decoders import transformer, unit_seq2seq
from speechssl.decoders.search import Hypothesis, Search
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.decoders.token_scorers import decode
from speechssl.encoders.pretrained import EncoderCard
from speechssl.errors import ConfigError, DataError, GaveUpError, SpeechSSLError
from speechssl.generation import decoder as decoders
from speechssl.metrics.edits import edit_distance
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.initialize import initialize
from speechssl.nn.lengths import valid_mask
from speechssl.training import best as kept
from speechssl.training.distributed import Group, joined
from speechssl.training.log import Log
from speechssl.training.loop import Trainer, Training
from speechssl.training.optimizer import Optimizer, Schedule
from speechssl.units.card import find as find_unit_model
from speechssl.units.voice_conversion import read_embedding

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every run with `run_trainer` has; `Run` of a recipe adds `run`, its folder, and what is its own."""

    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    training: Training = field(default_factory=Training)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 0  # of torch; 0: torch's own choice
    seed: int = 0


def run_recipe(
    cls: type[R], train: Callable[[R, Group], int], doc: str | None, arguments: list[str] | None = None
) -> int:
    """`train` a run of dataclass `cls` as the arguments say: TOML files, of which the later win, and key=value.

    Without arguments, or with --help, `doc` is printed. The exit code is that of `train`, 2 for what is refused, 3 for
    a training that gave up (training.give_up).
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(doc)
        return 0 if arguments else 2
    try:
        files = [Path(argument) for argument in arguments if "=" not in argument]
        run: Any = config.load(cls, files, [argument for argument in arguments if "=" in argument])
        with joined(run.device) as group:
            if isinstance(run, Common) and run.threads:
                torch.set_num_threads(run.threads)
            return train(run, group)
    except SpeechSSLError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3 if isinstance(error, GaveUpError) else 2


def start_folder(run: Any, folder: Path, group: Group) -> Log:
    """The run's folder with its resolved config. ConfigError where it belongs to a run with other settings."""
    resolved = config.to_toml(run)
    if group.first:
        folder.mkdir(parents=True, exist_ok=True)
        stored = folder / "config.toml"
        if stored.exists() and (folder / "checkpoints").is_dir():
            before = config.load(type(run), stored)  # what a file of an older version does not name has its default
            changed = config.differences(config.to_dict(before), config.to_dict(run))
            free = {"training.updates", "training.log_every", "training.save_every", "training.valid_every", "threads",
                    "training.keep", "training.workers", "training.tensorboard", "training.shard", "device",
                    "run", "training.give_up", "training.give_up.after", "training.give_up.above"}  # fmt: skip
            if fixed := sorted(set(changed) - free):
                raise ConfigError(f"{folder} holds a run with another {fixed[0]}: give the same, or another run=FOLDER")
        stored.write_text(resolved, encoding="utf-8")
    group.wait()
    return Log(folder, first=group.first, tensorboard=run.training.tensorboard)


def make_encoder(
    values: dict[str, Any], *, normalize: bool | None, seed: int, purpose: str
) -> tuple[nn.Module, EncoderCard]:
    """A fresh encoder of a family, or one to go on training: family, preset and values of its Config, or checkpoint.

    checkpoint: anything that load_encoder reads, or "default", the built-in encoder. normalize None: as the checkpoint
    was trained; a fresh one without.
    """
    values = dict(values)
    family, source = values.pop("family", None), values.pop("checkpoint", None)
    if (family is None) == (source is None):
        raise ConfigError("encoder: give family (and values of its Config) or checkpoint, one of them")
    if source is not None:
        if values:
            raise ConfigError(f"encoder: a checkpoint has its own {sorted(values)[0]}")
        loaded = convert.load_encoder(find_unit_model(source) / "encoder" if source == "default" else source)
        if normalize is not None and loaded.card.normalize != normalize:
            raise ConfigError(f"normalize={normalize}, but {source} was trained with {loaded.card.normalize}")
        return loaded.encoder.requires_grad_(True), dataclasses.replace(loaded.card, name=f"{source}, trained further")
    encoder = encoders.build(family, encoders.preset(family, values.pop("preset", None)) | values)
    initialize(encoder, torch.Generator().manual_seed(seed))
    return encoder, EncoderCard(family, config.to_dict(encoder.config), normalize=bool(normalize),
                                name=f"{purpose}, seed {seed}", source="speechssl")  # fmt: skip


@dataclass(frozen=True)
class Start:
    """What a decoder of units begins as."""

    checkpoint: str | None = None  # what recipes.unit_bart or recipes.unit_lm wrote; its shape: settings.decoder


def begin_decoder(
    settings: dict[str, Any], folder: Path, said: tuple[int, bool, str | None] | None
) -> tuple[dict[str, Any], transformer.Model]:
    """The settings with a pretrained decoder's shape, and the decoder, for `generation.decoder.begin`.

    said: the targets' V, whether they are reduced, the unit model's sha256; None: no units. ConfigError where the
    decoder does not fit them or the adaptor; a language model's has no adaptor that it must fit.
    """
    found, card = decoders.load(folder)
    if said is None or said[:2] != (card.decoder.num_symbols, card.reduced):
        raise ConfigError(f"{folder} says {card.decoder.num_symbols} units, {'' if card.reduced else 'not '}reduced: "
                          "the targets are others")  # fmt: skip
    if None not in (said[2], card.unit_model) and said[2] != card.unit_model:
        raise ConfigError(f"{folder} was trained on units of another unit model ({str(card.unit_model)[:12]}) than the "
                          f"targets are of ({str(said[2])[:12]})")  # fmt: skip
    shape = {name: value for name, value in config.to_dict(card.decoder).items() if name != "num_symbols"}
    given = config.to_dict(config.build(DecoderShape, settings.get("decoder", shape)))
    if changed := config.differences(given, shape):
        raise ConfigError(f"settings.decoder.{changed[0]} is not that of {folder}: leave settings.decoder out")
    dim = config.build(AdaptorConfig, settings.get("adaptor", {})).dim
    if card.memory_dim not in (0, dim):
        raise ConfigError(f"{folder} looks at {card.memory_dim} channels, settings.adaptor.dim={dim}: make them equal")
    return {**settings, "decoder": shape}, found


def speaker_embeddings(source: str, spoken: dict[str, list[Utterance]]) -> Tensor:
    """Embeddings [N, E] of speakers by name: "resemblyzer"'s of their recordings, or a folder's NAME.npy.

    ConfigError without the package; DataError for files that are missing, no numbers, or of several sizes.
    """
    if source == NAME:
        embedder = SpeakerEmbedder("data.embeddings")
        return torch.from_numpy(np.stack([embedder.voice(found) for found in spoken.values()]))
    try:
        found = [read_embedding(Path(source) / f"{name}.npy") for name in spoken]
    except OSError as error:
        raise DataError(f"{source}: every speaker needs an embedding, NAME.npy: {error}") from None
    if len({len(row) for row in found}) > 1:
        raise DataError(f"{source}: embeddings of {sorted({len(row) for row in found})} numbers")
    return torch.stack(found)


def speech_batches(run: Any, data: TrainingSet, hop: int, group: Group) -> Batches:
    """Batches of recordings to train on: this process's share. hop: the model's, in samples."""
    return Batches(data, run.data.batching, run.seed, hop, group.rank, group.world, run.training.workers,
                   run.training.accumulate)  # fmt: skip


def held_out_batches(run: Any, data: TrainingSet | None, hop: int, group: Group) -> Batches | None:
    """Batches of recordings for validation, in data.valid_batching where a run has it; None without recordings."""
    if data is None:
        return None
    batching = getattr(run.data, "valid_batching", run.data.batching)
    return Batches(data, batching, run.seed, hop, group.rank, group.world, 0, 0)


def unit_batches(run: Any, data: UnitSet, group: Group) -> UnitBatches:
    """Batches of units to train on: this process's share."""
    return UnitBatches(data, run.data.batching, run.seed, group.rank, group.world, run.training.accumulate)


def held_out_units(run: Any, data: UnitSet | None, group: Group) -> UnitBatches | None:
    """Batches of units for validation, every utterance once; None without units."""
    return None if data is None else UnitBatches(data, all_once(run.data.batching), run.seed, group.rank, group.world)


def first_batches(batches: Batches, count: int | None = 20) -> Iterator[Batch]:
    """Of one pass the first ones (None: all), but those that could not be read."""
    return (loaded.batch for loaded in islice(batches.once(), count) if loaded.batch is not None)


def measure_mels(module: nn.Module, batches: Batches, mels: Callable[[Batch], tuple[Tensor, Tensor]]) -> None:
    """Fill `mean` and `scale` [M] of a module with those of each mel bin over the first batches.

    mels: of a batch the mels [B, T, M], and how many frames [B] are real ones.
    """
    sums = torch.zeros(3, 1, dtype=torch.float64)
    for batch in first_batches(batches):
        found, counts = mels(batch)
        values = found.double()[valid_mask(counts, found.shape[1])]
        sums = sums + torch.stack([torch.full((found.shape[2],), float(len(values)), dtype=torch.float64),
                                   values.sum(0), values.square().sum(0)])  # fmt: skip
    mean, square = sums[1:] / sums[0].clamp_min(1)
    module.get_buffer("mean").copy_(mean)
    module.get_buffer("scale").copy_((square - mean.square()).clamp_min(1e-4).sqrt())


def all_once(batching: Batching) -> Batching:
    """The same with every utterance once, whatever its language: for validation."""
    return dataclasses.replace(batching, balance=1.0)


def count(model: nn.Module) -> int:
    """Parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def run_trainer(
    run: Any, objective: nn.Module, batches: Any, valid: Any = None, *, group: Group, folder: Path, log: Log,
    failures: Iterable[tuple[str, str]], best: str | None = None, validate_first: bool = False,
) -> tuple[Trainer, dict[str, Any]] | None:  # fmt: skip
    """Train as `run` says, on from the newest checkpoint in the folder: the trainer and its last figures.

    None where it was stopped before the end. failures: ids and reasons of what cannot be used. best: the figure of
    validation by which the best model is kept, unless `training.best` names another. validate_first: a fresh training
    says where it starts from.
    """
    settings = run.training
    if valid is not None and best is not None and settings.best is None:
        settings = dataclasses.replace(settings, best=best)
    if settings.give_up is not None and (valid is None or settings.best is None):
        raise ConfigError("training.give_up needs a validation (data.valid) and its figure (training.best)")
    trainer = Trainer(objective, optimizer=run.optimizer, schedule=run.schedule, training=settings, group=group,
                      folder=folder, log=log)  # fmt: skip
    trainer.failures.update(failures)
    if not trainer.resume() and validate_first and valid is not None:
        trainer.validate(valid)
    stopping = Stopping()
    result = trainer.run(batches, valid, stop=stopping)
    if stopping():
        log.say(f"stopped at update {trainer.update}; the same command goes on from there", update=trainer.update)
        return None
    return trainer, result


def best_state(
    trainer: Trainer, objective: nn.Module, folder: Path, result: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The objective's tensors, those of the best where one was kept, and `result` with its figures: all processes."""
    state = trainer.whole_state(objective)
    if not trainer.best:
        return state, result
    if trainer.group.first:
        state = kept.load(folder / "best")
    return state, result | {f"best_{name.removeprefix('valid_')}": value for name, value in trainer.best.items()}


def write_result(folder: Path, result: Mapping[str, Any], log: Log, told: str) -> None:
    """result.json, the last figures of a run, and a line that says what the run made."""
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    log.line(told)


def write_hypotheses(
    rows: Iterable[tuple[str, np.ndarray, list[Hypothesis]]], path: Path, spell: Callable[[Sequence[int]], Any]
) -> dict[str, float]:
    """Symbols inserted, left out or replaced over all symbols; how many utterances are right as a whole.

    rows: id, target with -1 behind its end, and hypotheses, of which the first counts. spell: text or an array of what
    they say. Writes id, score and what was found of each utterance.
    """
    edits = symbols = exact = utterances = 0
    lines = []
    for name, padded, hypotheses in rows:
        target = padded[padded >= 0]
        tokens = np.array(hypotheses[0].tokens if hypotheses else (), dtype=np.int64)
        wrong = edit_distance(target, tokens)
        edits, symbols, utterances = edits + wrong, symbols + len(target), utterances + 1
        exact += wrong == 0
        text = spell(tokens.tolist())
        shown = text if isinstance(text, str) else " ".join(map(str, text.tolist()))
        lines.append((name, hypotheses[0].score if hypotheses else math.nan, shown))
    path.write_text("".join(f"{name}\t{score:.6f}\t{text}\n" for name, score, text in sorted(lines)), encoding="utf-8")
    return {"error_rate": edits / max(1, symbols), "exact": exact / max(1, utterances)}


@torch.inference_mode()
def search_units(
    model: unit_seq2seq.Model, batches: UnitBatches, search: Search, path: Path, voices: Tensor | None = None
) -> dict[str, float]:
    """Error rates of a search of a set of pairs with units for targets; hypotheses into a file. voices [N, E]: of the
    set's speakers, for a model that is told who speaks.
    """

    def rows() -> Iterable[tuple[str, np.ndarray, list[Hypothesis]]]:
        for loaded in batches.once():
            assert loaded.batch is not None
            batch = loaded.batch.to(model.tags.weight.device)
            assert batch.labels is not None and batch.groups is not None and batch.targets is not None
            told = None if voices is None or batch.speakers is None else voices.to(batch.groups.device)[batch.speakers]
            states, counts = model.encode(batch.labels[..., 0], batch.lengths, batch.groups, told)
            yield from zip(batch.ids, batch.targets.cpu().numpy(), decode(model.decoder, states, counts, search),
                           strict=True)  # fmt: skip

    return write_hypotheses(rows(), path, np.array)


class Stopping:
    """True after SIGINT or SIGTERM: the update in hand is finished and saved."""

    def __init__(self) -> None:
        self.asked = False
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._ask)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.asked

    def _ask(self, *_: object) -> None:
        self.asked = True

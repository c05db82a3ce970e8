"""What every training program does: its arguments, its folder, its encoder, its end."""

import dataclasses
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from speechssl import config, convert, encoders
from speechssl.encoders.pretrained import EncoderCard
from speechssl.errors import ConfigError, GaveUpError, SpeechSSLError
from speechssl.nn.initialize import initialize
from speechssl.training import best as kept
from speechssl.training.distributed import Group, joined
from speechssl.training.log import Log
from speechssl.training.loop import Trainer, Training
from speechssl.training.optimizer import Optimizer, Schedule
from speechssl.units.card import find as find_unit_model

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

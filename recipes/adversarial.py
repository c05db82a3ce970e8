"""What trainings against discriminators share: those of a codec, of vocoders of units and of mels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.shared import held_out_batches, run_trainer, speech_batches, write_result
from speechssl.data.batch_plan import Batching
from speechssl.data.training_set import Batches, Lengths, TrainingSet
from speechssl.errors import ConfigError
from speechssl.training.adversarial import Adversarial
from speechssl.training.distributed import Group
from speechssl.training.log import Log


@dataclass(frozen=True, kw_only=True)
class Data:
    """What to train on: anything that `speechssl units` takes as its input."""

    train: str
    valid: str | None = None
    lengths: Lengths = "headers"  # "stated": those of utt2dur, segments or a manifest; no header is read beforehand
    batching: Batching = field(default_factory=lambda: Batching(seconds=8.96, crop_s=0.56, min_s=0.56))
    valid_batching: Batching = field(default_factory=lambda: Batching(seconds=40.0, crop_s=10.0, min_s=0.5))

    def __post_init__(self) -> None:
        """Discriminators judge crops of one length."""
        if self.batching.min_s != self.batching.crop_s:
            raise ConfigError(f"data.batching.min_s={self.batching.min_s} must be crop_s={self.batching.crop_s}: the "
                              "discriminators want crops of one length")  # fmt: skip


def check_whole(run: Any) -> None:
    """ConfigError for training.shard."""
    if run.training.shard:
        raise ConfigError("training.shard is for transformers; a generator and its discriminators fit on each GPU")


def learn(
    run: Any, objective: Adversarial, data: TrainingSet, valid: TrainingSet | None, *, hop: int, group: Group, log: Log,
    what: str, told: str, keep: Callable[[Path, dict[str, Any]], dict[str, Any]],
    first: Callable[[Batches], None] | None = None,
) -> int:  # fmt: skip
    """Train as the run says, and keep what was trained; the exit code.

    hop: of the generator, in samples. what: its name, with _ that of its recipe and folder. told: a line about it.
    keep: writes the generator into a folder with facts about the training, and gives more figures for result.json.
    first: what is done with the batches before the first update, unless a checkpoint is there.
    """
    folder = Path(run.run)
    log.line(f"train: {len(data.corpus)} utterances, {data.hours:.2f} h, {len(data.failures)} cannot be used")
    batches, valid_batches = speech_batches(run, data, hop, group), held_out_batches(run, valid, hop, group)
    if first is not None and not (folder / "checkpoints").is_dir():
        first(batches)
    log.line(f"{what}: {told}")
    ended = run_trainer(run, objective, batches, valid_batches, group=group, folder=folder, log=log,
                        failures=data.failures, validate_first=True)  # fmt: skip
    if ended is None:
        return 2
    trainer, result = ended
    if group.first:
        name = what.replace(" ", "_")
        more = keep(folder / name, {"recipe": f"recipes.{name}", "updates": trainer.update, "seed": run.seed,
                                    "hours": data.hours})  # fmt: skip
        write_result(folder, result | more, log, f"{what} in {folder / name}")
    return 0

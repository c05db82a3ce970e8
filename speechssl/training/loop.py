"""The training loop: one for every objective, on one process or under torchrun.

Nothing at random is left to the state of a generator: the seed of a batch (dropout) and of each utterance in it (masks,
negatives) are functions of the run's seed and the place in the data. So a run that was killed goes on bit for bit on a
CPU, whatever the number of loader processes; and two processes do what one does with twice the batches per update, up
to the order of additions.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from speechssl.data.batch import Batch
from speechssl.data.training_set import Batches, Loaded, Place
from speechssl.errors import ConfigError, GaveUpError, TrainingError
from speechssl.nn.fast.operators import slow_precision
from speechssl.nn.transformer import Transformer
from speechssl.objectives import Outcome
from speechssl.training import best, checkpoint, shard, watch
from speechssl.training.distributed import Group
from speechssl.training.log import Log
from speechssl.training.optimizer import FACTOR, Optimizer, Schedule, make_optimizer


@dataclass(frozen=True)
class GiveUp:
    """When a training has come to nothing: no validation by then had a figure `training.best` of at most so much.

    For fresh weights some of which never begin to learn, such as CTC that writes blanks alone: draw others (egs/utils/
    attempts.sh does).
    """

    above: float
    after: float = 0.3  # of the updates

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.after <= 1:
            raise ConfigError(f"training.give_up.after={self.after} must be a share of the updates, 0..1")


@dataclass(frozen=True)
class Training:
    """How long and how."""

    updates: int = 1000
    accumulate: int = 1  # batches of each process in one update
    clip: float = 0.0  # norm of the gradient, 0: not clipped
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of autocast; parameters and losses stay float32
    log_every: int = 20  # updates
    valid_every: int = 500
    save_every: int = 500
    keep: int = 2  # checkpoints
    patience: int = 10  # bad updates (loss or gradient not finite) in a row before the run stops
    recompute: bool = False  # activation checkpointing
    compile: bool = False  # torch.compile
    shard: bool = False  # FSDP2 in place of DDP: each process keeps its share of parameters, gradients and moments
    workers: int = 1  # processes that decode audio; 0: none
    tensorboard: bool = False
    best: str | None = None  # a figure of the validation, such as "token_error_rate": the model with the least is kept
    give_up: GiveUp | None = None

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        counts = (self.updates, self.accumulate, self.log_every, self.valid_every, self.save_every, self.keep)
        if min(counts) < 1 or self.patience < 1 or self.workers < 0 or self.clip < 0:
            raise ConfigError(f"training: counts must be at least 1, workers and clip at least 0, got {self}")


@dataclass
class _Sums:
    """What is added up between two lines of the log."""

    values: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    tallies: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    count: int = 0
    began: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    seconds: float = 0.0  # of audio
    samples: int = 0  # with padding
    real: int = 0

    def add(self, outcome: Outcome, batch: Batch, sample_rate: int) -> None:
        loss = float(outcome.loss.detach())
        self.count += outcome.count
        self.values["loss"] += loss
        for name, value in outcome.scalars.items():
            if outcome.count:
                self.values[name] += float(value) * outcome.count
        for name, number in outcome.tallies.items():
            self.tallies[name] += number
        self.real += int(batch.lengths.sum())
        self.samples += batch.wav.numel()
        self.seconds += int(batch.lengths.sum()) / sample_rate

    def means(self, group: Group) -> dict[str, float]:
        names = sorted(self.values)
        counted = sorted(self.tallies)
        sums = [self.count, *(self.values[name] for name in names), *(self.tallies[name] for name in counted)]
        count, *values = group.sum(list(map(float, sums)))
        means = {name: value / count if count else math.nan for name, value in zip(names, values, strict=False)}
        return means | dict(zip(counted, values[len(names) :], strict=True))


class Trainer:
    """One training. Make it, call `run`."""

    def __init__(
        self, objective: nn.Module, *, optimizer: Optimizer, schedule: Schedule, training: Training, group: Group,
        folder: Path, log: Log,
    ) -> None:  # fmt: skip
        self.objective = objective.to(group.device)
        self.settings, self.schedule, self.group, self.folder, self.log = training, schedule, group, folder, log
        self.lr = optimizer.lr
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=training.precision == "fp16")
        self.update, self.place, self.bad, self.skipped = 0, Place(), 0, 0
        self.stopping = False
        self.failures: dict[str, str] = {}  # recordings that could not be read
        self.best: dict[
            str, float
        ] = {}  # figures of the best validation, where `training.best` names one, and its update
        for module in objective.modules():
            if isinstance(module, Transformer):
                module.recompute = training.recompute
        self.model: nn.Module = objective
        if training.shard:
            shard.shard(objective, group)
        elif group.world > 1:
            drops = any(isinstance(m, Transformer) and m.layer_drop for m in objective.modules())
            drops = drops or getattr(objective, "skips_parameters", False)
            self.model = DistributedDataParallel(objective, find_unused_parameters=drops)
        self.optimizer = make_optimizer(objective, optimizer)
        if training.compile:
            self.model.compile(dynamic=True)
        if slow := slow_precision(group.device.type, training.precision):
            self.log.line(slow)

    def resume(self) -> bool:
        """Go on from the newest whole checkpoint in the folder; False where there is none."""
        path, problems = checkpoint.newest(self.folder / "checkpoints")
        for problem in problems:
            self.log.say(f"checkpoint {problem}")
        if path is None:
            return False
        state = checkpoint.load(path)
        own = self.objective.state_dict()
        missing, unexpected = self.objective.load_state_dict(shard.divided(state.model, own), strict=False)
        shared = set(own) - set(checkpoint.model_tensors(self.objective))
        if unexpected or set(missing) - shared:
            raise ConfigError(f"{path} is of another model: {[*unexpected, *missing][:3]} ...; choose another folder")
        moments = shard.divided_moments(state.optimizer, self.optimizer) if self.settings.shard else state.optimizer
        checkpoint.load_optimizer(self.optimizer, moments)
        progress = state.progress
        self.update, self.place = progress["update"], Place(**progress["place"])
        self.bad, self.skipped = progress["bad"], progress["skipped"]
        self.failures = dict(progress["failures"])
        self.best = dict(progress.get("best", {}))
        self.scaler.load_state_dict(progress["scaler"])
        self.log.trim(self.update)
        self.log.say(f"going on from update {self.update} ({path.name})", update=self.update)
        return True

    def run(
        self, batches: Batches, valid: Batches | None = None, *, stop: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Train to the last update (or until `stop`), save, and return the last figures.

        Raises TrainingError after `patience` updates without a finite loss, or where no batch can be read.
        """
        settings = self.settings
        sums, stream = _Sums(), batches.start(self.place)
        last: dict[str, float] = {}
        while self.update < settings.updates and not self.stopping:
            self._step(stream, sums, batches.data.sample_rate, stop())
            due = self.update == settings.updates
            if self.update % settings.log_every == 0 or due:
                self._tell(sums)
                sums = _Sums()
            if valid is not None and (self.update % settings.valid_every == 0 or due):
                last = self.validate(valid)
                self._keep_best(last)
                self._give_up()
            if (self.update % settings.save_every == 0 and not self.bad) or due:  # never over good ones with bad ones
                self.save()
        if self.update < settings.updates:
            self.save()
        return {"update": self.update, "skipped_updates": self.skipped, **last}

    def _step(self, stream: Iterator[Loaded], sums: _Sums, sample_rate: int, stop: bool) -> None:
        """One update, which counts as one even where it is skipped: the schedule follows the data."""
        settings, group = self.settings, self.group
        lr = self.lr * self.schedule.factor(self.update, settings.updates)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = lr * parameters[FACTOR]
        self.objective.train()
        total, finite = 0, True
        last: Outcome | None = None
        for number in range(settings.accumulate):
            began = time.monotonic()
            loaded = next(stream)
            sums.waited += time.monotonic() - began
            self.place = loaded.next
            self._note(loaded)
            batch = (loaded.batch or _silence(sample_rate)).to(group.device)
            torch.manual_seed(int(batch.seeds[0]))
            ending = number == settings.accumulate - 1
            with self._syncing(ending):
                with torch.autocast(group.device.type, *_dtype(settings.precision)):
                    outcome: Outcome = self.model(batch)
                used = 1.0 if loaded.batch is not None else 0.0
                self.scaler.scale(outcome.loss * used).backward()
            if loaded.batch is not None:
                finite &= math.isfinite(float(outcome.loss.detach()))
                total += outcome.count
                sums.add(outcome, batch, sample_rate)
                last = outcome
        self._apply(total, finite, stop, lr, sums)
        self.update += 1
        self.objective.after_step(self.update)
        if settings.shard:
            shard.share_buffers(self.objective)
        if last is not None and self.update % settings.log_every == 0:
            self._watch(last, sums)

    def _syncing(self, ending: bool) -> AbstractContextManager[None]:
        """Gradients meet at the last batch of an update only."""
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(ending)
        elif isinstance(self.model, DistributedDataParallel) and not ending:
            return self.model.no_sync()
        return nullcontext()

    def _apply(self, total: int, finite: bool, stop: bool, lr: float, sums: _Sums) -> None:
        """Divide, clip, check, step; all processes stop together, where one was asked to."""
        everywhere, bad, asked = self.group.sum([float(total), 0.0 if finite else 1.0, float(stop)])
        self.stopping = asked > 0
        self.scaler.unscale_(self.optimizer)
        factor = self.group.world / everywhere if everywhere else 0.0  # DDP has divided by the number of processes
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        torch._foreach_mul_([parameter.grad for parameter in parameters], factor)
        norm = _number(nn.utils.clip_grad_norm_(parameters, self.settings.clip or math.inf))
        fine = not bad and math.isfinite(norm) and everywhere > 0
        if fine:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.bad = 0 if fine else self.bad + 1
        if fine:
            sums.values["gradient_norm"] += norm * total
            return
        self.skipped += 1
        what = "no frame to learn from" if everywhere == 0 else "the loss or its gradient is not finite"
        self.log.say(f"update {self.update + 1} skipped: {what} ({self.bad} in a row)", update=self.update + 1)
        if self.bad >= self.settings.patience and self.settings.precision != "fp16":
            path, _ = checkpoint.newest(self.folder / "checkpoints")
            kept = f"the last good checkpoint is {path}" if path else "there is no checkpoint yet"
            raise TrainingError(
                f"{self.bad} updates in a row without a finite loss, at update {self.update + 1} with learning rate "
                f"{lr:.3g}: {kept}. Lower optimizer.lr or set training.clip, and look for damaged audio"
            )

    def _watch(self, outcome: Outcome, sums: _Sums) -> None:
        """Rank and perplexity of the last batch; said loudly where they look like a collapse."""
        found: dict[str, float] = {}
        if outcome.frames is not None and len(outcome.frames) > 1:
            found["effective_rank"] = watch.effective_rank(outcome.frames)
        if outcome.codes is not None and len(outcome.codes) > 1:
            found["code_perplexity"] = watch.code_perplexity(outcome.codes)
        for name, value in found.items():
            sums.values[name] += value * sums.count
        warm = self.update > self.schedule.warmup * self.settings.updates  # before, a model knows next to nothing
        if warm and (line := watch.verdict(found)):
            self.log.say(f"update {self.update}: {line}", update=self.update)

    def _tell(self, sums: _Sums) -> None:
        wall = time.monotonic() - sums.began
        means = sums.means(self.group)
        seconds, samples, real = self.group.sum([sums.seconds, float(sums.samples), float(sums.real)])
        means |= {
            "lr": self.optimizer.param_groups[-1]["lr"],
            "speed": seconds / wall,
            "padded": 1 - real / samples if samples else 0.0,
            "waited": sums.waited / wall,
        }
        self.log.row("train", self.update, means)
        left = (self.settings.updates - self.update) * wall / self.settings.log_every
        shown = " ".join(f"{k} {means[k]:.4g}" for k in means if k not in ("loss", "speed", "padded", "waited", "lr"))
        self.log.line(
            f"update {self.update}/{self.settings.updates} loss {means.get('loss', math.nan):.4f} {shown} "
            f"lr {means['lr']:.2e} | {means['speed']:.0f}x real time, padded {means['padded']:.0%}, "
            f"waited {means['waited']:.0%}, {left / 60:.0f} min left"
        )

    @torch.no_grad()
    def validate(self, batches: Batches) -> dict[str, float]:
        """Figures over a whole set, without dropout, with masks that are the same every time."""
        self.objective.eval()
        sums = _Sums()
        for found in self._together(batches.once()):
            if found is None and not self.settings.shard:
                continue
            batch = (found or _silence(batches.data.sample_rate)).to(self.group.device)
            torch.manual_seed(int(batch.seeds[0]))
            with torch.autocast(self.group.device.type, *_dtype(self.settings.precision)):
                outcome = self.objective(batch)
            if found is not None:
                sums.add(outcome, batch, batches.data.sample_rate)
        if isinstance(self.objective, FSDPModule):
            self.objective.reshard()  # without a backward nothing else does
        means = sums.means(self.group)
        self.log.row("valid", self.update, means)
        self.log.line(f"valid {self.update} " + " ".join(f"{name} {value:.4g}" for name, value in means.items()))
        return {f"valid_{name}": value for name, value in means.items()}

    def _keep_best(self, figures: dict[str, float]) -> None:
        """Store the model where no validation before was better."""
        if self.settings.best is None:
            return
        name = f"valid_{self.settings.best}"
        if name not in figures:
            raise ConfigError(f"training.best={self.settings.best!r} is no figure of the validation, which has "
                              f"{', '.join(key.removeprefix('valid_') for key in figures)}")  # fmt: skip
        if not math.isfinite(figures[name]) or figures[name] >= self.best.get(name, math.inf):
            return
        self.best = {"update": float(self.update), **figures}
        tensors = checkpoint.model_tensors(self.objective)
        if self.settings.shard:
            tensors = shard.whole(tensors)
        if self.group.first:
            best.save(self.folder / "best", tensors, figures, self.update)

    def _give_up(self) -> None:
        """End a training that has come to nothing; the figures are the same in all processes."""
        rule, figure = self.settings.give_up, self.best.get(f"valid_{self.settings.best}", math.inf)
        if rule is not None and self.update >= rule.after * self.settings.updates and figure > rule.above:
            raise GaveUpError(f"gave up at update {self.update}: no {self.settings.best} of {rule.above} or less (best "
                              f"{figure:.4g})")  # fmt: skip

    def _together(self, stream: Iterable[Loaded]) -> Iterator[Batch | None]:
        """Batches; of a divided model as many for every process, since all must run it together."""
        left = iter(stream)
        while True:
            loaded = next(left, None)
            going = float(loaded is not None)
            if not (self.group.sum([going])[0] if self.settings.shard else going):
                return
            yield None if loaded is None else loaded.batch

    def whole_state(self, module: nn.Module) -> dict[str, Tensor]:
        """A part's tensors, put together where they are divided: a call that all processes must make."""
        return shard.whole(module.state_dict())

    def save(self) -> None:
        """A checkpoint of now."""
        model, moments = checkpoint.model_tensors(self.objective), checkpoint.optimizer_tensors(self.optimizer)
        if self.settings.shard:
            model, moments = shard.whole(model), shard.whole(moments)
        if self.group.first:
            progress = {
                "update": self.update, "place": asdict(self.place), "bad": self.bad, "skipped": self.skipped,
                "failures": self.failures, "scaler": self.scaler.state_dict(), "best": self.best,
            }  # fmt: skip
            state = checkpoint.State(model, moments, progress)
            checkpoint.save(self.folder / "checkpoints", state, update=self.update, keep=self.settings.keep)
        self.group.wait()

    def _note(self, loaded: Loaded) -> None:
        for name, reason in loaded.failures:
            if name not in self.failures:
                self.failures[name] = reason
                self.log.say(f"left out: {name}: {reason}")


def _dtype(precision: str) -> tuple[torch.dtype, bool]:
    """Type and whether autocast is on."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.bfloat16), precision != "fp32"


def _number(norm: torch.Tensor) -> float:
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def _silence(sample_rate: int) -> Batch:
    """In place of a batch of which nothing could be read, where the other processes have one."""
    return Batch(torch.zeros(1, sample_rate), torch.tensor([sample_rate]), torch.zeros(1, dtype=torch.int64), ("",))

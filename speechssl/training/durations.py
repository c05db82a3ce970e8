"""Learning how long units last: a vocoder's duration predictor, from units alone.

differs: the released vocoders learn it together with the waveform, from crops; here the embeddings of a trained vocoder
stay as they are and whole utterances are seen, so that every run of units has its true length; and at the end all
predictions are shifted so that speech is as long as it was in training, where theirs comes out too short.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl.errors import ConfigError, DataError
from speechssl.units.units import Units
from speechssl.vocoders.durations import Settings as DurationSettings
from speechssl.vocoders.durations import duration_loss, shift_to_total, whole_frames
from speechssl.vocoders.unit_vocoder import UnitVocoder


@dataclass(frozen=True)
class Settings:
    """How long and how fast."""

    updates: int = 1500
    utterances: int = 32  # in an update
    lr: float = 1e-3  # falls to zero as half a cosine

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        if min(self.updates, self.utterances) < 1 or self.lr <= 0:
            raise ConfigError(f"durations need updates, utterances and lr above 0, got {self}")


@dataclass(frozen=True)
class DurationScores:
    """How well durations are predicted, over all runs of units."""

    runs: int
    mean_frames: float
    absolute_error: float  # mean |predicted - true| frames
    total_ratio: float  # predicted frames over true ones: speech that is too slow is above 1


def learn(
    vocoder: UnitVocoder, units: Sequence[Units], settings: Settings, predictor: DurationSettings, *, seed: int = 0
) -> tuple[UnitVocoder, list[float]]:
    """The vocoder with a predictor that was learned from `units`, and the loss of every update.

    DataError where there are no units. The same seed gives the same weights.
    """
    runs = [found for found in (one.dedup() for one in units) if len(found)]
    if not runs:
        raise DataError("there are no units to learn durations from")
    torch.manual_seed(seed)
    taught = UnitVocoder(replace(vocoder.config, durations=predictor))
    own = {name: tensor for name, tensor in vocoder.state_dict().items() if not name.startswith("durations.")}
    taught.load_state_dict({**taught.state_dict(), **own})
    assert taught.durations is not None
    optimizer = torch.optim.AdamW(taught.durations.parameters(), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.updates)
    random, losses = np.random.default_rng(seed), []
    taught.durations.train()
    for _ in range(settings.updates):
        rows = random.choice(len(runs), min(settings.utterances, len(runs)), replace=False)
        ids, durations, valid = padded([runs[row] for row in rows])
        with torch.no_grad():
            x = taught.units(ids)
        loss = duration_loss(taught.durations(x, valid), durations, valid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    taught.eval().requires_grad_(False)
    calibrate(taught, runs)
    return taught, losses


@torch.inference_mode()
def calibrate(vocoder: UnitVocoder, runs: Sequence[Units]) -> None:
    """Shifts a vocoder's predictions so that deduplicated `runs` last as long as they do, in all."""
    assert vocoder.durations is not None
    predicted = torch.cat([vocoder.durations(vocoder.units(torch.from_numpy(one.ids)[None]))[0] for one in runs])
    durations = torch.from_numpy(np.concatenate([one.durations for one in runs]))
    vocoder.durations.adjust(1.0, shift_to_total(predicted, durations))


@torch.inference_mode()
def score(vocoder: UnitVocoder, units: Sequence[Units]) -> DurationScores:
    """Of a vocoder with a predictor; DataError where there are no units."""
    return compare([(vocoder.predict_durations(torch.from_numpy(one.ids)).numpy(), one.durations)
                    for one in (found.dedup() for found in units) if len(one)])  # fmt: skip


def floor(train: Sequence[Units], units: Sequence[Units]) -> DurationScores:
    """What every unit's own mean of log(1 + frames) over `train` gives, shifted alike: a predictor without context."""
    runs = [one.dedup() for one in train]
    ids, logs = np.concatenate([one.ids for one in runs]), np.log1p(np.concatenate([one.durations for one in runs]))
    size = max((one.size for one in runs), default=0)
    counts = np.bincount(ids, minlength=size)
    means = np.where(counts > 0, np.bincount(ids, logs, minlength=size) / np.maximum(counts, 1), logs.mean())
    shift = shift_to_total(
        torch.from_numpy(means[ids]), torch.from_numpy(np.concatenate([one.durations for one in runs]))
    )
    frames = whole_frames(torch.from_numpy(means) + shift).numpy()
    return compare([(frames[one.ids], one.durations) for one in (found.dedup() for found in units) if len(one)])


def compare(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> DurationScores:
    """Of predicted and true durations, an utterance each."""
    if not pairs:
        raise DataError("there are no units to compare durations of")
    predicted, true = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
    return DurationScores(len(true), float(true.mean()), float(abs(predicted - true).mean()),
                          float(predicted.sum() / true.sum()))  # fmt: skip


def padded(units: Sequence[Units]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, durations and what is real [B, N] of deduplicated units."""
    ids = pad_sequence([torch.from_numpy(one.ids) for one in units], batch_first=True)
    durations = pad_sequence([torch.from_numpy(one.durations) for one in units], batch_first=True)
    return ids, durations, durations > 0

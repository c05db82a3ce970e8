"""Learning to code F0: a `vocoders.pitch_coder` from contours alone, by the squared error of what comes back.

The loss is arXiv:1711.00937's with a codebook of moving averages: mean squared error, and `commitment` times that of
the encoder's vectors to their codewords. Crops of contours, of long ones more often, drawn anew for every update.

B crops, T frames, I numbers of a frame, N codes, D dimensions of a codeword.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechssl.errors import ConfigError, DataError
from speechssl.vocoders.pitch_coder import Config, PitchCoder


@dataclass(frozen=True)
class Settings:
    """How long and how fast. Rate and weight: speech-resynthesis' (learning_rate, lambda_commit)."""

    updates: int = 2000
    crops: int = 64  # in an update
    frames: int = 64  # of a crop
    lr: float = 2e-4  # falls to zero as half a cosine
    commitment: float = 0.02

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        if min(self.updates, self.crops, self.frames) < 1 or self.lr <= 0 or self.commitment < 0:
            raise ConfigError(f"codes of pitch need updates, crops, frames and lr above 0, got {self}")


@dataclass(frozen=True)
class PitchScores:
    """What is left of F0, over all frames."""

    frames: int
    rmse: float  # of the numbers of pitch, which have a deviation of one for every speaker
    voicing_error: float  # share of frames whose voicing is another; NaN where the coder is not told of it
    used_codes: int


def learn(
    contours: Sequence[NDArray[np.floating]], config: Config, settings: Settings, *, seed: int = 0
) -> tuple[PitchCoder, list[float]]:
    """The coder of contours [T, 2] (see `data.pitch.normalized`), and the loss of every update.

    DataError where nothing is voiced. The same seed gives the same weights. ConfigError for crops of no whole code.
    """
    if settings.frames % config.ratio:
        raise ConfigError(f"settings.frames={settings.frames} must be a multiple of {config.ratio}, a code's frames")
    known = [one for one in contours if (one[:, 1] > 0).any()]
    if not known:
        raise DataError("no frame is voiced: there is no pitch to learn codes of")
    torch.manual_seed(seed)
    coder, random, losses = PitchCoder(config).train(), np.random.default_rng(seed), []
    optimizer = torch.optim.AdamW(coder.parameters(), lr=settings.lr, betas=(0.8, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.updates)
    sizes = np.array([len(one) for one in known], np.float64)
    for _ in range(settings.updates):
        rows = random.choice(len(known), settings.crops, p=sizes / sizes.sum())
        pitch = torch.from_numpy(np.stack([_crop(known[row], settings.frames, random) for row in rows]))
        loss, vectors, codes = losses_of(coder, pitch, settings.commitment)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        coder.codebook.collect(vectors.unsqueeze(0), codes, torch.from_numpy(random.random(len(codes))))
        coder.codebook.update()
        losses.append(float(loss.detach()))
    return coder.eval().requires_grad_(False), losses


def losses_of(coder: PitchCoder, pitch: Tensor, commitment: float) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of crops [B, T, I], the encoder's vectors [N, D], and the codes [N, 1] that they chose."""
    hidden = coder.hidden(pitch)
    vectors = hidden.flatten(0, 1)
    codes = coder.codebook.encode(vectors.detach().unsqueeze(0))
    chosen = coder.codebook.decode(codes)[0].view_as(hidden)
    made = coder.reconstruct(hidden + (chosen - hidden).detach())  # the gradient goes past the choice
    error = (made - pitch[..., : coder.config.inputs].to(made.dtype)).square().mean()
    return error + commitment * (hidden - chosen).square().mean(), vectors.detach(), codes


@torch.inference_mode()
def score(coder: PitchCoder, contours: Sequence[NDArray[np.floating]]) -> PitchScores:
    """Of whole contours [T, 2]; DataError where there are none."""
    squares = frames = voiced = wrong = 0.0
    used: set[int] = set()
    for contour in contours:
        if not len(contour):
            continue
        codes = coder.encode(torch.from_numpy(contour)[None])
        made = coder.decode(codes)[0, : len(contour)].numpy()
        true = contour[:, 1] > 0.5
        squares += float(np.square(made[true, 0] - contour[true, 0], dtype=np.float64).sum())
        frames, voiced = frames + len(contour), voiced + int(true.sum())
        if coder.config.inputs > 1:
            wrong += int(((made[:, 1] > 0.5) != true).sum())
        used |= set(codes.flatten().tolist())
    if not frames:
        raise DataError("there is no pitch to score codes of")
    return PitchScores(int(frames), float((squares / voiced) ** 0.5) if voiced else float("nan"),
                       wrong / frames if coder.config.inputs > 1 else float("nan"), len(used))  # fmt: skip


def _crop(contour: NDArray[np.floating], frames: int, random: np.random.Generator) -> NDArray[np.float32]:
    """So many frames from a random place; a shorter contour is followed by unvoiced ones."""
    start = int(random.integers(max(1, len(contour) - frames + 1)))
    part = contour[start : start + frames]
    return np.pad(part, ((0, frames - len(part)), (0, 0))).astype(np.float32)

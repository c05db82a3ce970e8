"""What one training step sees. B utterances, S samples, T frames."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Utterances, or crops of them, padded with zeros to the longest.

    seeds: one per utterance and visit; whatever an objective draws for an utterance (masks, negatives, noise) comes
    from it, so that it does not depend on the neighbours, on workers, or on the number of processes.
    """

    wav: Tensor  # [B, S] float32
    lengths: Tensor  # [B] int64, real samples
    seeds: Tensor  # [B] int64
    ids: tuple[str, ...]
    labels: Tensor | None = None  # [B, T] int64 at the encoder's frame rate, -1 where there is none
    groups: Tensor | None = None  # [B] int64: the utterance's language (or whatever batches are balanced by)
    noise: Tensor | None = None  # [S'] float32, a recording to mix with utterances
    pitch: Tensor | None = None  # [B, T, 2] float32 at the rate of labels: normalised log F0 and voicing
    source_lengths: Tensor | None = None  # [B] int64, samples before they were augmented: labels count by these
    targets: Tensor | None = None  # [B, L] int64: what is said, as numbers of a vocabulary; -1 behind its end
    own: Tensor | None = None  # [B, 2] int64: where among labels the utterance itself begins, and how many it has
    speakers: Tensor | None = None  # [B] int64: numbers of who speaks, where an objective is told
    tasks: Mapping[str, Tensor] = field(default_factory=dict)  # the same of auxiliary tasks, by name

    def to(self, device: torch.device | str) -> "Batch":
        """The same on a device; the seeds stay, since all that is drawn from them is drawn on the CPU."""
        tensors = {k: v for k, v in vars(self).items() if isinstance(v, Tensor) and k != "seeds"}
        moved = {k: v.to(device, non_blocking=True) for k, v in tensors.items()}
        tasks = {name: targets.to(device, non_blocking=True) for name, targets in self.tasks.items()}
        return replace(self, tasks=tasks, **moved)

    @property
    def padded(self) -> float:
        """The share of `wav` that is padding."""
        return 1 - float(self.lengths.sum()) / max(1, self.wav.numel())


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one utterance's draws; large ones are drawn where they are used, small ones on the CPU."""
    return torch.Generator(device).manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)

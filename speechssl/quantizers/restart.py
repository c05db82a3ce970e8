"""Codewords that nothing chooses any more, put where frames are: an option of codebooks that learn as they go.

No paper whose settings are in `recipes/conf` does it: with an hour of audio in every update each codeword is chosen.
Batches of a minute leave many out, which then stay out. Jukebox (arXiv:2005.00341) does it for its codebooks.

G codebooks of V codewords, N frames, C channels.
"""

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from speechssl.errors import ConfigError


class DeadCodes(nn.Module):
    """Counts, for each codeword, the updates since a frame chose it, and finds frames for those that wait too long.

    As codebooks do, it collects from all micro-batches and processes of an update, and comes to the same however an
    update is cut up: of all frames, those with the smallest keys are taken, and keys are drawn from utterances' seeds.
    """

    idle: Tensor

    def __init__(self, groups: int, entries: int, dim: int, *, after: int) -> None:
        super().__init__()
        if after < 1:
            raise ConfigError(f"dead codewords are restarted after at least one update, got {after}")
        self.entries, self.dim, self.after = entries, dim, after
        self.register_buffer("idle", torch.zeros(groups, entries, dtype=torch.int64))
        self._collected: list[tuple[Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def collect(self, x: Tensor, codes: Tensor, keys: Tensor) -> None:
        """Remember frames x [G, N, C], the codes [N, G] that they chose, and their keys [N], float64 in 0..1."""
        chosen = torch.stack([torch.bincount(column, minlength=self.entries) for column in codes.T])
        first = keys.to(x.device).argsort()[: self.entries]
        self._collected.append((chosen, keys.to(x.device)[first], x[:, first].float()))

    @torch.no_grad()
    def update(self) -> tuple[Tensor, Tensor]:
        """Which codewords start anew, [G, V] bool, and where, [G, V, C]; every process of a training has to call it.

        Where an update has fewer frames than dead codewords, the others wait for the next.
        """
        nothing = self.idle.new_zeros(0, dtype=torch.float64), self.idle.new_zeros(len(self.idle), 0, self.dim).float()
        parts = [(torch.zeros_like(self.idle), *nothing), *self._collected]
        self._collected = []
        chosen = torch.stack([part[0] for part in parts]).sum(0)
        keys, frames = self._first(torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts], 1))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(chosen)
            all_keys, all_frames = ([torch.empty_like(y) for _ in range(dist.get_world_size())] for y in (keys, frames))
            dist.all_gather(all_keys, keys)
            dist.all_gather(all_frames, frames)
            keys, frames = self._first(torch.cat(all_keys), torch.cat(all_frames, 1))
        self.idle = torch.where(chosen > 0, 0, self.idle + 1)
        dead = self.idle >= self.after
        places = (dead.cumsum(1) - 1).clamp_min(0)  # the how-manieth dead one of its codebook
        dead &= keys[places] <= 1
        self.idle.masked_fill_(dead, 0)
        return dead, torch.stack([frames[group][places[group]] for group in range(len(frames))])

    def forget(self) -> None:
        """What was collected counts for nothing."""
        self._collected = []

    def _first(self, keys: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The V smallest of keys [M] and their frames [G, M, C], filled up with keys of 2."""
        order = keys.argsort()[: self.entries]
        missing = self.entries - len(order)
        return (
            torch.cat([keys[order], keys.new_full((missing,), 2.0)]),
            torch.cat([frames[:, order], frames.new_zeros(len(frames), missing, frames.shape[2])], 1),
        )


def draw_keys(counts: Tensor, seeds: Tensor) -> Tensor:
    """Keys [N] of all frames of a batch, utterance by utterance: counts [B] of each, by its seed of seeds [B]."""
    drawn = [
        np.random.default_rng((seed, 17)).random(n) for n, seed in zip(counts.tolist(), seeds.tolist(), strict=True)
    ]
    return torch.from_numpy(np.concatenate(drawn)) if drawn else torch.zeros(0, dtype=torch.float64)

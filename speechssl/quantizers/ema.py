"""Codebooks that follow, as moving averages, the frames they are chosen for: online clustering (arXiv:1711.00937, A.1).

DinoSR (arXiv:2305.10005) clusters each of its teacher's top blocks with one. An update of the codebooks is
for a whole update of the model: frames are collected from all micro-batches and all processes, then applied once, so
that the result does not depend on how an update is cut up.

G codebooks of V codewords, N frames, C channels.
"""

from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.quantizers.restart import DeadCodes


class EmaCodebooks(nn.Module):
    """Codewords are s / n: moving averages of the sum and of the number of frames that chose them.

    Codewords that no frame of an update chose stay as they are, and so do their s and n: nothing is done about dead
    ones, as in DinoSR, unless `restart_after` updates without a frame have passed (0: never).

    They start with a number of one and `start`: "unit" with zero mean and unit variance over each codebook, like frames
    that are normalised over time; "small" near zero, N(0, 1 / V). Frames are nearer to a mean of frames than to a word
    as long as themselves, so of the unit ones those that the first updates leave out are never chosen again; small ones
    stay within reach of frames that are unlike all means.
    """

    def __init__(
        self, dim: int, entries: int, groups: int = 1, *, decay: float = 0.9, start: Literal["unit", "small"] = "unit",
        restart_after: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if entries < 2 or groups < 1 or not 0 <= decay <= 1:
            raise ConfigError(
                f"codebooks need entries >= 2, groups >= 1 and decay in 0..1, got {entries, groups, decay}"
            )
        self.entries, self.groups, self.decay = entries, groups, decay
        drawn = torch.randn(groups, entries, dim)
        if start == "small":
            drawn = drawn / entries**0.5
        else:
            drawn = (drawn - drawn.mean(1, keepdim=True)) / drawn.var(1, correction=0, keepdim=True).add(1e-5).sqrt()
        self.restart = DeadCodes(groups, entries, dim, after=restart_after) if restart_after else None
        self.register_buffer("sums", drawn)
        self.register_buffer("counts", torch.ones(groups, entries))
        self._collected: tuple[Tensor, Tensor] | None = None  # no buffer: a process's own, and empty between updates

    @property
    def vectors(self) -> Tensor:
        """The codewords, [G, V, C]."""
        return self.sums / self.counts.unsqueeze(-1)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The nearest codewords of x [G, N, C]: [N, G] int64."""
        with torch.autocast(x.device.type, enabled=False):
            vectors = self.vectors
            scores = torch.baddbmm(vectors.square().sum(-1).unsqueeze(1), x.to(vectors.dtype), vectors.mT, alpha=-2)
        return scores.argmin(-1).T

    def decode(self, codes: Tensor) -> Tensor:
        """Codewords [G, N, C] of codes [N, G]."""
        return self.vectors[torch.arange(self.groups, device=codes.device).unsqueeze(1), codes.T]

    @torch.no_grad()
    def collect(self, x: Tensor, codes: Tensor, keys: Tensor | None = None) -> None:
        """Remember frames x [G, N, C] and the codes [N, G] that they chose for the next `update`.

        keys [N]: which frames dead codewords take first, see `restart`; needed where they are restarted.
        """
        with torch.autocast(x.device.type, enabled=False):
            chosen = F.one_hot(codes.T, self.entries).to(self.sums.dtype)  # products, for scattered sums have no order
            sums, counts = chosen.mT @ x.to(self.sums.dtype), chosen.sum(1)
        if self._collected is not None:
            sums, counts = sums + self._collected[0], counts + self._collected[1]
        self._collected = sums, counts
        if self.restart is not None:
            if keys is None:
                raise ConfigError("codewords that are restarted need the frames' keys")
            self.restart.collect(x, codes, keys)

    @torch.no_grad()
    def update(self) -> None:
        """s ← τ s + (1 - τ) Σ x, n ← τ n + (1 - τ) |X|, over the frames of all processes.

        Every process of a distributed training has to call it. Frames that are not finite leave everything as it was.
        """
        sums, counts = self._collected or (torch.zeros_like(self.sums), torch.zeros_like(self.counts))
        self._collected = None
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        if not bool(sums.isfinite().all()):
            if self.restart is not None:
                self.restart.forget()
            return
        keep = torch.where(counts > 0, self.decay, 1.0).to(counts.dtype)
        self.counts.mul_(keep).add_((1 - keep) * counts)
        keep = keep.unsqueeze(-1)
        self.sums.mul_(keep).add_((1 - keep) * sums)
        if self.restart is not None:
            dead, frames = self.restart.update()
            self.sums.copy_(torch.where(dead.unsqueeze(-1), frames.to(self.sums.dtype), self.sums))
            self.counts.masked_fill_(dead, 1)

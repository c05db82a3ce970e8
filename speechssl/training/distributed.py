"""The processes of a training under `torchrun`, and what they agree on. Alone, every function does the obvious."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist

from speechssl.nn.device import prepare_cuda

_TIMEOUT = timedelta(minutes=10)  # a process that waits longer for the others gives up


@dataclass(frozen=True)
class Group:
    """Who takes part."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """The sums over all processes, in float64."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """The group that torchrun's environment describes, nccl on GPUs and gloo on CPUs; alone without torchrun."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = torch.device(f"cuda:{local}") if device == "cuda" else torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        prepare_cuda(exact=False)
    if world == 1:
        yield Group(device=chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Group(rank, world, chosen)
    finally:
        dist.destroy_process_group()

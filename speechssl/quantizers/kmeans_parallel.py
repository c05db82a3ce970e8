"""One k-means fit by several processes: what they tell one another, over torch.distributed with gloo.

Every process holds its own part of the corpus. Only whole numbers are added up, and what is drawn at random is drawn by
process 0 and handed on, so the result has the same bits for any number of processes, the single one included. A process
that ends early, or falls behind by more than the timeout, ends the others with a DataError.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from speechssl.errors import ConfigError, DataError


class Processes:
    """This process alone; `_Gloo` is one of several."""

    rank = 0
    size = 1

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise over the processes; int64 on the CPU."""
        return values

    def share(self, values: Tensor) -> Tensor:
        """What process 0 has; shape and type are the same everywhere."""
        return values

    def gather(self, values: Tensor) -> list[Tensor]:
        """Everybody's values, 1-D of any length, in order of rank."""
        return [values]

    def gather_json(self, value: Any) -> list[Any]:
        """Everybody's JSON value, in order of rank."""
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        return [json.loads(bytes(part.numpy())) for part in self.gather(data)]


ALONE = Processes()


@contextmanager
def joined(*, timeout_s: float = 1800.0) -> Iterator[Processes]:
    """The processes that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT tell of (torchrun sets them), or this one alone.

    Raises ConfigError for settings that make no sense, DataError where the others do not come within timeout_s.
    """
    size, rank = _number("WORLD_SIZE", 1), _number("RANK", 0)
    if size <= 1:
        yield ALONE
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing or not 0 <= rank < size:
        raise ConfigError(
            f"WORLD_SIZE={size} and RANK={os.environ.get('RANK')}: {', '.join(missing) or 'RANK'} must be set as well, "
            "as torchrun does (unset WORLD_SIZE to work alone)"
        )
    from torch import distributed

    try:
        with _stdout_as_stderr():
            distributed.init_process_group("gloo", timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as error:
        raise DataError(f"process {rank} of {size} did not find the others within {timeout_s:g} s: {error}") from None
    try:
        yield _Gloo(rank, size, timeout_s)
    finally:
        distributed.destroy_process_group()


class _Gloo(Processes):
    """One of several."""

    def __init__(self, rank: int, size: int, timeout_s: float) -> None:
        self.rank, self.size, self._timeout_s = rank, size, timeout_s

    def sum(self, values: Tensor) -> Tensor:
        from torch import distributed

        total = values.clone()
        with self._telling():
            distributed.all_reduce(total)
        return total

    def share(self, values: Tensor) -> Tensor:
        from torch import distributed

        shared = values.clone()
        with self._telling():
            distributed.broadcast(shared, src=0)
        return shared

    def gather(self, values: Tensor) -> list[Tensor]:
        from torch import distributed

        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(values)
        lengths = self.sum(lengths)
        padded = values.new_zeros(int(lengths.max()))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        with self._telling():
            distributed.all_gather(parts, padded)
        return [part[:length] for part, length in zip(parts, lengths.tolist(), strict=True)]

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo's own: closed connections and timeouts
            raise DataError(
                f"process {self.rank} of {self.size}: another process ended, or did nothing for {self._timeout_s:g} s "
                f"(see what it printed): {str(error).splitlines()[0][:200]}"
            ) from None


@contextmanager
def _stdout_as_stderr() -> Iterator[None]:
    """gloo tells the standard output of its connections, where a report may be expected."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isdecimal():
        raise ConfigError(f"{name}={text!r} is not a number")
    return int(text)

"""Work on one utterance after another, in this process or in several."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from speechssl.errors import ConfigError

A = TypeVar("A")
R = TypeVar("R")
CHUNK = 8  # utterances that a process takes at once


@contextmanager
def mapping(workers: int) -> Iterator[Callable[[Callable[[A], R], Iterable[A]], Iterator[R]]]:
    """A `map` that keeps the order; workers: processes, 0: none but this. ConfigError for fewer."""
    if workers < 0:
        raise ConfigError(f"--workers {workers}: 0 or more")
    if workers == 0:
        yield map
        return
    with ProcessPoolExecutor(workers) as pool:
        yield lambda work, rows: pool.map(work, rows, chunksize=CHUNK)

"""Features of a corpus as a stream, for who needs them once or several times but not on the disk (k-means).

Utterances are encoded in worker processes, a few ahead of the reader, or in this process with workers=0. A recording
that cannot be used is left out and noted in `failures`. Long recordings come as memory maps of scratch files.
"""

import multiprocessing
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechssl.data.corpus import Corpus
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, DataError
from speechssl.extract import atomic
from speechssl.extract.job import Job, LongAudio, Manifest, ModelSpec, Precision, choose_kernel
from speechssl.extract.worker import Settings, die_with_parent, load

if TYPE_CHECKING:
    from speechssl.extract.encode import Encoder

_TAG = "speechssl-stream"  # of scratch folders among everybody's temporary files
_AHEAD = 4  # utterances in hand per worker


@dataclass(frozen=True)
class _Result:
    frames: np.ndarray | None  # None: in `path`, or failed
    seconds: float = 0.0
    failure: tuple[str, str] | None = None  # code, message
    path: Path | None = None
    shape: tuple[int, int] = (0, 0)


@dataclass
class FeatureStream:
    """Call it for a pass: an iterator of (utterance id, features [T, C] float32) in the corpus's order.

    Worker processes live on between passes; leave the `with` block, or call `close`, to end them.
    """

    corpus: Corpus
    spec: ModelSpec
    workers: int = 0
    threads: int = 1
    device: str = "cpu"
    precision: Precision = "fp32"
    long_audio: LongAudio = field(default_factory=LongAudio)
    allow_pipes: bool = False
    allow_remote: bool = False
    progress: Callable[[int, float], None] = lambda rows, seconds: None  # called per utterance
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)  # id -> reason code, message
    seconds: float = 0.0  # of audio in the last pass
    _settings: Settings | None = None
    _here: "Encoder | None" = None
    _pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "FeatureStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __call__(self) -> Iterator[tuple[str, np.ndarray]]:
        """One pass. Raises DataError where a worker process dies."""
        self.seconds = 0.0
        home = Path(tempfile.gettempdir())
        atomic.clean_abandoned(home, _TAG)
        with atomic.scratch(home, _TAG, private=True) as scratch:
            results = self._in_processes(scratch) if self.workers else self._in_this_process(scratch)
            for utterance, result in results:
                self.seconds += result.seconds
                self.progress(1, result.seconds)
                if result.failure:
                    self.failures[utterance.id] = result.failure
                elif result.frames is not None:
                    yield utterance.id, result.frames
                elif result.path:
                    yield utterance.id, np.memmap(result.path, np.float32, "r", shape=result.shape)
                    result.path.unlink()

    def _in_this_process(self, scratch: Path) -> Iterator[tuple[Utterance, _Result]]:
        self._here = self._here or load(self._make_settings(scratch))
        for number, utterance in enumerate(self.corpus.utterances):
            yield utterance, _encode(self._here, utterance, scratch / str(number))

    def _in_processes(self, scratch: Path) -> Iterator[tuple[Utterance, _Result]]:
        rows = iter(enumerate(self.corpus.utterances))
        waiting: deque[tuple[Utterance, Future[_Result]]] = deque()
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, context, _start, (self._make_settings(scratch),))
        try:
            while True:
                for number, utterance in islice(rows, self.workers * _AHEAD - len(waiting)):
                    waiting.append((utterance, self._pool.submit(_work, utterance, scratch / str(number))))
                if not waiting:
                    return
                utterance, future = waiting.popleft()
                yield utterance, future.result()
        except BrokenProcessPool:
            names = ", ".join([utterance.id, *(later.id for later, _ in waiting)][: self.workers])
            raise DataError(
                f"a worker process died, at or soon after {names}: out of memory? Try fewer --workers, or leave it out"
            ) from None
        finally:
            for _, future in waiting:
                future.cancel()

    def _make_settings(self, scratch: Path) -> Settings:
        if self._settings is None:
            identity = self.spec.identify("features")
            count = len(self.corpus.utterances)
            kernel = choose_kernel(identity, self.precision, self.device)
            job: Any = Job("features", "npy", identity, Manifest("", count), 1, count, self.precision,
                           "cuda" if self.device == "cuda" else "cpu", self.long_audio, kernel=kernel)  # fmt: skip
            self._settings = Settings(job, self.spec, scratch, "stream", self.threads, self.allow_pipes,
                                      allow_remote=self.allow_remote)  # fmt: skip
        return self._settings


_encoder: "Encoder | None" = None  # of a worker process


def _start(settings: Settings) -> None:
    global _encoder
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    threading.Thread(target=die_with_parent, daemon=True).start()  # the executor's own queue never ends for them
    _encoder = load(settings)


def _work(utterance: Utterance, spool: Path) -> _Result:
    assert _encoder is not None
    return _encode(_encoder, utterance, spool)


def _encode(encoder: "Encoder", utterance: Utterance, spool: Path) -> _Result:
    try:
        encoded = encoder.encode(utterance, spool, lambda: None)
    except AudioError as error:
        return _Result(None, failure=(error.code, str(error)))
    seconds = encoded.num_samples / encoder.job.model.sample_rate
    if isinstance(encoded.frames, np.memmap):
        return _Result(None, seconds, path=spool, shape=(len(encoded.frames), encoded.frames.shape[1]))
    return _Result(encoded.frames, seconds)

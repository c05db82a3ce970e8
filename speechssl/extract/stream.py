"""Features of a corpus as a stream, for who needs them once or several times but not on the disk (k-means).

Utterances are encoded in worker processes, a few ahead of the reader, or in this process with workers=0. A recording
that cannot be used is left out and noted in `failures`; so is one that shows no progress for `time_limit_s`, whose
processes are ended (not with workers=0). Long recordings come as memory maps of scratch files.
"""

import multiprocessing
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
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
from speechssl.extract.processes import kill_children
from speechssl.extract.worker import Settings, die_with_parent, load

if TYPE_CHECKING:
    from speechssl.extract.encode import Encoder

_TAG = "speechssl-stream"  # of scratch folders among everybody's temporary files
_AHEAD = 4  # utterances in hand per worker
_POLL_S = 0.5


@dataclass(frozen=True)
class _Result:
    frames: np.ndarray | None  # None: in `path`, or failed
    seconds: float = 0.0
    failure: tuple[str, str] | None = None  # code, message
    path: Path | None = None
    shape: tuple[int, int] = (0, 0)


@dataclass
class _InHand:
    number: int
    utterance: Utterance
    future: Future[_Result]


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
    time_limit_s: float = 300.0  # without any progress on an utterance
    progress: Callable[[int, float], None] = lambda rows, seconds: None  # called per utterance
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)  # id -> reason code, message
    seconds: float = 0.0  # of audio in the last pass
    _settings: Settings | None = None
    _here: "Encoder | None" = None
    _pool: ProcessPoolExecutor | None = None
    _signs: Any = None  # of life: for each utterance in hand the time of the last one, shared with the workers

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
            yield utterance, _encode(self._here, utterance, scratch / str(number), lambda: None)

    def _in_processes(self, scratch: Path) -> Iterator[tuple[Utterance, _Result]]:
        rows = iter(enumerate(self.corpus.utterances))
        in_hand: deque[_InHand] = deque()
        try:
            while True:
                for number, utterance in islice(rows, self.workers * _AHEAD - len(in_hand)):
                    in_hand.append(_InHand(number, utterance, self._submit(number, utterance, scratch)))
                if not in_hand:
                    return
                if wait([in_hand[0].future], timeout=_POLL_S).done:
                    yield in_hand[0].utterance, in_hand.popleft().future.result()
                else:
                    self._end_hangs(in_hand, scratch)
        except BrokenProcessPool:
            names = ", ".join([one.utterance.id for one in in_hand][: self.workers])
            raise DataError(
                f"a worker process died, at or soon after {names}: out of memory? Try fewer --workers, or leave it out"
            ) from None
        finally:
            for one in in_hand:
                one.future.cancel()

    def _submit(self, number: int, utterance: Utterance, scratch: Path) -> Future[_Result]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._signs = context.RawArray("d", self.workers * _AHEAD)
            arguments = (self._make_settings(scratch), self._signs)
            self._pool = ProcessPoolExecutor(self.workers, context, _start, arguments)
        slot = number % len(self._signs)
        self._signs[slot] = 0.0  # not begun
        return self._pool.submit(_work, utterance, scratch / str(number), slot)

    def _end_hangs(self, in_hand: deque[_InHand], scratch: Path) -> None:
        """Give up what shows no sign of life; the other recordings in hand go to new processes."""
        now, size = time.monotonic(), len(self._signs)
        began = [one for one in in_hand if not one.future.done() and self._signs[one.number % size]]
        hung = {one.number for one in began if now - self._signs[one.number % size] > self.time_limit_s}
        if not hung or self._pool is None:
            return
        for process in list(self._pool._processes.values()):  # there is no public way before Python 3.14
            kill_children(process.pid or 0)
            process.kill()
        self.close()
        for one in in_hand:
            if one.number in hung:
                one.future = Future()
                message = f"{one.utterance.audio}: no progress within {self.time_limit_s:g} s"
                one.future.set_result(_Result(None, failure=("timeout", message)))
            elif one.future.cancelled() or one.future.exception() is not None:
                one.future = self._submit(one.number, one.utterance, scratch)

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
_signs_of_life: Any = None


def _start(settings: Settings, signs: Any) -> None:
    global _encoder, _signs_of_life
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    threading.Thread(target=die_with_parent, daemon=True).start()  # the executor's own queue never ends for them
    _encoder, _signs_of_life = load(settings), signs


def _work(utterance: Utterance, spool: Path, slot: int) -> _Result:
    def beat() -> None:
        _signs_of_life[slot] = time.monotonic()

    assert _encoder is not None
    beat()
    return _encode(_encoder, utterance, spool, beat)


def _encode(encoder: "Encoder", utterance: Utterance, spool: Path, beat: Callable[[], None]) -> _Result:
    try:
        encoded = encoder.encode(utterance, spool, beat)
    except AudioError as error:
        return _Result(None, failure=(error.code, str(error)))
    seconds = encoded.num_samples / encoder.job.model.sample_rate
    if isinstance(encoded.frames, np.memmap):
        return _Result(None, seconds, path=spool, shape=(len(encoded.frames), encoded.frames.shape[1]))
    return _Result(encoded.frames, seconds)

"""The process that holds a model and runs the shards it is sent.

Messages it sends, each a tuple: ("ready",), ("beat", row, seconds) while it works, ("done", ShardResult), and
("failed", error) for what no other shard would survive either. It dies at once with the process that started it.
"""

import os
import signal
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from speechssl.errors import ConfigError, SpeechSSLError
from speechssl.extract.job import Job, ModelSpec, check_loaded
from speechssl.extract.processes import limit_growth

if TYPE_CHECKING:
    from speechssl.extract.encode import Encoder

HEAVY = ("speechssl.extract.shard", "speechssl.units.model")  # what a worker imports; the parent process need not


@dataclass(frozen=True)
class Settings:
    """What a worker needs to begin."""

    job: Job
    spec: ModelSpec
    folder: Path  # where shards go
    tag: str  # names this run's scratch folders
    threads: int = 1  # of torch; fixed, so that sums have one order whatever the number of workers
    allow_pipes: bool = False
    memory_limit: int | None = None  # bytes that a worker process may use
    allow_remote: bool = False


def load(settings: Settings) -> "Encoder":
    """The job's encoder, checked to be the one that the job was made with."""
    import torch

    from speechssl.extract.encode import Encoder
    from speechssl.nn.device import prepare_cuda

    torch.set_num_threads(settings.threads)
    job = settings.job
    loaded = settings.spec.load(job.kind)
    check_loaded(job.model, loaded)
    pretrained, layer, quantizer = loaded
    pretrained = pretrained.with_precision(job.precision).with_kernel(job.kernel)
    if job.device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("device cuda: torch finds no GPU here (nvidia-smi, or a CPU-only torch?)")
        prepare_cuda(exact=True)
        pretrained.encoder.to(job.device)
    return Encoder(job, pretrained, layer, quantizer, allow_pipes=settings.allow_pipes,
                   allow_remote=settings.allow_remote)  # fmt: skip


def main(connection: Connection, settings: Settings) -> None:
    """The worker's life: load, then run shards until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what happens on Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # and on the SIGTERM that a cluster sends to every process
    threading.Thread(target=die_with_parent, daemon=True).start()
    from speechssl.extract.shard import run_shard

    try:
        encoder = load(settings)
        if settings.job.device == "cpu":  # a GPU's driver maps far more than it uses
            limit_growth(settings.memory_limit)
        connection.send(("ready",))
        while True:
            task, skip = connection.recv()
            result = run_shard(
                task, settings.folder, encoder, tag=settings.tag, skip=skip,
                beat=lambda row, seconds: connection.send(("beat", row, seconds)),
            )  # fmt: skip
            connection.send(("done", result))
    except (EOFError, BrokenPipeError):
        return
    except (SpeechSSLError, OSError) as error:
        _send(connection, error)
    except BaseException:  # reported to the parent, which stops the run: a bug must not look like a dead worker
        _send(connection, RuntimeError(traceback.format_exc()))
        raise


def _send(connection: Connection, error: Exception) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.send(("failed", error))


def die_with_parent() -> None:
    """Wait for the end of the process that started this one, and leave at once. For a thread of its own."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

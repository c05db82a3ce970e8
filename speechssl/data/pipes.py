"""wav.scp entries that are commands: refused unless allowed, and then run by argument list, never by a shell.

Only programs of `PROGRAMS` run, found by their bare name in PATH (a folder before the name is passed over, so that an
entry cannot bring its own program). Shell syntax other than `|` between programs and `2>/dev/null` is refused. An
allowed program can still read and write what its arguments name: allow commands only in data you trust.
"""

import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import PurePath
from typing import IO, BinaryIO

from speechssl.errors import AudioError, DataError

_DECODERS = "sph2pipe sox ffmpeg flac opusdec oggdec mpg123 wvunpack shorten"
PROGRAMS = frozenset(f"{_DECODERS} cat gunzip zcat bzcat xzcat gzip".split())
TIMEOUT_S = 600.0
MAX_BYTES = 4 << 30  # of output


def is_command(entry: str) -> bool:
    """Whether a wav.scp entry is a command (or standard input) and no file."""
    return entry.endswith("|") or entry.startswith("|") or entry == "-" or "|" in entry.split(" ")


def check(entry: str, where: str, *, allow_pipes: bool) -> None:
    """Raise DataError, beginning with `where` (file:line), for a command that is not allowed."""
    if not allow_pipes:
        raise DataError(f"{where}: {entry!r} is a command, not a file; add --allow-pipes to run commands")
    try:
        parse(entry)
    except AudioError as error:
        raise DataError(f"{where}: {error}") from None


def parse(entry: str) -> list[list[str]]:
    """The programs of a pipeline with their arguments. Raises AudioError("pipe-refused")."""
    text = re.sub(r"\s2>\s*/dev/null(?=\s)", " ", entry)
    if not text.endswith("|") or not text[:-1].strip():
        raise _refused(entry, "a command must end with |")
    if any(character in text for character in "$`\n\r\0"):
        raise _refused(entry, "shell syntax")
    lexer = shlex.shlex(text[:-1], posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split, lexer.commenters = True, ""
    stages: list[list[str]] = [[]]
    try:
        for token in lexer:
            if token == "|":
                stages.append([])
            elif token and set(token) <= set("();<>|&"):
                raise _refused(entry, f"shell syntax {token!r}")
            else:
                stages[-1].append(token)
    except ValueError as error:  # an open quotation
        raise _refused(entry, str(error)) from None
    for stage in stages:
        _check_stage(entry, stage)
    return stages


def run(entry: str, *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_BYTES) -> BinaryIO:
    """The output of a command, in a temporary file without a name. Raises AudioError (pipe-refused, pipe-failed)."""
    stages = [[_find(entry, stage[0]), *stage[1:]] for stage in parse(entry)]
    deadline = time.monotonic() + timeout_s
    output = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with ExitStack() as stack:
            logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in stages]
            source: IO[bytes] | int = subprocess.DEVNULL
            for stage, log in zip(stages, logs, strict=True):
                process = subprocess.Popen(
                    stage, stdin=source, stdout=subprocess.PIPE, stderr=log, start_new_session=True
                )
                processes.append(process)
                if not isinstance(source, int):
                    source.close()  # the next program holds it now
                assert process.stdout is not None
                source = process.stdout
            assert not isinstance(source, int)
            _collect(entry, source, output, deadline, max_bytes)
            for process, stage, log in zip(processes, stages, logs, strict=True):
                _wait(entry, process, stage[0], log, deadline)
    except OSError as error:
        output.close()
        raise AudioError("pipe-failed", f"{entry!r}: {error.strerror}") from None
    except BaseException:
        output.close()
        raise
    finally:
        _end(processes)
    return output


def _check_stage(entry: str, stage: list[str]) -> None:
    if not stage:
        raise _refused(entry, "an empty command")
    name = PurePath(stage[0]).name
    if name not in PROGRAMS:
        raise _refused(entry, f"{name!r} is not among the allowed programs ({', '.join(sorted(PROGRAMS))})")
    bad = next((a for a in stage[1:] if a.startswith("|") or "://" in a), None)
    if bad is not None:  # sox runs `|command` by itself, ffmpeg fetches addresses
        raise _refused(entry, f"argument {bad!r}")


def _refused(entry: str, reason: str) -> AudioError:
    return AudioError("pipe-refused", f"{entry!r}: {reason}")


def _find(entry: str, program: str) -> str:
    found = shutil.which(PurePath(program).name)
    if found is None:
        raise AudioError("pipe-failed", f"{entry!r}: {PurePath(program).name} is not installed")
    return found


def _collect(entry: str, source: IO[bytes], output: BinaryIO, deadline: float, max_bytes: int) -> None:
    num_bytes = 0
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise AudioError("pipe-failed", f"{entry!r}: not done within its time limit")
            block = os.read(source.fileno(), 1 << 16)
            if not block:
                return
            num_bytes += len(block)
            if num_bytes > max_bytes:
                raise AudioError("pipe-failed", f"{entry!r}: more than {max_bytes} bytes of output")
            output.write(block)


def _wait(entry: str, process: subprocess.Popen[bytes], name: str, log: BinaryIO, deadline: float) -> None:
    try:
        status = process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise AudioError("pipe-failed", f"{entry!r}: {PurePath(name).name} does not end") from None
    if status:
        log.seek(0)
        said = log.read(2000).decode("utf-8", "replace").strip().replace("\n", " / ")
        raise AudioError("pipe-failed", f"{entry!r}: {PurePath(name).name} ended with {status}: {said[-300:]}")


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Leave no program behind, nor what it started."""
    for process in processes:
        if process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout:
            process.stdout.close()

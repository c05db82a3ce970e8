"""One mutator and one way to try it for every reader: a damaged file is read, or refused with an error of our own."""

import faulthandler
import random
import signal
import struct
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from speechssl.errors import SpeechSSLError

HANG_S = 10.0
MOST_BYTES = 300 << 20  # that one file may take beside what was there before
# Words that mean something in one format or another, and numbers at the ends of their kinds.
TOKENS = [
    b"\n", b" ", b"\t", b"\0", b"\xff", b"\r\n", b"|", b"-1", b"nan", b"1e999", b"{", b"}", b"[", b"]", b"null",
    b"true",
    b'"', b"9" * 400, b"9" * 5000, b"\xc2\xa0", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"-", b"..", b"/", b":", b"0", b"[]",
    b"{}", b'"x"', b"3.5", b"1e5", b"99999999", b"4294967296", b"../x", b"a b", b"=", b"#", b"\\u0000", b"[" * 3000,
    b"RIFF",
    b"PK\x03\x04", b"\x80\x02", b"R", b"b.", b"\x93NUMPY", b"OggS\0", b"\xff\xfb\x90\x64", b"True", b"-0",
    b"0x10", b"&a", b"*a",
]  # fmt: skip
_WIDTHS = {"<B": 1, "<H": 2, ">H": 2, "<I": 4, ">I": 4, "<Q": 8, ">Q": 8}


@dataclass(frozen=True)
class Case:
    """Files by name as they should be, and those of them to damage.

    parts: where not a whole file is damaged but what is packed in it: that, and how it is packed again.
    """

    files: Mapping[str, bytes]
    targets: Sequence[str] = ()  # empty: all
    parts: Mapping[str, tuple[bytes, Callable[[bytes], bytes]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """What is tried: `make(folder)` gives cases (the folder is for libraries that only write files)."""

    make: Callable[[Path], Sequence[Case]]
    read: Callable[[Path], object]  # gets the folder of a case
    changes: bool = False  # whether reading may change the folder


@dataclass
class Result:
    """What came of it. `failures`: an example with its traceback by kind of failure."""

    tried: int = 0
    read: int = 0
    refused: int = 0
    slowest_s: float = 0.0  # of work
    most_bytes: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    num_failures: Counter[str] = field(default_factory=Counter)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damage: flipped bits, other bytes, parts cut out, repeated or swapped, numbers at their ends, foreign words."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(9):
            case 0 if at < len(raw):
                raw[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(raw):
                raw[at] = rng.randrange(256)
            case 2:
                del raw[at : at + rng.choice((1, 2, 4, 10, 50))]
            case 3:
                raw[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4 if rng.random() < 0.3:
                del raw[at:]
            case 5:
                code = rng.choice(list(_WIDTHS))
                top = 256 ** _WIDTHS[code]
                number = rng.choice((0, 1, top - 1, top // 2, top // 2 - 1, top // 4, rng.randrange(1000) % top))
                raw[at : at + _WIDTHS[code]] = struct.pack(code, number)
            case 6:
                start = rng.randrange(len(raw) + 1)
                raw[at:at] = raw[start : start + rng.choice((1, 8, 64))]
            case 7:
                start, size = rng.randrange(len(raw) + 1), rng.choice((1, 4, 16))
                raw[at : at + size], raw[start : start + size] = raw[start : start + size], raw[at : at + size]
            case _:
                raw[at : at + rng.choice((0, 0, 1, 3, 10))] = rng.choice(TOKENS)
    return bytes(raw)


def attempt(name: str, reader: Reader, folder: Path, count: int) -> Result:
    """`count` damaged files, each made from its number alone.

    A hang inside a C library, where no Python code runs, ends the process with a traceback after ten minutes.
    """
    (folder / "make").mkdir()
    cases = reader.make(folder / "make")
    homes = [folder / f"case{number}" for number in range(len(cases))]
    for case, home in zip(cases, homes, strict=True):
        _write(home, case.files)
        reader.read(home)  # as it should be, it reads
    result = Result()
    for number in range(count):
        rng = random.Random(f"{name} {number}")
        which = number % len(cases)
        case, home = cases[which], homes[which]
        target = rng.choice(case.targets or list(case.files))
        content, pack = case.parts.get(target, (case.files[target], bytes))
        (home / target).write_bytes(pack(mutate(content, rng)))
        if number % 50 == 0:  # it starts a thread, which takes longer than most readers
            faulthandler.dump_traceback_later(60 * HANG_S, exit=True)
        _try(reader, home, result, f"{name}, number {number}, {target}")
        _write(home, case.files if reader.changes else {target: case.files[target]})
    faulthandler.cancel_dump_traceback_later()
    return result


def _try(reader: Reader, home: Path, result: Result, what: str) -> None:
    result.tried += 1
    before, began = reset_peak(), time.process_time()
    kind = text = ""
    try:
        with watchdog(HANG_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(home)
        result.read += 1
    except SpeechSSLError:
        result.refused += 1
    except Hang:
        kind, text = f"takes more than {HANG_S:g} s: {_place()}", traceback.format_exc()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        kind, text = f"{type(error).__name__}: {_place()}", traceback.format_exc()
    peak, seconds = peak_bytes() - before, time.process_time() - began
    result.slowest_s, result.most_bytes = max(result.slowest_s, seconds), max(result.most_bytes, peak)
    if not kind and peak > MOST_BYTES:
        kind = f"takes {peak >> 20} MiB"
    if kind:
        result.num_failures[kind] += 1
        result.failures.setdefault(kind, f"{what}\n{text}")


def _place() -> str:
    """Where in our code the exception in hand came from."""
    import sys

    frames = traceback.extract_tb(sys.exc_info()[2])
    ours = [frame for frame in frames if "/speechssl/" in frame.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "not in our code"


def _write(home: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = home / name
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        path.write_bytes(data)


class Hang(BaseException):
    """Raised by the watchdog; nothing but the watchdog's user may catch it."""


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Hang after so many seconds of work, or six times as many of waiting: other tests share this machine."""

    def bark(number: int, frame: object) -> None:
        raise Hang

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, seconds), signal.ITIMER_REAL: (signal.SIGALRM, 6 * seconds)}
    previous = {number: signal.signal(number, bark) for number, _ in timers.values()}
    for timer, (_, limit) in timers.items():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def reset_peak() -> int:
    """Forget the process's peak of memory; returns what it has now, in bytes. 0 where the system cannot tell."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return 0
    return peak_bytes()


def peak_bytes() -> int:
    """Most memory that this process had since `reset_peak`, in bytes."""
    try:
        with open("/proc/self/status", "rb") as file:
            line = next((line for line in file if line.startswith(b"VmHWM:")), b"VmHWM: 0 kB")
    except OSError:
        return 0
    return int(line.split()[1]) << 10

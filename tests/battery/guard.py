"""Watches what the interpreter does while something malicious is read: code run, files written, connections, memory."""

import os
import stat
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl.errors import SpeechSSLError
from tests.battery.mutations import Hang, peak_bytes, reset_peak, watchdog

HANG_S = 10.0
MOST_BYTES = 400 << 20
ROOT = Path(__file__).parent.parent.parent
_TRUSTED = (*map(str, (sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"], ROOT)), "<frozen")
_RUNS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
         "ctypes.dlopen", "ctypes.dlsym", "pickle.find_class", "code.__new__", "function.__new__", "webbrowser.open",
         "sys.settrace", "sys.setprofile", "cpython.run_")  # fmt: skip
_WRITES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "os.chmod",
           "os.chown", "os.utime", "os.mkfifo", "os.mknod")  # fmt: skip
_CONNECTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind",
             "urllib.Request", "http.client.connect")  # fmt: skip
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Seen:
    """What was done that reading has no business to do."""

    home: Path  # writing is allowed below it
    executed: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)
    may_connect: bool = False  # to this machine


@dataclass
class Outcome:
    """What came of one attack."""

    seen: Seen
    refused: str = ""  # our own error's message; empty: read without harm
    wrong: str = ""  # another error, a hang
    seconds: float = 0.0
    num_bytes: int = 0

    @property
    def verdict(self) -> list[str]:
        """What is wrong, a line each."""
        wrong = [self.wrong] if self.wrong else []
        wrong += [f"executed {what}" for what in self.seen.executed]
        wrong += [f"written outside: {what}" for what in self.seen.written]
        wrong += [f"connected {what}" for what in self.seen.connected]
        return wrong + ([f"took {self.num_bytes >> 20} MiB"] if self.num_bytes > MOST_BYTES else [])


def under_watch(action: Callable[[], object], home: Path, *, may_connect: bool = False) -> Outcome:
    """Do it, and tell what it did. Writing is allowed below `home` only."""
    outcome = Outcome(Seen(home.resolve(), may_connect=may_connect))
    before, began = reset_peak(), time.process_time()
    try:
        with watchdog(HANG_S), _watching(outcome.seen):
            action()
    except SpeechSSLError as error:
        outcome.refused = str(error) or "refused"
    except Hang:
        outcome.wrong = f"took more than {HANG_S:g} s"
    except Exception as error:
        outcome.wrong = f"{type(error).__name__}: {error}"[:500]
    outcome.seconds, outcome.num_bytes = time.process_time() - began, peak_bytes() - before
    return outcome


_active: list[Seen] = []


@contextmanager
def _watching(seen: Seen) -> Iterator[None]:
    if not _installed:
        sys.addaudithook(_hook)  # a hook cannot be taken away again; it looks only where somebody watches
        _installed.append(True)
    previous, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    _active.append(seen)
    try:
        yield
    finally:
        _active.pop()
        sys.dont_write_bytecode = previous


_installed: list[bool] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _active:
        return
    seen = _active.pop()  # not again while we look
    try:
        _look(seen, event, args)
    finally:
        _active.append(seen)


def _look(seen: Seen, event: str, args: tuple[Any, ...]) -> None:
    what = f"{event} {args!r:.200}"
    if event.startswith(_RUNS):
        if not _importing():
            seen.executed.append(what)
    elif event == "exec":
        name = getattr(args[0], "co_filename", "")
        if not (name.startswith(_TRUSTED) or _importing()):
            seen.executed.append(f"exec of {name}")
    elif event == "import":
        if args[0].partition(".")[0] in ("antigravity", "evil", "this", "idlelib", "pip"):
            seen.executed.append(what)
    elif event == "open":
        path, mode, flags = args
        writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (mode is None and flags & _FLAGS)
        # a folder that is opened for writing gives a file that has no name in it
        nameless = not isinstance(path, int) and Path(os.fsdecode(path)).is_dir()
        follows = not flags & os.O_NOFOLLOW
        if writes and not nameless and not _is_below(path, seen.home, follow=follows):
            seen.written.append(what)
    elif event in _WRITES:
        changed = args[:2] if event == "os.rename" else args[1:2] if event in ("os.symlink", "os.link") else args[:1]
        follows = event in ("os.truncate", "os.chmod", "os.chown")  # os.utime does not say
        if not all(_is_below(path, seen.home, args, follow=follows) for path in changed):
            seen.written.append(what)
    elif event in _CONNECTS:
        local = any(host in repr(args) for host in ("127.0.0.1", "localhost"))
        if not (local and (seen.may_connect or event == "socket.bind")):  # a test's own server is bound there
            seen.connected.append(what)


def _importing() -> bool:
    """Whether an import of a module of ours or of a library is under way: that runs code and is no harm."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _is_below(path: Any, home: Path, args: tuple[Any, ...] = (), *, follow: bool = True) -> bool:
    """Whether what is written is below `home`, links followed (the last one as `follow` says); devices do not count."""
    if isinstance(path, int):  # an open file: its opening was looked at
        return True
    text = os.fsdecode(path)
    folder = next((arg for arg in args[1:] if type(arg) is int and arg > 2), None)
    if folder is not None and not text.startswith("/"):  # relative to an open folder, as rmtree does it
        text = f"{Path(f'/proc/self/fd/{folder}').readlink()}/{text}"
    folder_name, _, last = text.rpartition("/")
    real = os.path.realpath(text) if follow else f"{os.path.realpath(folder_name or '.')}/{last}"
    try:
        if stat.S_ISCHR(Path(real).stat().st_mode):
            return True
    except OSError:
        pass
    return real == str(home) or real.startswith(f"{home}/")

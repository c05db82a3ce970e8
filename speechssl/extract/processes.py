"""What the system says of worker processes: their memory and their children. Linux (/proc, control groups).

Elsewhere nothing is known: no limit is kept then.
"""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

SHARE = 0.9  # of the memory that there is, for all workers together: the rest is for files and for everyone else
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UNLIMITED = 1 << 60  # control groups of the first kind say so by a number near 2^63
_GROUPS = Path("/sys/fs/cgroup")


def memory_used(pid: int) -> int:
    """Resident bytes of a process without the files it maps, which the kernel can drop. 0 where it cannot be known."""
    try:
        _, resident, shared = Path(f"/proc/{pid}/statm").read_bytes().split()[:3]
    except (OSError, ValueError):
        return 0
    return max(0, int(resident) - int(shared)) * _PAGE


def memory_limit(limit_gb: float | None, workers: int) -> int | None:
    """Bytes that each worker may use: what was asked for (0: any number), or its share of what there is."""
    if limit_gb is not None:
        return round(limit_gb * 1e9) or None
    there = memory_there()
    return None if there is None else int(SHARE * there / max(1, workers))


def memory_there() -> int | None:
    """Bytes of this machine, or fewer where a control group (container, Slurm) allows fewer; None where not known."""
    found = list(_group_limits())
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                found.append(int(line.split()[1]) * 1024)
    return min(found, default=None)


def limit_growth(limit: int | None) -> None:
    """Let this process map at most `limit` bytes more than it has: an allocation beyond that is a MemoryError.

    Backs up the parent's watch, which an allocation of many GB could outrun.
    """
    with suppress(OSError, ValueError, StopIteration):
        if limit is not None:
            status = Path("/proc/self/status").read_text().splitlines()
            now = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (now + limit, hard))


def kill_children(pid: int) -> None:
    """End what a process has started (commands of a wav.scp), each with its process group; for before its own end."""
    for child in _children(pid):
        with suppress(OSError):
            if os.getpgid(child) == child:
                os.killpg(child, signal.SIGKILL)
            else:
                os.kill(child, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """Those that any of its threads started; none where the process is gone, even while we look."""
    found: list[int] = []
    with suppress(OSError, ValueError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def _group_limits() -> Iterator[int]:
    """Memory limits of this process's control groups, both kinds, all levels."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if controllers == "":
                root, name = _GROUPS, "memory.max"
            elif "memory" in controllers.split(","):
                root, name = _GROUPS / "memory", "memory.limit_in_bytes"
            else:
                continue
            inner = PurePosixPath(place.lstrip("/"))
            for level in (inner, *inner.parents):  # a container may see its own group as the root
                with suppress(OSError, ValueError):
                    limit = int((root / level / name).read_text())  # "max" is no number
                    if 0 < limit < _UNLIMITED:
                        yield limit

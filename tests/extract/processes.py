"""What processes a test has started, and where they listen. Linux."""

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def descendants(root: int | None = None) -> dict[int, str]:
    """Process ids and commands of all that a process (default: this one) has started, and what these have started."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    found, look = set(), [root or os.getpid()]
    while look:
        children = [pid for pid, parent in parents.items() if parent == look[-1] and pid not in found]
        look.pop()
        found.update(children)
        look.extend(children)
    return {pid: commands[pid] for pid in sorted(found) if pid in commands}


def listening_addresses(pids: Iterable[int]) -> set[str]:
    """The addresses of all listening TCP sockets of these processes."""
    inodes = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                inodes.add(str(handle.readlink()))
    addresses = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                raw = bytes.fromhex(fields[1].partition(":")[0])
                words = b"".join(raw[n : n + 4][::-1] for n in range(0, len(raw), 4))  # each in this machine's order
                addresses.add(socket.inet_ntop(family, words))
    return addresses

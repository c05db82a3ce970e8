"""A disk that is full: 3 MB that really are all there is, or, where nothing may be mounted, files that cannot grow."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

SIZE = 3 << 20  # bytes
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Disk:
    """A folder on a small disk, and a way to leave only so much room on it."""

    how = "a 3 MB tmpfs"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def left(self) -> int:
        """Free bytes."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    @contextlib.contextmanager
    def with_room_for(self, num_bytes: int) -> Iterator[None]:
        """Fill the disk but for so many bytes (whole pages); a file that is in the way goes again afterwards."""
        ballast = self.folder / "ballast"
        try:
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(_PAGE, self.left() - num_bytes // _PAGE * _PAGE))
            yield
        finally:
            ballast.unlink()


class SmallFiles(Disk):
    """No disk: no file of this process can grow beyond the limit. The signal for that is ignored by Python."""

    how = "a limit on the size of files (no right to mount)"

    @contextlib.contextmanager
    def with_room_for(self, num_bytes: int) -> Iterator[None]:
        """Until the end of the block no file can have more bytes than this."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A disk mounted at `folder` (made), or the other way to have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(folder)]
    try:
        mounted = os.geteuid() == 0 and not subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        mounted = False
    if not mounted:
        yield SmallFiles(folder)
        return
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)

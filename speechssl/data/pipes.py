"""wav.scp entries that are commands: refused unless allowed, and then run by argument list, never by a shell."""

from speechssl.errors import DataError


def is_command(entry: str) -> bool:
    """Whether a wav.scp entry is a command (or standard input) and no file."""
    return entry.endswith("|") or entry.startswith("|") or entry == "-" or "|" in entry.split(" ")


def check(entry: str, where: str, *, allow_pipes: bool) -> None:
    """Raise DataError, beginning with `where` (file:line), for a command that is not allowed."""
    if not allow_pipes:
        raise DataError(f"{where}: {entry!r} is a command, not a file; add --allow-pipes to run commands")

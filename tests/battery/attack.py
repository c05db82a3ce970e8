"""What an attack of the battery is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attack:
    """Something malicious: `make` puts it into a fresh folder, `use` does with it what a user would.

    Beside the folder lies `../outside/precious`, which must stay as it is.
    """

    kind: str
    name: str
    make: Callable[[Path], object]
    use: Callable[[Path], object]
    may_connect: bool = False  # to this machine


def file(name: str, data: bytes | Callable[[], bytes]) -> Callable[[Path], object]:
    """Put one file there; what is large is made only then."""
    return lambda home: (home / name).write_bytes(data() if callable(data) else data)


def files(contents: dict[str, bytes]) -> Callable[[Path], object]:
    """Put several files there, in folders if their names say so."""

    def make(home: Path) -> None:
        for name, data in contents.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(data)

    return make

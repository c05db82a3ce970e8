"""Released checkpoints by short name: where they are, how their waveforms are normalised, which k-means are theirs.

The table is `assets/known_checkpoints.toml`. A name is also recognised by hub repository and by file name.
"""

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

from speechssl import config

_TABLE = Path(__file__).parent.parent / "assets" / "known_checkpoints.toml"


@dataclass(frozen=True)
class KnownKMeans:
    """A released k-means and the layer it was trained on."""

    name: str
    layer: int
    num_units: int
    url: str
    source: str  # the paper
    sha256: str = ""  # empty: not pinned


@dataclass(frozen=True)
class KnownCheckpoint:
    """A released encoder; the fields are explained in the table's head."""

    name: str
    family: str
    hub: str = ""
    url: str = ""
    format: str = ""
    sha256: str = ""
    normalize: bool | None = None
    files: tuple[str, ...] = ()
    advice: str = ""
    remark: str = ""
    licence: str = ""
    kmeans: tuple[KnownKMeans, ...] = ()


@dataclass(frozen=True)
class _Table:
    checkpoint: tuple[KnownCheckpoint, ...]


@functools.cache
def checkpoints() -> tuple[KnownCheckpoint, ...]:
    """The whole table in its order."""
    return config.build(_Table, tomllib.loads(_TABLE.read_text(encoding="utf-8"))).checkpoint


def find(name: str) -> KnownCheckpoint | None:
    """The entry with this short name or hub repository, or None."""
    return next((known for known in checkpoints() if name in (known.name, known.hub)), None)


def find_by_file(file_name: str) -> KnownCheckpoint | None:
    """The entry whose weights travel under this file name, or None."""
    return next((known for known in checkpoints() if file_name in known.files), None)


def find_kmeans(name: str) -> tuple[KnownCheckpoint, KnownKMeans] | None:
    """A released k-means by name, and the encoder that it belongs to."""
    pairs = ((known, kmeans) for known in checkpoints() for kmeans in known.kmeans)
    return next((pair for pair in pairs if pair[1].name == name), None)

"""A released k-means by its known name, its https address or its file."""

from pathlib import Path

from speechssl.convert import known
from speechssl.convert.kmeans_files import load_kmeans
from speechssl.errors import CheckpointError, ConfigError
from speechssl.quantizers.kmeans import KMeans


def find(spec: str | Path, *, offline: bool = False) -> Path:
    """The file of a k-means: itself, or what a known name or https address downloads (checked against its sha256)."""
    from speechssl.convert.download import fetch_url

    if Path(spec).exists():
        return Path(spec)
    found = known.find_kmeans(str(spec))
    if found is not None and not found[1].url:
        raise CheckpointError(f"{spec}: no plain k-means file was released under this name ({found[1].source})")
    if found is not None:
        return fetch_url(found[1].url, sha256=found[1].sha256, offline=offline).path
    if str(spec).startswith(("https://", "http://")):
        return fetch_url(str(spec), offline=offline).path
    raise CheckpointError(f"{spec}: no such file, and no known k-means (speechssl info --known lists them)")


def open_kmeans(spec: str | Path, *, offline: bool = False) -> KMeans:
    """The codebook that `find` finds. Raises CheckpointError."""
    return load_kmeans(find(spec, offline=offline))


def layer_of(spec: str | Path | None, given: int | None) -> int | None:
    """The layer a known k-means was made for, or `given`; ConfigError where the two contradict each other."""
    found = None if spec is None or Path(spec).exists() else known.find_kmeans(str(spec))
    if found is None or found[1].layer == given:
        return given
    if given is not None:
        raise ConfigError(f"{spec} was made for layer {found[1].layer}, not for layer {given}")
    return found[1].layer

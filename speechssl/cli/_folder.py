"""A folder that is there whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechssl.errors import ConfigError


@contextmanager
def new_folder(final: Path, overwrite: bool) -> Iterator[Path]:
    """A scratch folder that takes the place of `final` once everything in it is written and on the disk.

    ConfigError where `final` is there already; with overwrite, where it is no model (has no card.json).
    """
    from speechssl.extract import atomic

    if final.exists() and not overwrite and not (final.is_dir() and not any(final.iterdir())):
        raise ConfigError(f"{final} is there already: choose another folder, or give --overwrite")
    if overwrite and final.is_dir() and any(final.iterdir()) and not (final / "card.json").exists():
        raise ConfigError(f"{final} holds no model (no card.json): not overwritten")
    final.parent.mkdir(parents=True, exist_ok=True)
    atomic.clean_abandoned(final.parent, final.name)
    with atomic.scratch(final.parent, final.name) as scratch:
        yield scratch
        for path in [*scratch.rglob("*"), scratch]:
            atomic.sync(path)
        if final.exists():
            old = final.with_name(f".old-{final.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
            final.rename(old)
            scratch.rename(final)
            shutil.rmtree(old)
        else:
            scratch.rename(final)
        atomic.sync(final.parent)

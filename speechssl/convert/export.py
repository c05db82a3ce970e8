"""Write an encoder in a named format: into a new folder, all of it or nothing."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechssl.convert import export_fairseq2, export_huggingface
from speechssl.encoders import pretrained as native
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError, naming


def free_place(folder: Path) -> Path:
    """`folder` if it can be written: absent or empty. Raises CheckpointError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder}: exists and is not an empty folder; nothing is overwritten")
    return folder


def write(folder: Path, pretrained: Pretrained, to: str) -> tuple[str, ...]:
    """Write `pretrained` as "speechssl", "huggingface" or "fairseq2"; returns notes for the user.

    All of it or nothing, see `filling`. Raises CheckpointError where the format cannot hold the model.
    """
    with filling(folder) as work:
        return _write(work, folder, pretrained, to)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A second folder beside a free place, to be made and filled in the block, and renamed to it at the end."""
    folder = free_place(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        with naming(folder):
            yield work
            work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(work: Path, place: Path, pretrained: Pretrained, to: str) -> tuple[str, ...]:
    match to:
        case "speechssl":
            native.save(work, pretrained)
            return ()
        case "huggingface":
            return export_huggingface.write(work, pretrained)
        case "fairseq2":
            return export_fairseq2.write(work, pretrained, name=f"speechssl_{place.name}", place=place)
        case _:
            raise CheckpointError(f"{to!r} is no format to write; known: speechssl, huggingface, fairseq2")

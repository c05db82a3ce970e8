"""Features that lie on the disk, whoever wrote them: ours, Kaldi's feats.scp or .ark, fairseq's .npy with .len."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from speechssl import files
from speechssl.data import ark
from speechssl.errors import DataError
from speechssl.extract import job as jobs
from speechssl.extract.job import Job
from speechssl.extract.outputs import read_features
from speechssl.npy import map_npy

Pass = Callable[[], Iterator[tuple[str, np.ndarray]]]


def open_features(path: str | Path) -> tuple[Pass, Job | None]:
    """A function that reads all (id, features [T, C]) anew each time; and the job, if `speechssl features` wrote them.

    path: an output folder of `speechssl features`; a folder with feats.scp, or with .npy files (each with a .len of
    frames per utterance, or taken as one utterance); or one .scp, .ark or .npy file. Raises DataError.
    """
    path = Path(path)
    if (path / "job.json").is_file():
        return lambda: read_features(path), jobs.load(path)
    if path.suffix == ".ark":
        return lambda: ark.read_ark(path), None
    scp = path / "feats.scp" if path.is_dir() else path
    if scp.suffix == ".scp" and scp.is_file():
        return lambda: iter(ark.Scp(scp).items()), None
    arrays = sorted(path.glob("*.npy")) if path.is_dir() else [path] if path.suffix == ".npy" else []
    if not arrays:
        raise DataError(f"{path}: no features there (job.json of `speechssl features`, feats.scp, .ark or .npy files)")
    return lambda: _read_arrays(arrays), None


def _read_arrays(paths: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    for path in paths:
        frames = map_npy(path)
        if frames.ndim != 2 or frames.dtype.kind != "f":
            raise DataError(f"{path}: features must be floats [frames, channels], found {frames.dtype} {frames.shape}")
        lengths = path.with_suffix(".len")
        start = 0
        for row, length in enumerate(_read_lengths(lengths) if lengths.exists() else [len(frames)]):
            yield f"{path.stem}:{row}", frames[start : start + length]
            start += length
        if start != len(frames):
            raise DataError(f"{lengths}: its {start} frames are not the {len(frames)} of {path.name}")


def _read_lengths(path: Path) -> list[int]:
    try:
        lines = files.read_bytes(path, most=1 << 30).decode("ascii", errors="replace").split("\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        if line and not (line.isdecimal() and line.isascii() and len(line) < 19):
            raise DataError(f"{path}:{number}: {line!r} is not a number of frames")
    return [int(line) for line in lines if line]

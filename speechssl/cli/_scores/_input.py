"""What kinds of scores read: units, frames, labels of utterances; and the options that say how."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np


def add_phone_arguments(parser: argparse.ArgumentParser, *, required: bool, shift: bool = True) -> None:
    """What says where phones are, how units are read, and where the score goes. shift: labels may be moved."""
    parser.add_argument("--phones", metavar="FILE", required=required, help="phone alignments of the same utterances")
    parser.add_argument("--phones-format", default="auto", metavar="NAME",
                        help="jsonl, frames, tsv, ctm or textgrid (default: from name and content)")  # fmt: skip
    parser.add_argument("--phone-rate", type=float, default=100.0, metavar="HZ",
                        help="rate at which labels are compared; that of per-frame labels (default 100)")  # fmt: skip
    if shift:
        parser.add_argument("--phone-shift", type=float, default=0.0, metavar="S",
                            help="move every label by so many seconds, negative: earlier (default 0)")  # fmt: skip
    parser.add_argument("--tier", default="", help="tier of the TextGrids (default: phones, or the only one)")
    parser.add_argument("--allow-missing", action="store_true",
                        help="utterances without an alignment, or without units, are expected")  # fmt: skip
    parser.add_argument("--num-units", type=int, metavar="V", help="codebook size, for files that do not say")
    parser.add_argument("--unit-rate", type=float, metavar="HZ", help="unit rate, for files that do not say")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def open_units(
    path: Any, num_units: int | None, unit_rate: float | None, *, any_rate: bool = False, reduced: bool = False
) -> "tuple[int, float, Iterator[tuple[str, np.ndarray]]]":
    """Codebook size, rate and units frame by frame of an output folder or a file; any_rate: nobody will ask for it.

    reduced: merged units of a normaliser will do, too.
    """
    from speechssl.errors import ConfigError, DataError
    from speechssl.extract import job as jobs
    from speechssl.extract.outputs import read_units
    from speechssl.metrics.unit_files import read_unit_file

    if not path.is_dir():
        size, rate, rows = read_unit_file(path, num_units=num_units, unit_rate=unit_rate, any_rate=any_rate)
        return size, rate, _each_once(path, rows)
    if num_units is not None or unit_rate is not None:
        raise ConfigError("--num-units and --unit-rate have no effect on an output folder, which knows both")
    model = jobs.load(path).model
    if not (path / "sha256sums").exists():
        raise DataError(f"{path}: not finished; give the same `speechssl units` command again to go on")
    rows = ((name, units.frames()) for name, units in read_units(path, reduced=reduced))
    return model.num_units or 0, model.rate_hz, rows


def _each_once(path: Any, utterances: "Iterator[tuple[str, np.ndarray]]") -> "Iterator[tuple[str, np.ndarray]]":
    from speechssl.errors import DataError

    seen = set()
    for name, units in utterances:
        if name in seen:
            raise DataError(f"{path}: units of utterance {name!r} for the second time")
        seen.add(name)
        yield name, units


def open_frames(path: Path, rate_hz: float | None) -> tuple[Any, float, float, bool]:
    """(id, frames [T, C]) pairs, their rate, the first frame's centre in seconds, and whether they are units.

    Raises ConfigError where the rate is not known, DataError for what is neither.
    """
    import torch

    from speechssl.errors import ConfigError
    from speechssl.extract import job as jobs
    from speechssl.extract.outputs import read_units
    from speechssl.extract.stored_features import open_features

    job = jobs.load(path) if (path / "job.json").is_file() else None
    if job is None:
        if rate_hz is None:
            raise ConfigError(f"{path} does not say how many frames a second it has: give --rate")
        reader, _ = open_features(path)
        return ((n, torch.from_numpy(x.copy())) for n, x in reader()), rate_hz, 0.5 / rate_hz, False
    if rate_hz is not None:
        raise ConfigError("--rate has no effect on an output folder, which knows it")
    centre_s = _window(job.model.frame_rule) / 2 / job.model.sample_rate
    if job.kind == "units":
        units = ((name, torch.from_numpy(u.frames().astype("int64"))[:, None]) for name, u in read_units(path))
        return units, job.model.rate_hz, centre_s, True
    reader, _ = open_features(path)
    return ((n, torch.from_numpy(x.copy())) for n, x in reader()), job.model.rate_hz, centre_s, False


def _window(frame_rule: str) -> int:
    """Samples of a frame, from `floor((N - 400) / 320) + 1`."""
    import re

    from speechssl.errors import DataError

    found = re.search(r"N - (\d{1,9})\)", frame_rule)
    if found is None:
        raise DataError(f"a frame rule of another form: {frame_rule!r}")
    return int(found[1])


def read_groups(path: Path) -> dict[str, str]:
    """Utterance -> group. Raises DataError for lines of another form and for utterances that stand twice."""
    from speechssl.data.lines import read_lines
    from speechssl.errors import DataError

    found: dict[str, str] = {}
    for number, line in read_lines(path):
        fields = line.split()
        if len(fields) != 2:
            raise DataError(f"{path}:{number}: expected an utterance and its group, got {line!r:.100}")
        if found.setdefault(fields[0], fields[1]) != fields[1]:
            raise DataError(f"{path}:{number}: {fields[0]} is in {found[fields[0]]} and in {fields[1]}")
    return found

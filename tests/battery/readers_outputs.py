"""Readers of output folders, and small ones of each kind: every file of them is damaged."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from speechssl.cli._gather import Texts, from_output
from speechssl.data.corpus import open_corpus
from speechssl.errors import SpeechSSLError
from speechssl.extract.job import ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.outputs import read_features, read_units, verify
from speechssl.extract.run import Options, run_features, run_units
from speechssl.report.page import render
from tests.battery.mutations import Case, Reader
from tests.battery.readers_models import contents
from tests.extract.helpers import corpus
from tests.units.test_model import mfcc_model

OPTIONS = Options(workers=0, quiet=True)


_pages = itertools.count()


def _corpus(folder: Path) -> Path:
    """Three recordings, one of them bad, and a model; made once per folder."""
    if not (folder / "audio").exists():
        corpus(folder / "audio", 2, seconds=0.1)
        (folder / "audio" / "bad.wav").write_text("no audio")
        mfcc_model(4).save(folder / "model")
    return folder / "audio"


def units_folders(folder: Path) -> Sequence[Case]:
    audio = open_corpus(_corpus(folder))
    run_units(audio, folder / "out", ModelSpec(str(folder / "model")), outputs=[Output("jsonl", True)], shard_size=2,
              options=OPTIONS)  # fmt: skip
    files = {name: data for name, data in contents(folder / "out").items() if not name.startswith("lock")}
    return [Case(files), Case({name: data for name, data in files.items() if name != "sha256sums"})]


def features_folders(folder: Path) -> Sequence[Case]:
    audio = open_corpus(_corpus(folder))
    cases = []
    for store in ("npy", "npz", "safetensors", "ark", "tar"):
        out = folder / store
        run_features(audio, out, ModelSpec(str(folder / "model")), format=store, shard_size=3, options=OPTIONS)
        files = {name: data for name, data in contents(out).items() if not name.startswith("lock")}
        read_back = [name for name in files if name.startswith(("shards/", "journal", "job"))]
        cases.append(Case(files, read_back))
    return cases


def read_units_folder(home: Path) -> None:
    """Verified, read back, scored."""
    refused = None
    for action in (lambda: verify(home), lambda: [units.frames() for _, units in read_units(home)]):
        try:
            action()
        except SpeechSSLError as error:
            refused = error
    if refused:
        raise refused


def read_features_folder(home: Path) -> None:
    verify(home)
    for _, frames in read_features(home):
        frames.sum()


def shown(home: Path) -> None:
    """As a page; the recordings, which take nine tenths of the time, on every tenth only."""
    page = from_output(home, Texts("a title"), num=1)
    render(page if next(_pages) % 10 == 0 else dataclasses.replace(page, recordings=()))


def go_on(home: Path) -> None:
    """The command that made the folder, once more: it does again what is damaged, or refuses."""
    where = home.parent / "make"
    audio = open_corpus(_corpus(where))
    run_units(audio, home, ModelSpec(str(where / "model")), outputs=[Output("jsonl", True)], shard_size=2,
              options=OPTIONS)  # fmt: skip


def finished(folder: Path) -> Sequence[Case]:
    return units_folders(folder)[:1]


READERS = {
    "units folder": Reader(units_folders, read_units_folder),
    "features folder": Reader(features_folders, read_features_folder),
    "units folder as a page": Reader(finished, shown, changes=True),
    "units folder, gone on with": Reader(finished, go_on, changes=True),
}

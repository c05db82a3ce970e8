"""A flipped bit, a cut, a lost or a strange file in an output folder: `speechssl verify` finds every one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from speechssl.data.corpus import open_corpus
from speechssl.errors import DataError
from speechssl.extract.merge import Output
from speechssl.extract.outputs import verify
from speechssl.extract.run import Options, run_features, run_units
from speechssl.units.formats import names
from tests.battery.conftest import Record
from tests.battery.size import size
from tests.battery.test_disk import STORES
from tests.extract.helpers import contents, corpus, model

HERE = Options(workers=0, quiet=True)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Finished folders: units in all formats, features in all stores, with a recording that was skipped."""
    root = tmp_path_factory.mktemp("flips")
    corpus(root / "in", 6)
    (root / "in" / "bad.wav").write_bytes(b"RIFF")
    speech, spec = open_corpus(root / "in"), model(root / "model")
    formats = [Output(name, True) for name in names()]
    run_units(speech, root / "units", spec, outputs=formats, shard_size=3, options=HERE)
    for store in STORES:
        run_features(speech, root / store, spec, format=store, shard_size=3, options=HERE)
    return [root / name for name in ("units", *STORES)]


def written(folder: Path) -> list[Path]:
    """Files with bytes in them; not the locks, which are no output: they say which process was the last to write."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("lock"))
    return [path for path in files if path.stat().st_size]


def flip(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    changed[random.integers(len(data))] ^= 1 << random.integers(8)
    return bytes(changed)


def found(folder: Path) -> bool:
    """Whether verify finds fault; an error is not one of Python's own."""
    try:
        return bool(verify(folder)[0])
    except DataError:
        return True


def test_verify_finds_every_flipped_bit(outputs: list[Path], record: Record) -> None:
    random = np.random.default_rng(0)
    paths = [path for folder in outputs for path in written(folder)]
    assert not any(found(folder) for folder in outputs)
    kinds = {path.name.partition(".")[2] or path.name for path in paths}
    tried, caught = size(max(40, len(paths)), max(200, 2 * len(paths))), 0
    for number in range(tried):
        path = paths[number % len(paths)]
        folder = next(folder for folder in outputs if path.is_relative_to(folder))
        whole = path.read_bytes()
        path.write_bytes(flip(whole, random))
        caught += found(folder)
        path.write_bytes(whole)
    record("single-bit flips in outputs", files=len(paths), kinds_of_files=len(kinds), flips=tried, found=caught)
    assert caught == tried
    assert not any(found(folder) for folder in outputs)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut to nothing": lambda path: path.write_bytes(b""),
    "cut in the middle": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "last byte cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "removed": lambda path: path.unlink(),
    "a folder in its place": lambda path: (path.unlink(), path.mkdir()),
}


def test_verify_finds_cut_lost_and_strange_files(outputs: list[Path], record: Record, tmp_path: Path) -> None:
    tried = caught = 0
    for folder in outputs:
        for number, path in enumerate(written(folder)):
            for kind, (name, damage) in enumerate(DAMAGES.items()):
                if size(number % len(DAMAGES) == kind, 1):
                    copy = tmp_path / "copy"
                    shutil.copytree(folder, copy)
                    damage(copy / path.relative_to(folder))
                    tried += 1
                    caught += (ok := found(copy))
                    assert ok or name, path
                    shutil.rmtree(copy)
        for name in ("shards/units_9_10.npy", "shards/x", "units.npz", "durations", "feats.scp", "units.json.1"):
            path = folder / name
            if not path.exists():
                path.touch()
                tried += 1
                caught += found(folder)
                path.unlink()
    record("files cut, lost, lengthened, replaced or added", tried=tried, found=caught)
    assert caught == tried


def test_the_users_own_files_in_the_folder_are_no_fault(outputs: list[Path]) -> None:
    (outputs[0] / "notes.md").write_text("mine")
    assert verify(outputs[0])[0] == []
    (outputs[0] / "notes.md").unlink()


def test_an_unfinished_folder_with_a_flipped_bit_is_finished_with_the_right_bytes_or_refused(
    outputs: list[Path], record: Record, tmp_path: Path
) -> None:
    """The journal's numbers have a sum too: a flipped one would stand in the report."""
    root = outputs[0].parent
    speech, spec = open_corpus(root / "in"), model(tmp_path / "model")
    formats = [Output(name, True) for name in ("text", "npz")]

    def run(out: Path) -> None:
        run_units(speech, out, spec, outputs=formats, shard_size=2, options=HERE)

    out = tmp_path / "out"
    run(out)
    expected = contents(out)
    (out / "sha256sums").unlink()
    random = np.random.default_rng(1)
    paths = [out / "journal.jsonl"] * 3 + [out / "job.json", *written(out / "shards")]
    tried, equal, refused, wrong = size(16, 200), 0, 0, 0
    for number in range(tried):
        shutil.copytree(out, tmp_path / "copy")
        path = tmp_path / "copy" / paths[number % len(paths)].relative_to(out)
        path.write_bytes(flip(path.read_bytes(), random))
        error = None
        for _ in range(3):
            try:
                run(tmp_path / "copy")
                error = None
                break
            except DataError as caught:
                error = caught
        if error is None:
            same = contents(tmp_path / "copy") == expected and not verify(tmp_path / "copy")[0]
            equal, wrong = equal + same, wrong + (not same)
        else:
            refused += 1
            assert path.name == "job.json", (path, error)
        shutil.rmtree(tmp_path / "copy")
    record("flips in unfinished folders, then resumed", flips=tried, right_bytes=equal, refused=refused, wrong=wrong)
    assert wrong == 0


def test_a_format_written_anew_without_durations_leaves_none_behind(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 3), model(tmp_path / "model")
    run_units(speech, tmp_path / "out", spec, outputs=[Output("text", True)], options=HERE)
    run_units(speech, tmp_path / "out", spec, outputs=[Output("text", False)], options=HERE)
    assert not (tmp_path / "out" / "durations").exists()
    assert verify(tmp_path / "out")[0] == []

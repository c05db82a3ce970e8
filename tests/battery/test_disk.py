"""The disk fills up at any byte of any writer: a clear error, nothing short under a final name, and the same command
finishes once there is room."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl import encoders
from speechssl.cli import main
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.extract.outputs import verify
from speechssl.units.formats import names
from tests.battery.commands import Command
from tests.battery.conftest import Record
from tests.battery.disk import Disk, small_disk
from tests.battery.size import size
from tests.encoders.tiny import BASE
from tests.extract.helpers import corpus, model

# What holds times; and what is no output (or one line more for every shard, checked on its own).
OTHER = re.compile(r"report\.json|sha256sums|journal.*\.jsonl|lock.*|ballast")
STORES = ("npy", "npz", "safetensors", "ark", "tar")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus as folder, manifest and data dir, a unit model, an encoder with weights, finished units."""
    folder = tmp_path_factory.mktemp("disk")
    utterances = corpus(folder / "in", 8, seconds=2.0).utterances
    model(folder / "model")
    rows = [
        {"id": f"s{n % 7}-{n:04}", "audio": utterances[n % 8].audio, "speaker": f"s{n % 7}", "text": "oh" * 60}
        for n in range(120)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["data", "convert", str(folder / "rows.jsonl"), str(folder / "kaldi"), "--to", "kaldi"]) == 0
    torch.manual_seed(0)
    config = {**BASE, "ffn_dim": 512, "pos_conv_kernel": 64}
    built = Pretrained(encoders.build("hubert", config).eval(), EncoderCard("hubert", config, name="tiny"))
    pretrained.save(folder / "encoder", built)
    assert main(words(folder, folder / "units", "--format", "jsonl", "--dedup")) == 0
    return folder


def words(root: Path, out: Path, *more: object) -> list[str]:
    return [*map(str, ("units", root / "in", "-o", out, "--model", root / "model", "--workers", 0, "--quiet", *more))]


@dataclass(frozen=True)
class Writer:
    """A command that writes `name` on the disk, and its words."""

    name: str
    words: Callable[[Path, Path], list[object]]
    target: str = "out"


WRITERS = [
    *(Writer(f"units {f}", lambda r, o, f=f: words(r, o, "--format", f, "--dedup")) for f in names()),  # type: ignore[misc]
    *(
        Writer(f"features {f}", lambda r, o, f=f: ["features", *words(r, o, "--format", f)[1:]])  # type: ignore[misc]
        for f in STORES
    ),
    Writer("page", lambda r, o: ["report", r / "units", "-o", o, "--num", 2], "page.html"),
    Writer("demo", lambda r, o: ["demo", "--audio", r / "in", "-o", o, "--num", 3, "--model", r / "model"]),
    Writer("kmeans", lambda r, o: ["kmeans", r / "in", "-o", o, "--encoder", r / "encoder", "--layer", 1, "-k", 16,
                                   "--iterations", 3, "--workers", 0, "--quiet"]),
    *(
        Writer(f"convert to {to}", lambda r, o, to=to: ["convert", r / "encoder", o, "--to", to])  # type: ignore[misc]
        for to in ("speechssl", "huggingface", "fairseq2")
    ),
    Writer("data subset", lambda r, o: ["data", "subset", r / "kaldi", o, "--num", 90]),
    Writer("data split", lambda r, o: ["data", "split", r / "kaldi", o, 3]),
    Writer("data fix", lambda r, o: ["data", "fix", r / "kaldi", o]),
    *(
        Writer(f"data convert to {to}", lambda r, o, to=to: ["data", "convert", r / "rows.jsonl", o, "--to", to], target)  # type: ignore[misc]  # noqa: E501
        for to, target in (
            ("kaldi", "out"), ("espnet", "out"), ("lhotse", "out"), ("jsonl", "m.jsonl"), ("tsv", "m.tsv")
        )
    ),
]  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as found:
        yield found


def files(folder: Path) -> dict[str, bytes]:
    """What is on the disk under final names: neither hidden nor temporary."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not OTHER.fullmatch(path.name) and not hidden(name):
            found[name] = path.read_bytes()
    return found


def hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@pytest.mark.parametrize("writer", WRITERS, ids=lambda w: w.name)
def test_a_full_disk_is_a_clear_error_and_leaves_nothing_short(
    root: Path, disk: Disk, record: Record, writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*map(str, writer.words(root, disk.folder / writer.target))]
    before = disk.left()
    assert main(argv) == 0, capsys.readouterr().err
    expected, everything = without_times(files(disk.folder)), before - disk.left()
    largest = max(path.stat().st_size for path in disk.folder.rglob("*") if path.is_file())
    needed = everything if type(disk) is Disk else largest
    random = np.random.default_rng(len(writer.name))
    full = short = unclear = unfinished = tried = 0
    said = ""
    while full < size(1, 8) and tried < 40:
        clear(disk.folder)
        tried += 1
        with disk.with_room_for(int(needed * (0 if tried == 2 else random.uniform(0, 0.9)))):
            code = main(argv)
        error = capsys.readouterr().err.strip()
        if code == 0:
            continue  # what is in the way in the middle may be larger than the result
        full += 1
        clear_error = code == 2 and re.fullmatch(r"speechssl \w+: .*(No space left|File too large).*", error)
        unclear += not (clear_error and str(disk.folder) in error)
        said = error if not clear_error or str(disk.folder) not in error else said
        left = without_times(files(disk.folder))
        wrong = sorted(name for name in left if left[name] != expected.get(name))
        wrong += bad_reports(disk.folder)
        short += len(wrong)
        code = main(argv)
        error = capsys.readouterr().err.strip()
        good = code == 0 and without_times(files(disk.folder)) == expected
        unfinished += not good
        said = said or (", ".join(wrong) if wrong else "" if good else error or f"exit code {code}")
    scratch = [path.name for path in disk.folder.rglob("*") if hidden(str(path.relative_to(disk.folder)))]
    record(
        f"disk full: {writer.name}", how=disk.how, full_disks=full, unclear_errors=unclear,
        short_files_under_final_names=short, not_finished_with_the_right_bytes_after=unfinished,
        scratch_left=len(scratch),
    )  # fmt: skip
    assert full, "the disk was never full"
    assert (unclear, short, unfinished, scratch) == (0, 0, 0, []), said


def without_times(found: dict[str, bytes]) -> dict[str, bytes]:
    """Pages and reports of a fit say how long it took."""
    times = rb'"(seconds|speed|wall_s|ram_bytes)": [\d.e-]+|real-time factor [\d.]+|\d+\xc3\x97'
    return {
        name: re.sub(times, b"", data) if name.endswith((".html", "kmeans.json")) else data
        for name, data in found.items()
    }


def bad_reports(folder: Path) -> list[str]:
    """Files with times that cannot be compared, but must be whole: every line and every object complete."""
    wrong = []
    for path in folder.rglob("*.json*"):
        if hidden(str(path.relative_to(folder))) or not OTHER.fullmatch(path.name) or path.name == "ballast":
            continue
        lines = path.read_bytes().split(b"\n")[:-1] if path.suffix == ".jsonl" else [path.read_bytes()]
        try:
            [json.loads(line) for line in lines]
        except ValueError:
            wrong.append(path.name)
    finished = [path.parent for path in folder.rglob("sha256sums")]  # the sums come last
    return wrong + [problem for output in finished for problem in verify(output)[0]]


def test_mending_in_place_on_a_full_disk_changes_nothing(
    root: Path, disk: Disk, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = disk.folder / "kaldi"
    shutil.copytree(root / "kaldi", folder)
    for name in ("text", "utt2spk", "wav.scp"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(reversed(lines)))
    before = files(disk.folder)
    room = sum(map(len, before.values())) if type(disk) is Disk else max(map(len, before.values()))
    changed = unclear = tried = 0
    for share in np.linspace(0, 0.9, size(2, 8)):
        with disk.with_room_for(int(room * share)):
            code = main(["data", "fix", str(folder)])
        error = capsys.readouterr().err
        tried += 1
        unclear += not (code == 2 and re.fullmatch(r"speechssl data: .*(No space left|File too large).*\n", error))
        changed += files(disk.folder) != before or any(path.name.startswith(".") for path in folder.iterdir())
    code = main(["data", "fix", str(folder)])
    record("disk full: data fix in place", how=disk.how, full_disks=tried, unclear_errors=unclear, changed=changed)
    assert (unclear, changed, code) == (0, 0, 0)
    assert main(["data", "check", str(folder)]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_workers_on_a_full_disk_end_and_resume(root: Path, disk: Disk, record: Record, tmp_path: Path) -> None:
    """Two worker processes meet a full disk: one line and exit code 2, and the run goes on later."""
    if type(disk) is not Disk:
        pytest.skip("no right to mount")
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * 3)
    for number in range(24):
        soundfile.write(tmp_path / "in" / f"{number:02}.wav", noise[: 16000 + 1000 * number], 16000)
    argv = [
        "features",
        tmp_path / "in",
        "-o",
        disk.folder / "out",
        "--model",
        root / "model",
        "--workers",
        2,
        "--quiet",
    ]
    with disk.with_room_for(200_000):
        command = Command(*argv, log=tmp_path / "log")
        code = command.finish()
    said = command.said()
    done = len((disk.folder / "out" / "journal.jsonl").read_text().splitlines())
    again = Command(*argv, log=tmp_path / "log2").finish()
    verified = main(["verify", str(disk.folder / "out")])
    record("disk full: two workers", how=disk.how, exit_code=code, shards_kept=done, then=again, verify=verified)
    assert code == 2 and re.fullmatch(r"speechssl features: .*No space left.*\n", said), said
    assert 0 < done < 24
    assert (again, verified) == (0, 0)

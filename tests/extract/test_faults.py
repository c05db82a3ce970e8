"""Full disks, flipped bits, long and damaged recordings."""

import contextlib
import dataclasses
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.data.corpus import open_corpus
from speechssl.errors import DataError
from speechssl.extract import journal
from speechssl.extract.job import LongAudio, ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.outputs import read_features, read_units, verify
from speechssl.extract.run import Options, run_features, run_units
from speechssl.units.formats import names
from speechssl.units.model import UnitModel
from tests.extract.helpers import contents, corpus, model

HERE = Options(workers=0, quiet=True)


@contextlib.contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond this: the write fails as on a full disk (the signal is ignored by Python)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["units", "npy", "ark", "npz", "safetensors"])
def test_a_shard_that_does_not_fit_leaves_nothing_and_can_be_made_later(tmp_path: Path, name: str) -> None:
    speech, spec = corpus(tmp_path / "in", 6, seconds=2.0), model(tmp_path / "model")
    limit = 2000 if name != "units" else 400

    def run(out: Path) -> None:
        if name == "units":
            run_units(speech, out, spec, options=HERE, shard_size=3)
        else:
            run_features(speech, out, spec, format=name, options=HERE, shard_size=3)

    with file_size_limit(limit), pytest.raises(OSError) as caught:
        run(tmp_path / "out")
    assert caught.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert not [path for path in (tmp_path / "out").rglob("*") if "features_" in path.name or "units_" in path.name]
    run(tmp_path / "out")
    mended = contents(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "mended")
    run(tmp_path / "out")
    assert contents(tmp_path / "out") == mended


@pytest.mark.parametrize("name", names())
def test_a_final_file_that_does_not_fit_is_not_there(tmp_path: Path, name: str) -> None:
    speech, spec = corpus(tmp_path / "in", 6, seconds=2.0), model(tmp_path / "model")
    outputs = [Output(name, False)]
    first = Output("jsonl" if name == "text" else "text", False)
    run_units(speech, tmp_path / "out", spec, options=HERE, outputs=[first])
    expected = contents(tmp_path / "out")
    with file_size_limit(600), pytest.raises(OSError):
        run_units(speech, tmp_path / "out", spec, options=HERE, outputs=outputs)
    assert not (tmp_path / "out" / "sha256sums").exists()
    left = contents(tmp_path / "out")
    assert {key: left[key] for key in left if key in expected} == {
        key: expected[key] for key in left if key in expected
    }
    assert not [key for key in left if key not in expected and key.startswith(("units", "durations"))]
    run_units(speech, tmp_path / "out", spec, options=HERE, outputs=outputs)
    assert verify(tmp_path / "out")[0] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_a_clear_error_in_the_workers_too(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 40, seconds=3.0), model(tmp_path / "model")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], capture_output=True).returncode:
        pytest.skip("no right to mount")
    try:
        options = dataclasses.replace(HERE, workers=1)
        with pytest.raises(OSError) as caught:
            run_features(speech, disk / "out", spec, options=options)
        assert caught.value.errno == errno.ENOSPC
        for result in journal.read(disk / "out").values():
            assert verify(disk / "out")[0][0].startswith("not finished")
            assert result.rows == 1
        assert len(verify(disk / "out")[0]) == 1, "a damaged file under its final name"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 6), model(tmp_path / "model")
    run_units(speech, tmp_path / "out", spec, options=HERE, outputs=[Output("text", True), Output("npz", False)])
    assert verify(tmp_path / "out")[0] == []
    random = np.random.default_rng(0)
    files = [path for path in sorted((tmp_path / "out").rglob("*")) if path.is_file() and path.stat().st_size]
    for number in range(60):
        path = files[number % len(files)]
        whole = path.read_bytes()
        position, bit = int(random.integers(len(whole))), int(random.integers(8))
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
        problems, _ = verify(tmp_path / "out")
        assert problems, f"{path.name}: bit {bit} of byte {position} of {len(whole)}"
        path.write_bytes(whole)
    assert verify(tmp_path / "out")[0] == []


def test_missing_extra_and_cut_files_are_found(tmp_path: Path) -> None:
    speech, spec, out = corpus(tmp_path / "in", 6), model(tmp_path / "model"), tmp_path / "out"
    run_units(speech, out, spec, options=HERE)
    (out / "shards" / "units_99_6.npy").touch()
    assert verify(out)[0] == ["shards/units_99_6.npy: does not belong there"]
    (out / "shards" / "units_99_6.npy").unlink()
    (out / "units").rename(out / "elsewhere")
    assert verify(out)[0] == ["units: missing"]
    (out / "elsewhere").rename(out / "units")
    sums = (out / "sha256sums").read_text()
    for line in sums.splitlines(keepends=True):
        (out / "sha256sums").write_text(sums.replace(line, ""))
        assert any(problem.startswith(line[66:-1] + ":") for problem in verify(out)[0])
    (out / "sha256sums").write_text(sums[:-1])
    assert verify(out)[0] == ["sha256sums: cut in its last line"]
    with pytest.raises(DataError, match="no output of"):
        verify(tmp_path / "in")


def test_long_recordings_go_through_in_windows_with_every_frame(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    for number, num_samples in enumerate((16000 * 9, 16000 * 3, 16000 * 3 + 1, 16000 * 7 + 399)):
        soundfile.write(tmp_path / "in" / f"{number}.wav", random.uniform(-0.5, 0.5, num_samples), 16000)
    speech, spec = open_corpus(tmp_path / "in"), model(tmp_path / "model")
    windows = LongAudio(window_s=3.0, overlap_s=0.5)
    report = run_features(speech, tmp_path / "f", spec, long_audio=windows, options=HERE, shard_size=2)
    run_units(speech, tmp_path / "u", spec, long_audio=windows, options=HERE)
    unit_model = UnitModel.load(tmp_path / "model")
    features, units = dict(read_features(tmp_path / "f")), dict(read_units(tmp_path / "u"))
    for utterance in speech.utterances:
        samples = torch.from_numpy(soundfile.read(utterance.audio, dtype="float32")[0])
        expected = unit_model.pretrained.features_long(samples, 0, window_s=3.0, overlap_s=0.5)
        assert np.array_equal(features[utterance.id], expected.numpy())
        assert len(expected) == (len(samples) - 400) // 320 + 1
        assert units[utterance.id] == unit_model.quantize(expected)
    assert report.hours * 3600 == pytest.approx(sum(soundfile.info(u.audio).duration for u in speech.utterances))
    assert not list((tmp_path / "f").rglob("spool"))


def test_damage_at_the_end_of_a_long_recording_drops_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "long.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * 30), 16000)
    data = bytearray(path.read_bytes())
    data[-2000] ^= 255
    path.write_bytes(data)
    soundfile.write(tmp_path / "in" / "short.wav", np.zeros(1600), 16000)
    speech, spec = open_corpus(tmp_path / "in"), model(tmp_path / "model")
    report = run_features(speech, tmp_path / "out", spec, long_audio=LongAudio(3.0, 0.5), options=HERE, shard_size=2)
    assert (report.ok, sum(report.failures.values())) == (1, 1)
    assert [name for name, _ in read_features(tmp_path / "out")] == ["short"]
    assert np.load(tmp_path / "out" / "shards" / "features_0_1.npy").shape == (4, 39)


def test_features_that_are_not_finite_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech, spec = corpus(tmp_path / "in", 3), model(tmp_path / "model")
    from speechssl.encoders.pretrained import Pretrained

    original = Pretrained.features

    def broken(self: Pretrained, wav: torch.Tensor, layer: int) -> torch.Tensor:
        features = original(self, wav, layer)
        return features * float("inf") if len(wav) == longest else features

    longest = max(soundfile.info(u.audio).frames for u in speech.utterances)
    monkeypatch.setattr(Pretrained, "features", broken)
    report = run_units(speech, tmp_path / "out", spec, options=HERE)
    assert (report.ok, report.failures) == (2, {"non-finite-features": 1})


def test_a_corpus_that_shrinks_while_it_is_read_fails_by_row(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 4), model(tmp_path / "model")
    Path(speech.utterances[1].audio).unlink()
    report = run_units(speech, tmp_path / "out", ModelSpec(spec.unit_model), options=HERE)
    assert (report.ok, report.failures) == (3, {"missing": 1})

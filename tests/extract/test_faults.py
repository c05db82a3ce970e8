"""Lost files, long and damaged recordings. Full disks and flipped bits are in tests/battery."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.data.corpus import open_corpus
from speechssl.errors import DataError
from speechssl.extract.job import LongAudio, ModelSpec
from speechssl.extract.outputs import read_features, read_units, verify
from speechssl.extract.run import Options, run_features, run_units
from speechssl.units.model import UnitModel
from tests.extract.helpers import corpus, model

HERE = Options(workers=0, quiet=True)


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

"""The vocoder recipe as its users run it: it leaves a vocoder that loads, and goes on exactly where it was killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes import pitch_codes as pitch_recipe
from recipes import vocoder as recipe
from speechssl import config
from speechssl.data import pitch_files
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.pitch import Settings
from speechssl.data.training_set import Batches, Place, open_training_set
from speechssl.errors import CheckpointError
from speechssl.units import pitch_coder
from speechssl.units import vocoder as folders
from speechssl.vocoders.unit_vocoder import UnitVocoder
from tests.training.helpers import _toml, corpus
from tests.training.test_pretrain import losses, weights

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
SMALL: dict[str, Any] = {
    "threads": 1, "data.batching.seconds": 2.0, "data.batching.crop_s": 0.2, "data.batching.min_s": 0.2,
    "data.valid_batching.crop_s": 1.0, "data.valid_batching.seconds": 4.0, "vocoder.dim": 8,
    "vocoder.generator.channels": 32, "vocoder.generator.kernels": (3,), "losses.windows": (64, 256),
    "losses.num_mels": (10, 40), "losses.discriminators.periods": (2,), "losses.discriminators.fft_sizes": (64,),
    "losses.discriminators.width": 0.0625, "training.updates": 4, "training.log_every": 1, "training.save_every": 2,
    "training.valid_every": 4, "training.workers": 0, "training.keep": 9,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of WAV files, one.units as `speechssl units` leaves them, and a data dir with two speakers."""
    folder = corpus(tmp_path_factory.mktemp("corpus") / "tones")
    units = folder.with_suffix(".units")
    units.mkdir()
    shutil.copy(folder.with_suffix(".labels"), units / "units")
    model = {"num_units": 6, "rate_hz": 50.0, "unit_model": "c" * 64, "name": "tones"}
    card = {"rate_hz": 50.0, "outputs": [{"format": "text", "merged": False}], "model": model}
    (units / "units.json").write_text(json.dumps(card))
    kaldi = folder.with_suffix(".kaldi")
    kaldi.mkdir()
    paths = sorted(folder.glob("*.wav"))
    (kaldi / "wav.scp").write_text("".join(f"{path.stem} {path}\n" for path in paths))
    (kaldi / "utt2spk").write_text("".join(f"{path.stem} {'ab'[n % 2]}\n" for n, path in enumerate(paths)))
    return folder


def settings(data: Path, run: Path, **others: Any) -> list[str]:
    values = {"run": run, "data.train": data, "data.valid": data, "data.labels": data.with_suffix(".units"), **SMALL}
    values |= {name.replace("__", "."): value for name, value in others.items()}
    own = [f"{name}={_toml(value)}" for name, value in values.items() if value is not None]
    return [str(CONF / "tiny_unit_hifigan.toml"), *own]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert recipe.main(settings(data, run)) == 0
    return run


def test_a_run_leaves_config_log_checkpoints_result_and_a_vocoder_of_its_units(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    assert result["update"] == 4 and result["rate_hz"] == 50.0
    assert losses(whole, "valid", "update") == [0, 4]
    assert result["valid_mel"] == pytest.approx(losses(whole, "valid", "mel")[1], rel=1e-5)
    stored = config.load(recipe.Run, whole / "config.toml")
    assert stored.vocoder.num_units == 6 and stored.vocoder.speakers == ()
    vocoder = folders.load(whole / "vocoder")
    assert vocoder.card.units == folders.SpokenUnits(6, 50.0, "c" * 64, "tones")
    assert vocoder.card.sha256 == result["sha256"] and vocoder.card.training["updates"] == 4
    assert torch.equal(vocoder.module.units.weight, weights(whole, 4)["generator.vocoder.units.weight"])
    assert vocoder(torch.tensor([0, 5])).shape == (640,)


def test_everything_learns(whole: Path) -> None:
    first, last = weights(whole, 2), weights(whole, 4)
    for name in first:
        assert not torch.equal(first[name], last[name]), name


def test_killed_anywhere_and_started_again_it_ends_with_the_same_losses_and_weights(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "recipes.vocoder", *settings(data, run, training__workers=1)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/update-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "result.json").exists(), "it was too fast to be killed"
    assert recipe.main(settings(data, run)) == 0
    assert_same_run(whole, run)
    assert folders.read_card(run / "vocoder").sha256 == folders.read_card(whole / "vocoder").sha256


def assert_same_run(one: Path, other: Path) -> None:
    assert losses(one) == losses(other)
    expected, found = weights(one, 4), weights(other, 4)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name


def test_every_speaker_of_the_data_gets_an_embedding_and_is_learned(data: Path, tmp_path: Path) -> None:
    kaldi, run = data.with_suffix(".kaldi"), tmp_path / "run"
    others = {"data__train": kaldi, "data__valid": kaldi, "data__speakers": True, "training__updates": 2}
    assert recipe.main(settings(data, run, **others)) == 0
    vocoder = folders.load(run / "vocoder")
    assert vocoder.module.config.speakers == ("a", "b")
    assert not torch.equal(vocoder(torch.tensor([1, 2]), "a"), vocoder(torch.tensor([1, 2]), "b"))
    assert recipe.main(settings(data, run, **others)) == 0  # the stored config names the speakers


def test_text_without_a_sidecar_needs_the_number_of_units(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"data__labels": data.with_suffix(".labels"), "training__updates": 1}
    assert recipe.main(settings(data, tmp_path / "run", **labels)) == 2
    assert "vocoder.num_units" in capsys.readouterr().err
    assert recipe.main(settings(data, tmp_path / "run", **labels, vocoder__num_units=5)) == 0
    assert folders.read_card(tmp_path / "run" / "vocoder").units == folders.SpokenUnits(5, 50.0)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.batching.min_s=0.1", "min_s"),
        ("training.shard=true", "shard"),
        ("vocoder.num_units=7", "leave it out"),
        ("vocoder.generator.strides=[5,4,4,2,4]", "at 25 Hz"),
        ("vocoder.speakers=['a']", "data.speakers"),
        ("data.speakers=true", "no speaker"),
        ("data.labels=nowhere", "num_units"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    override: str, named: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipe.main([*settings(data, tmp_path / "run"), override]) == 2
    assert named in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_units_of_other_recordings_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    units = tmp_path / "units"
    shutil.copytree(data.with_suffix(".units"), units)
    lines = (units / "units").read_text().splitlines()
    (units / "units").write_text("\n".join([" ".join(lines[0].split()[:9]), *lines[1:]]) + "\n")
    assert recipe.main(settings(data, tmp_path / "run", data__labels=units)) == 2
    assert "units of other recordings?" in capsys.readouterr().err


def test_both_files_store_whole_and_have_the_size_they_say(tmp_path: Path) -> None:
    for name, millions in (("unit_hifigan", 13.26), ("tiny_unit_hifigan", 2.0)):
        run = config.load(recipe.Run, CONF / f"{name}.toml", ["data.train=x", "data.labels=y", "vocoder.num_units=100"])
        (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
        assert config.load(recipe.Run, tmp_path / "config.toml") == run
        with torch.device("meta"):
            vocoder = UnitVocoder(run.vocoder)
        assert vocoder.hop == 320 and vocoder.rate_hz == 50.0
        assert sum(p.numel() for p in vocoder.parameters()) / 1e6 == pytest.approx(millions, rel=1e-2)


@pytest.fixture(scope="module")
def pitch(data: Path) -> Path:
    """A pitch folder in which a frame's F0 says its label: 100 Hz and 50 more for each."""
    lines = [line.split() for line in data.with_suffix(".labels").read_text().splitlines()]
    tracks = {name: np.array([100 + 50 * int(one) for one in labels], np.float32) for name, *labels in lines}
    folder = data.with_suffix(".pitch")
    folder.mkdir()
    pitch_files.write(folder, Settings(), tracks, {name: name for name in tracks})
    return folder


def test_the_pitch_of_a_crop_is_in_step_with_its_units(data: Path, pitch: Path) -> None:
    found = open_training_set(open_corpus(data), sample_rate=16000, labels=data.with_suffix(".units"), pitch=pitch)
    batching = Batching(seconds=4.0, crop_s=0.4, min_s=0.4)
    batch = next(Batches(found, batching, 0, 320).start(Place())).batch
    assert batch is not None and batch.labels is not None and batch.pitch is not None
    for name, labels, values in zip(batch.ids, batch.labels[:, :20], batch.pitch[:, :20], strict=True):
        of = pitch_files.read(pitch).statistics(name)
        f0 = 100 + 50 * labels.double()
        torch.testing.assert_close(values[:, 0].double(), (f0.log() - of.mean) / of.std, atol=1e-4, rtol=0)
        assert (values[:, 1] == 1).all()


@pytest.mark.parametrize("kind", ["pitch_channels", "pitch_bins"])
def test_a_vocoder_learns_from_pitch_too(kind: str, data: Path, pitch: Path, tmp_path: Path) -> None:
    others = {f"vocoder__{kind}": 2 if kind == "pitch_channels" else 4, "data__pitch": pitch, "training__updates": 1}
    assert recipe.main(settings(data, tmp_path / "run", **others)) == 0
    vocoder = folders.load(tmp_path / "run" / "vocoder")
    assert len(vocoder.module.config.pitch_centres) == (0 if kind == "pitch_channels" else 3)
    ids = torch.tensor([0, 5])
    low, high = (vocoder.module.pitch_input(torch.tensor([[value, 1.0]] * 2)) for value in (-1.0, 1.0))
    assert not torch.equal(vocoder(ids, None, low), vocoder(ids, None, high))
    assert recipe.main(settings(data, tmp_path / "run", **others)) == 0  # the stored config names the centres


def test_a_vocoder_learns_from_codes_of_pitch(data: Path, pitch: Path, tmp_path: Path) -> None:
    codes, run = tmp_path / "codes", tmp_path / "run"
    learned = [f"pitch={pitch}", f"valid={pitch}", f"run={codes}", "coder.channels=4", "coder.dim=3",
               "settings.updates=3", "settings.frames=16"]  # fmt: skip
    assert pitch_recipe.main(learned) == 0 and pitch_recipe.main(learned) == 2  # it does not write over what is there
    scores, (coder, card) = json.loads((codes / "scores.json").read_text()), pitch_coder.load(codes)
    assert scores["bits_per_s"] == pytest.approx(12.5 * np.log2(20)) and card.rate_hz == 50
    others = {"pitch_codes": codes, "data__pitch": pitch, "training__updates": 1}
    assert recipe.main(settings(data, run, **others)) == 0
    vocoder = folders.load(run / "vocoder").module
    assert vocoder.pitch_coder is not None
    for name, tensor in coder.state_dict().items():
        assert torch.equal(vocoder.pitch_coder.state_dict()[name], tensor), "it stays as it was learned"
    assert recipe.main(settings(data, run, **others)) == 0  # the stored config is the same run's
    assert recipe.main(settings(data, tmp_path / "no", **others, vocoder__pitch_bins=4)) == 2
    (codes / "card.json").write_text((codes / "card.json").read_text().replace('"seed": 0', '"seed": 0, "x": 1'))
    pitch_coder.load(codes)
    (codes / "card.json").write_text((codes / "card.json").read_text().replace('"decay": 0.99', '"decay": 0.9'))
    with pytest.raises(CheckpointError, match="sha256"):
        pitch_coder.load(codes)


@pytest.mark.parametrize("change", [{"data__pitch": None, "vocoder__pitch_channels": 2}, {"data__pitch": "x"}])
def test_pitch_without_use_or_use_without_pitch_is_refused(
    change: dict[str, Any], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipe.main(settings(data, tmp_path / "run", **change)) == 2
    assert "go together" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_start_is_the_vocoder_of_an_earlier_run(data: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert recipe.main(settings(data, run, start=whole / "vocoder", training__updates=1)) == 0
    assert losses(run, "valid", "mel")[0] == pytest.approx(losses(whole, "valid", "mel")[-1], rel=1e-4)
    other = settings(data, tmp_path / "other", start=whole / "vocoder", vocoder__dim=4)
    assert recipe.main(other) == 2 and not (tmp_path / "other").exists()

"""From labels to a model of units: predicted ones, soft ones, and ones that changes of the recording change less."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.audio import read
from speechssl.cli import main
from speechssl.quantizers.cosine import Cosine
from speechssl.units.model import UnitModel
from tests.objectives.tiny import ENCODER
from tests.training.helpers import corpus, settings, train
from tests.training.test_pretrain import assert_same_run

NOISY = {
    "data__augment__share": 0.5, "data__augment__stretch": [0.9, 1.1], "data__augment__pitch": [0.0, 0.0],
    "data__augment__rt60_s": [0.0, 0.0], "data__augment__snr_db": [5.0, 9.0],
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "tones")


@pytest.fixture(scope="module")
def soft(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HuBERT that predicts every frame."""
    run = tmp_path_factory.mktemp("soft") / "run"
    plain = {"settings__masked_weight": 0.0, "settings__unmasked_weight": 1.0,
             "settings__masking__time__share": 0.0, "settings__masking__time__min_spans": 0}  # fmt: skip
    assert train(data, run, **plain, training__updates=40, optimizer__lr=5e-3) == 0
    assert main(["convert", str(run), str(run / "unit_model"), "--to", "unit-model"]) == 0
    return run


def test_predicted_units_are_those_of_its_labels(data: Path, soft: Path, tmp_path: Path) -> None:
    """Trained by heart, it is right about most frames."""
    assert main(["units", str(data), "--model", str(soft / "unit_model"), "-o", str(tmp_path), "--workers", "0",
                 "--quiet"]) == 0  # fmt: skip
    found, labels = ((tmp_path / "units").read_text(), (data.parent / "tones.labels").read_text())
    pairs = [
        (a.split()[1:], b.split()[1:])
        for a, b in zip(sorted(found.splitlines()), sorted(labels.splitlines()), strict=True)
    ]
    right = [x == y for a, b in pairs for x, y in zip(a, b, strict=True)]
    assert np.mean(right) > 0.8


def test_soft_units_of_a_corpus_are_what_its_head_projects(data: Path, soft: Path, tmp_path: Path) -> None:
    model = str(soft / "unit_model")
    run = ["features", str(data), "--model", model, "-o", str(tmp_path / "soft"), "--workers", "0", "--quiet"]
    assert main([*run, "--soft", "--format", "npz"]) == 0
    loaded = UnitModel.load(model)
    assert isinstance(loaded.quantizer, Cosine)
    with np.load(next((tmp_path / "soft/shards").glob("*.npz"))) as stored:
        for name in list(stored)[:3]:
            samples = torch.from_numpy(read(data / f"{name}.wav", sample_rate=16000).samples)
            expected = loaded.quantizer.soft(loaded.pretrained.features(samples, loaded.layer))
            np.testing.assert_allclose(stored[name], expected.numpy(), rtol=1e-4, atol=1e-5)
            assert stored[name].shape[1] == 8
    assert main([*run, "--format", "npz"]) == 2, "hard features are another job"


def test_what_has_no_soft_units_says_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["features", str(data), "-o", str(tmp_path / "out"), "--soft", "--workers", "0"]
    assert main([*run, "--model", "default"]) == 2
    assert "not soft" in capsys.readouterr().err
    assert main([*run, "--encoder", "mfcc"]) == 2
    assert "--model" in capsys.readouterr().err


@pytest.fixture(scope="module")
def invariant(data: Path, soft: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("invariant") / "run"
    assert train_invariant(data, soft, run) == 0
    assert main(["convert", str(run), str(run / "unit_model"), "--to", "unit-model"]) == 0
    return run


def train_invariant(data: Path, soft: Path, run: Path, **others: object) -> int:
    from recipes.pretrain import main as pretrain

    values = {"objective": "augmentation_invariant", "settings__code_dim": None, "settings__hidden": [16], **others}
    arguments = settings(data, run, **NOISY, **{f"encoder__{name}": None for name in ENCODER}, **values)
    return pretrain([*arguments, f'encoder={{checkpoint="{soft / "encoder"}"}}'])


def test_an_invariant_unit_model_keeps_its_encoder_as_it_was(soft: Path, invariant: Path) -> None:
    before, after = UnitModel.load(soft / "unit_model"), UnitModel.load(invariant / "unit_model")
    for name, tensor in before.pretrained.encoder.state_dict().items():
        assert torch.equal(tensor, after.pretrained.encoder.state_dict()[name])
    assert after.size == 5 and after.describe("embedded").quantizer.kind == "mlp"
    assert len(after(0.1 * np.random.default_rng(0).standard_normal(16000), 16000)) == 49


def test_changed_recordings_are_changed_the_same_way_after_a_stop(
    data: Path, soft: Path, invariant: Path, tmp_path: Path
) -> None:
    shutil.copytree(invariant, tmp_path / "again")
    for update in (4, 6):
        shutil.rmtree(tmp_path / "again" / "checkpoints" / f"update-{update:09d}")
    assert train_invariant(data, soft, tmp_path / "again", training__workers=1) == 0
    assert_same_run(invariant, tmp_path / "again")


def test_labels_per_frame_refuse_stretched_speech(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", **NOISY) == 2
    assert "data.augment.stretch" in capsys.readouterr().err
    assert train(data, tmp_path / "run", **NOISY | {"data__augment__stretch": [1.0, 1.0]}, training__updates=2) == 0

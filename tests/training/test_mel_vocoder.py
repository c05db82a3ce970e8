"""The mel vocoder recipe as its users run it: what it leaves, where it starts from, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes import mel_vocoder as recipe
from speechssl import config
from speechssl.nn.mel_definition import MelDefinition
from speechssl.units import mel_vocoder as folders
from speechssl.units import vocoder as unit_folders
from speechssl.vocoders.unit_vocoder import Config as UnitConfig
from speechssl.vocoders.unit_vocoder import UnitVocoder
from tests.training.helpers import _toml, corpus
from tests.training.test_pretrain import losses, weights

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
GENERATOR = {"kind": "spectral", "channels": 16, "num_blocks": 1, "hop": 320, "window": 1280}
SMALL: dict[str, Any] = {
    "threads": 1, "data.batching.seconds": 2.0, "data.batching.crop_s": 0.2, "data.batching.min_s": 0.2,
    "data.valid_batching.crop_s": 1.0, "data.valid_batching.seconds": 4.0, "vocoder.generator.channels": 16,
    "vocoder.generator.num_blocks": 1,
    "losses.windows": (64, 256), "losses.num_mels": (10, 40), "training.updates": 2, "training.log_every": 1,
    "training.save_every": 1, "training.valid_every": 2, "training.keep": 9,
}  # fmt: skip
JUDGED = {"losses.discriminators.periods": (2,), "losses.discriminators.fft_sizes": (64,),
          "losses.discriminators.width": 0.0625}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "tones")


def settings(data: Path, run: Path, *, conf: str = "tiny_mel_vocoder", **others: Any) -> list[str]:
    values = {"run": run, "data.train": data, "data.valid": data, **SMALL}
    values |= {name.replace("__", "."): value for name, value in others.items()}
    return [str(CONF / f"{conf}.toml"), *(f"{name}={_toml(value)}" for name, value in values.items())]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by mel distances alone."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert recipe.main(settings(data, run)) == 0
    return run


def test_a_run_leaves_config_log_checkpoints_result_and_a_vocoder_of_decoders_mels(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    assert result["update"] == 2 and losses(whole, "valid", "update") == [0, 2]
    assert losses(whole, "valid", "mel")[1] < losses(whole, "valid", "mel")[0]
    assert config.load(recipe.Run, whole / "config.toml").vocoder.mels == MelDefinition()
    vocoder = folders.load(whole / "mel_vocoder")
    assert vocoder.card.sha256 == result["sha256"] and vocoder.card.training["updates"] == 2
    stored = weights(whole, 2)
    assert torch.equal(vocoder.module.generator.last.weight, stored["generator.vocoder.generator.last.weight"])
    assert torch.equal(vocoder.module.mean, weights(whole, 1)["generator.vocoder.mean"])  # measured before the first
    assert float(vocoder.module.scale.std()) > 0.01 and bool((vocoder.module.scale > 0.01).all())


def test_it_goes_on_against_discriminators_from_a_vocoder_of_mels(data: Path, whole: Path, tmp_path: Path) -> None:
    others = {"conf": "tiny_mel_vocoder_gan", "start": whole / "mel_vocoder", "training__precision": "fp32", **JUDGED}
    assert recipe.main(settings(data, tmp_path / "run", **others)) == 0
    before, after = folders.load(whole / "mel_vocoder").module, folders.load(tmp_path / "run" / "mel_vocoder").module
    assert torch.equal(after.mean, before.mean) and torch.equal(after.scale, before.scale)
    assert losses(tmp_path / "run", "valid", "mel")[0] == pytest.approx(losses(whole, "valid", "mel")[-1], rel=1e-4)
    assert not torch.equal(after.generator.last.weight, before.generator.last.weight)
    assert "discriminators" in (tmp_path / "run" / "log.jsonl").read_text()


def test_of_a_unit_vocoder_everything_is_taken_but_the_input_layer(tmp_path: Path) -> None:
    torch.manual_seed(1)
    units = UnitVocoder(UnitConfig(num_units=7, dim=6, generator=GENERATOR))
    unit_folders.save(tmp_path / "units", units, unit_folders.SpokenUnits(7, 50.0))
    run = config.load(recipe.Run, CONF / "tiny_mel_vocoder.toml", ["data.train=x", "vocoder.generator.channels=16",
                      "vocoder.generator.num_blocks=1", f"start={tmp_path / 'units'}"])  # fmt: skip
    found = recipe.build(run).generator.vocoder.generator.state_dict()
    for name, tensor in units.generator.state_dict().items():
        if name.startswith("first."):
            assert name == "first.bias" or found[name].shape[1] == 160
        else:
            assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"start": "default"}, "is a unit vocoder of 16000 Hz"),
        ({"start": "whole"}, "another shape"),
        ({"vocoder__mels__hop": 100}, "100 samples"),
        ({"data__batching__min_s": 0.1}, "crops of one length"),
        ({"training__shard": True}, "shard"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    data: Path, whole: Path, tmp_path: Path, others: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if others.get("start") == "whole":
        others = {"start": whole / "mel_vocoder", "vocoder__stacked": 1, "vocoder__mels__hop": 320}
    assert recipe.main(settings(data, tmp_path / "run", **others)) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_the_published_size_is_hifigans() -> None:
    run = config.load(recipe.Run, CONF / "mel_hifigan.toml", ["data.train=x"])
    with torch.device("meta"):
        vocoder = recipe.MelVocoder(run.vocoder)
    assert vocoder.hop == run.vocoder.mels.hop == 160
    assert 12e6 < sum(p.numel() for p in vocoder.parameters()) < 15e6  # V1: 13.92 M (table 1), for hops of 256

"""The fine-tuning recipe with a transducer, as its users run it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import speechssl
from recipes.ctc import Run, build
from recipes.shared import make_encoder
from speechssl import config
from speechssl.cli import main
from speechssl.decoders import vocabulary
from speechssl.errors import ConfigError
from speechssl.objectives import transducer
from speechssl.training import checkpoint
from tests.recipes.test_ctc import CONF, corpus, rows, train

UNMASKED: dict[str, Any] = {
    "model": "transducer",
    "settings.masking.time": "{share=0.0, min_spans=0}",
    "settings.masking.channels": "{share=0.0, min_spans=0}",
    "settings.shape": "{dim=32, joint=64, dropout=0.0}",
}


def test_the_config_builds_its_model_and_stores_whole(tmp_path: Path) -> None:
    run = config.load(Run, CONF / "tiny_transducer.toml")
    encoder, _ = make_encoder(run.encoder, normalize=run.normalize, seed=0, purpose="")
    with torch.device("meta"):
        objective = build(run, encoder, vocabulary.of_characters(["abc"]))
    assert isinstance(objective, transducer.Objective) and objective.transducer.num_symbols == 5
    assert objective.head.output.out_features == objective.transducer.shape.joint == 128
    assert objective.ctc is not None and objective.freeze_updates == 60
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run


def test_a_training_that_would_end_before_the_transducer_begins_is_refused() -> None:
    run = config.load(Run, CONF / "tiny_transducer.toml", ["training.updates=300"])
    encoder, _ = make_encoder(run.encoder, normalize=run.normalize, seed=0, purpose="")
    with pytest.raises(ConfigError, match=r"leaves none of training\.updates=300"):
        build(run, encoder, vocabulary.of_characters(["abc"]))


def test_it_learns_tones_by_heart_and_the_recogniser_writes_them(tmp_path: Path) -> None:
    data = corpus(tmp_path / "tones", 4, letters=4, tone=1600)
    own = {"settings.ctc_weight": 1.0, "settings.head": '{kind="tdnn", dim=64}', "settings.masking.gradient": 1.0}
    assert train(data, tmp_path / "run", training__updates=200, training__valid_every=25, training__log_every=25,
                 training__save_every=200, data__batching__seconds=20.0, data__batching__min_s=0.1,
                 optimizer__lr=5e-3, schedule__name="constant",
                 dropout="{activation=0.0, layer=0.0}", **UNMASKED, **own) == 0  # fmt: skip
    losses = [row["loss"] for row in rows(tmp_path / "run", "train")]
    assert losses[-1] < 0.2 * losses[0]
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["best_token_error_rate"] == 0
    model = speechssl.load_recognizer(tmp_path / "run/recognizer")
    texts = dict(line.split(" ", 1) for line in (data / "text").read_text().splitlines())
    assert {key: model.transcribe(data / f"{key}.wav") for key in texts} == texts
    assert "transducer, " in model.card.name
    command = ["transcribe", str(data), "--model", str(tmp_path / "run/recognizer"), "-o", str(tmp_path / "out")]
    assert main([*command, "--workers", "0", "--quiet"]) == 0
    assert (tmp_path / "out/text").read_text() == (data / "text").read_text()


def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(tmp_path: Path) -> None:
    data, whole, run = corpus(tmp_path / "tones", 8), tmp_path / "whole", tmp_path / "run"
    assert train(data, whole, settings__freeze_updates=3, settings__ctc_weight=0.5, **UNMASKED) == 0
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoints" / "update-000000006")
    shutil.rmtree(run / "recognizer")
    assert train(data, run, settings__freeze_updates=3, settings__ctc_weight=0.5, **UNMASKED) == 0
    one, other = (checkpoint.load(path / "checkpoints" / "update-000000006") for path in (whole, run))
    for name, tensor in one.model.items():
        assert torch.equal(tensor, other.model[name]), name
    for name in ("recognizer/model.safetensors", "recognizer/card.json", "result.json"):
        assert (whole / name).read_bytes() == (run / name).read_bytes(), name


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"model": "aed"}, "model"),
        ({"settings__average": "token"}, "average"),
        ({"settings__shape__context": 0}, "sizes"),
        ({"settings__ctc_weight": -1.0}, "ctc_weight"),
        ({"model": "ctc", "settings__shape__dim": 4}, "shape"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(
    tmp_path: Path, others: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = corpus(tmp_path / "tones", 1)
    assert train(data, tmp_path / "run", **{"model": "transducer", **others}) == 2
    assert message in capsys.readouterr().err

"""The recipe of the unit language model: it learns, goes on after a stop, its decoder begins other models."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from recipes import seq2seq, text_to_units
from recipes.unit_lm import Run, build, main
from speechssl import config
from speechssl.data.sequences import read_units
from speechssl.generation import decoder
from speechssl.generation.model import Seq2Seq
from speechssl.nn.fast import operators
from tests.recipes import test_seq2seq, test_unit_bart
from tests.recipes.test_unit_bart import data, speech
from tests.training.helpers import _toml

__all__ = ["data", "speech"]  # fixtures
CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
SMALL = {name: value for name, value in test_unit_bart.SMALL.items() if not name.startswith("settings.adaptor")}


def train(run: Path, data: Path, **others: Any) -> int:
    both = f'{{up=["{data}/up"],down=["{data}/down"]}}'
    values = {**SMALL, "run": run, "data.train": both, "data.valid": both,
              **{name.replace("__", "."): value for name, value in others.items()}}  # fmt: skip
    return main([f"{name}={value if str(value)[:1] in '{[' else _toml(value)}" for name, value in values.items()])


def test_it_learns_sentences_and_says_how_well_in_each_language(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, data__batching__balance=0.3,
                 training__updates=180, training__valid_every=180, training__save_every=180,
                 optimizer__lr=1e-2) == 0  # fmt: skip
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["nll"] == pytest.approx(result["best_nll"], rel=1e-4)
    assert result["nll"] < 0.6, "log(12) = 2.5 for who knows nothing; which of four sentences comes must stay open"
    assert result["nll"] > math.log(4) / 21, "a sentence has 20 units at most and an end"
    ends = [len(units) + 1 for name in ("up", "down") for units in read_units(data / name).of.values()]
    assert result["valid_units"] == sum(ends), "everything once, however languages are balanced in training"
    each = result["perplexity_by_language"]
    assert set(each) == {"up", "down"} and min(each.values()) <= result["perplexity"] <= max(each.values())
    found, card = decoder.load(tmp_path / "run" / "decoder")
    assert (card.languages, card.memory_dim, found.memory_dim) == (("up", "down"), 0, 0)


def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "one", data, settings__dropout__residual=0.1) == 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "update-000000006")
    shutil.rmtree(tmp_path / "two" / "decoder")
    assert train(tmp_path / "two", data, settings__dropout__residual=0.1) == 0
    for name in ("decoder/model.safetensors", "decoder/card.json", "result.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_bf16_is_warned_of_where_the_cpu_has_none(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for supported in (False, True):
        monkeypatch.setattr(operators, "has_bf16", lambda supported=supported: supported)
        assert train(tmp_path / str(supported), data, training__updates=1, training__precision="bf16") == 0
        assert ("no instructions" in capsys.readouterr().err) != supported


def test_a_translator_of_speech_begins_with_it(data: Path, speech: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "lm", data, training__updates=2) == 0
    known, _ = decoder.load(tmp_path / "lm" / "decoder")
    settings = {name: value for name, value in test_seq2seq.SMALL.items() if not name.startswith("settings.decoder.")}
    values = {**settings, "run": tmp_path / "run", "data.train": speech, "data.targets": speech.with_suffix(".labels"),
              "data.num_units": 12, "settings.adaptor.dim": 48, "training.updates": 1, "optimizer.lr": 1e-12,
              "optimizer.weight_decay": 0.0, "decoder.checkpoint": tmp_path / "lm" / "decoder"}  # fmt: skip
    assert seq2seq.main([f"{k}={_toml(v)}" for k, v in values.items()]) == 0
    model = Seq2Seq.load(tmp_path / "run" / "model").parts.model
    assert model.decoder.memory_dim == 48, "whatever the adaptor gives: a language model has looked at nothing"
    for name, tensor in known.state_dict().items():
        torch.testing.assert_close(model.decoder.state_dict()[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("others", "message"), [({"data__train": "{}"}, "names no language"),
                                                 ({"settings__num_labels": 3}, "num_labels"),
                                                 ({"settings__decoder__stack": 2}, "stack=2")])  # fmt: skip
def test_a_wrong_setting_is_an_error_that_names_it(
    data: Path, tmp_path: Path, others: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", data, **others) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["unit_lm", "tiny_unit_lm"])
def test_a_config_builds_its_model_and_stores_whole(name: str, tmp_path: Path) -> None:
    run = config.load(Run, CONF / f"{name}.toml")
    with torch.device("meta"):
        objective: nn.Module = build(run, 100)
    total = sum(parameter.numel() for parameter in objective.parameters())
    assert total < 3e6 if name.startswith("tiny") else 150e6 < total < 160e6
    if name.startswith("tiny"):
        begun = (config.load(seq2seq.Run, CONF / "tiny_s2ut.toml"),
                 config.load(text_to_units.Run, CONF / "tiny_text_to_units.toml"))  # fmt: skip
        assert all(other.settings["decoder"] == run.settings["decoder"] for other in begun)
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run

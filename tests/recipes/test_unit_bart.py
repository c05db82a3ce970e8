"""The recipe of unit-BART: it learns to fill gaps, goes on after a stop, its decoder begins a translator."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recipes import seq2seq
from recipes.unit_bart import Run, build, main
from speechssl import config
from speechssl.data.unit_corpus import open_unit_corpus
from speechssl.errors import CheckpointError, DataError
from speechssl.generation import decoder
from speechssl.generation.model import Seq2Seq
from speechssl.training import checkpoint
from tests.recipes import test_seq2seq
from tests.training.helpers import _toml, corpus

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
SMALL: dict[str, Any] = {
    "threads": 1, "training.updates": 6, "training.save_every": 2, "training.valid_every": 3, "training.keep": 9,
    "training.log_every": 20, "optimizer.lr": 5e-3, "data.batching.seconds": 6.0, "data.batching.crop_s": 2.0,
    "data.batching.min_s": 0.04, "data.num_units": 12, "settings.adaptor.strides": (), "settings.adaptor.dim": 32,
    "settings.adaptor.ffn_dim": 32,
    "settings.adaptor.num_heads": 2, "settings.adaptor.num_layers": 1, "settings.decoder.dim": 32,
    "settings.decoder.ffn_dim": 32, "settings.decoder.num_heads": 2, "settings.decoder.num_layers": 1,
    "settings.dropout.residual": 0.0, "settings.dropout.attention": 0.0, "schedule.name": "constant",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two languages of a few sentences each, by heart of which whatever is taken out can be told from what is left."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("units")
    for language in ("up", "down"):
        rows = [random.integers(12, size=int(random.integers(12, 20))) for _ in range(2)]
        lines = [f"u{number} {' '.join(map(str, row))}\n" for number, row in enumerate(rows)]
        (folder / language).write_text("".join(lines))
    return folder


def train(run: Path, data: Path, **others: Any) -> int:
    both = f'{{up=["{data}/up"],down=["{data}/down"]}}'
    values = {**SMALL, "run": run, "data.train": both, "data.valid": both,
              **{name.replace("__", "."): value for name, value in others.items()}}  # fmt: skip
    return main([f"{name}={value if str(value)[:1] in '{[' else _toml(value)}" for name, value in values.items()])


def test_it_learns_to_fill_gaps_and_keeps_the_best_decoder(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, training__updates=250, training__valid_every=125,
                 training__save_every=125, optimizer__lr=1e-2) == 0  # fmt: skip
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["best_accuracy"] > 0.95 and result["best_nll"] < 0.2, "log(12) = 2.5 for who knows nothing"
    found, card = decoder.load(tmp_path / "run" / "decoder")
    assert (card.languages, card.memory_dim, card.reduced, card.unit_model) == (("up", "down"), 32, True, None)
    best = checkpoint.load(tmp_path / "run" / "checkpoints" / "update-000000250").model
    last = result["best_update"] == 250
    assert last == all(
        torch.equal(tensor, best[f"model.decoder.{name}"]) for name, tensor in found.state_dict().items()
    )


def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "one", data, settings__dropout__residual=0.1) == 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "update-000000006")
    shutil.rmtree(tmp_path / "two" / "decoder")
    assert train(tmp_path / "two", data, settings__dropout__residual=0.1) == 0
    for name in ("decoder/model.safetensors", "decoder/card.json", "result.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    card = tmp_path / "one" / "decoder" / "card.json"
    raw = card.read_text()
    for old, new in (('"reduced": true', '"reduced": false'), ('"ffn_dim": 32', '"ffn_dim": 31'), ("speechssl", "x")):
        assert old in raw
        card.write_text(raw.replace(old, new))
        with pytest.raises(CheckpointError):
            decoder.load(card.parent)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "tones", 4)


@pytest.fixture(scope="module")
def begun(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder of a short training."""
    run = tmp_path_factory.mktemp("bart") / "run"
    assert train(run, data, settings__decoder__max_positions=200) == 0
    return run / "decoder"


def test_a_translator_begins_with_the_decoder_bit_for_bit(begun: Path, speech: Path, tmp_path: Path) -> None:
    stored, _ = decoder.load(begun)
    settings = {name: value for name, value in test_seq2seq.SMALL.items() if not name.startswith("settings.decoder.")}
    values = {**settings, "run": tmp_path / "run", "data.train": speech, "data.targets": speech.with_suffix(".labels"),
              "data.num_units": 12, "settings.adaptor.dim": 32, "training.updates": 1, "optimizer.lr": 1e-12,
              "optimizer.weight_decay": 0.0, "decoder.checkpoint": begun}  # fmt: skip

    def start(**others: Any) -> int:
        return seq2seq.main([f"{k}={_toml(v)}" for k, v in {**values, **others}.items()])

    assert start() == 0
    model = Seq2Seq.load(tmp_path / "run" / "model").parts.model
    assert model.config.decoder.max_positions == 200
    for name, tensor in stored.state_dict().items():  # after one update of next to nothing
        torch.testing.assert_close(model.decoder.state_dict()[name], tensor, rtol=0, atol=1e-10)
    run = config.load(seq2seq.Run, tmp_path / "run" / "config.toml")
    targets = seq2seq.make_targets(run)
    resolved, begun = seq2seq.begin_with(run, begun, targets)
    assert all(torch.equal(tensor, stored.state_dict()[name]) for name, tensor in begun.state_dict().items())
    assert resolved == run, "the stored settings have its shape already"


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"settings.adaptor.dim": 48}, "looks at 32 channels"),
        ({"data.num_units": 13}, "says 12 units, reduced"),
        ({"data.reduced": False}, "targets are others"),
        ({"settings.decoder.num_layers": 2}, "settings.decoder"),
        ({"decoder.checkpoint": "no_such"}, "no_such: no decoder of recipes.unit_bart or"),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused(
    begun: Path, speech: Path, tmp_path: Path, others: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {name: value for name, value in test_seq2seq.SMALL.items() if not name.startswith("settings.decoder.")}
    values = {**settings, "run": tmp_path / "run", "data.train": speech, "data.targets": speech.with_suffix(".labels"),
              "data.num_units": 12, "settings.adaptor.dim": 32, "decoder.checkpoint": begun, **others}  # fmt: skip
    assert seq2seq.main([f"{k}={_toml(v)}" for k, v in values.items()]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_long_utterances_are_cut_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x 1 2 2 3 1 2 3 1\ny 4\nz\n")
    (tmp_path / "b").write_text("x 5 6\n")
    languages = {"de": [tmp_path / "a"], "cs": [tmp_path / "b"]}
    found = open_unit_corpus(languages, most=3, least=1, rate_hz=10)
    assert [row[:, 0].tolist() for row in found.units] == [[1, 2, 3], [1, 2], [3, 1], [4], [5, 6]]
    assert [u.id for u in found.corpus.utterances] == ["de:0:x#0", "de:0:x#1", "de:0:x#2", "de:0:y", "cs:0:x"]
    assert found.groups is not None and found.groups.tolist() == [0, 0, 0, 0, 1] and found.sizes == (7,)
    assert found.seconds.tolist() == [0.3, 0.2, 0.2, 0.1, 0.2] and found.failures == (
        ("de:0:z", "0 units are fewer than 1"),
    )
    assert open_unit_corpus({"cs": languages["cs"]}, most=9, names=("de", "cs")).groups.tolist() == [1]
    with pytest.raises(DataError, match="'cs', which is none of de"):
        open_unit_corpus(languages, most=9, names=("de",))
    with pytest.raises(DataError, match="none of 4 utterances has 9 units"):
        open_unit_corpus(languages, most=9, least=9)


def test_units_of_two_unit_models_are_not_mixed(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        card = {"rate_hz": 50.0, "model": {"num_units": 12, "unit_model": name},
                "outputs": [{"format": "text", "merged": True}]}  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "units.json").write_text(json.dumps(card))
        shutil.copy(data / "up", tmp_path / name / "units")
    with pytest.raises(DataError, match="2 unit models"):
        open_unit_corpus({"up": [tmp_path / "one", tmp_path / "two"]}, most=9)
    one, two = (f'{{up=["{tmp_path}/{name}"]}}' for name in ("one", "two"))
    assert train(tmp_path / "run", data, data__train=one, data__valid=two) == 2
    assert "another unit model" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize(("others", "message"), [({"data__train": "{}"}, "names no language"),
                                                 ({"settings__num_labels": 3}, "num_labels"),
                                                 ({"data__num_units": 3}, "not below 3")])  # fmt: skip
def test_a_wrong_setting_is_an_error_that_names_it(
    data: Path, tmp_path: Path, others: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", data, **others) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["unit_bart", "tiny_unit_bart"])
def test_a_config_builds_its_model_and_stores_whole(name: str, tmp_path: Path) -> None:
    run = config.load(Run, CONF / f"{name}.toml")
    with torch.device("meta"):
        objective: nn.Module = build(run, 100)
    total = sum(parameter.numel() for parameter in objective.parameters())
    assert total < 3e6 if name.startswith("tiny") else 300e6 < total < 400e6
    if name.startswith("tiny"):
        begins = config.load(seq2seq.Run, CONF / "tiny_s2ut.toml")
        assert run.settings["decoder"] == begins.settings["decoder"]
        assert run.settings["adaptor"]["dim"] == begins.settings["adaptor"]["dim"]
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run

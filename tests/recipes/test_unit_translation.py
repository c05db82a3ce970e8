"""The recipe of textless translation: both directions, from a unit-BART, with and without pairs, on after a stop."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recipes import unit_bart
from recipes.unit_translation import Run, build, main
from speechssl import config
from speechssl.data.batch_plan import Batching
from speechssl.data.mixed_batches import MixedBatches
from speechssl.data.training_set import Place
from speechssl.data.unit_batches import UnitBatches
from speechssl.data.unit_corpus import open_unit_corpus, open_unit_pairs
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.generation.unit_translator import UnitTranslator
from speechssl.training import checkpoint
from tests.recipes import test_unit_bart
from tests.training.helpers import _toml

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
SMALL: dict[str, Any] = {
    **test_unit_bart.SMALL, "settings.smoothing": 0.0, "settings.adaptor.dim": 32, "search.beam": 2,
    "search.max_tokens": 4, "search.max_per_frame": 1.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sentences of two languages that say the same, the second with other units; and some of each alone."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("units")
    order = random.permutation(6) + 6

    def write(name: str, rows: list[np.ndarray]) -> None:
        lines = [f"u{number} {' '.join(map(str, row))}\n" for number, row in enumerate(rows)]
        (folder / name).write_text("".join(lines))

    said = [random.permutation(6)[: 4 + number] for number in range(2)]
    write("up", said)
    write("down", [order[row] for row in said])
    for name, of in (("more-up", np.arange(6)), ("more-down", order)):
        write(name, [of[random.permutation(6)] for _ in range(5)])
    return folder


def train(run: Path, data: Path, **others: Any) -> int:
    both = f'{{up=["{data}/up"],down=["{data}/down"]}}'
    values = {**SMALL, "run": run, "data.train": both, "data.valid": both,
              **{name.replace("__", "."): value for name, value in others.items()}}  # fmt: skip
    return main([f"{name}={value if str(value)[:1] in '{[' else _toml(value)}" for name, value in values.items()])


def alone(data: Path) -> dict[str, Any]:
    return {"data__monolingual": f'{{up=["{data}/more-up"],down=["{data}/more-down"]}}', "settings__back__max_more": 8}


def test_one_model_learns_both_directions(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, training__updates=120, training__valid_every=60, training__save_every=120,
                 optimizer__lr=1e-2) == 0  # fmt: skip
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["error_rate"] == 0 and result["exact"] == 1 and result["best_nll"] < 0.3
    translator = UnitTranslator.load(tmp_path / "run" / "model")
    assert translator.targets == translator.languages == ("up", "down")
    up, down = ([np.array(line.split()[1:], int) for line in (data / name).read_text().splitlines()]
                for name in ("up", "down"))  # fmt: skip
    for one, other in zip(up, down, strict=True):
        assert translator(one.repeat(2), "down").tolist() == other.tolist(), "runs of one unit are merged"
        assert translator(other, "up").tolist() == one.tolist()


@pytest.fixture(scope="module")
def begun(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unit-BART of a short training."""
    run = tmp_path_factory.mktemp("bart") / "run"
    assert test_unit_bart.train(run, data, training__updates=2, settings__decoder__max_positions=50) == 0
    return run / "model"


def test_a_resumed_run_with_back_translation_is_the_undisturbed_one_bit_for_bit(
    data: Path, begun: Path, tmp_path: Path
) -> None:
    others = {**alone(data), "start": begun, "settings__dropout__residual": 0.1}
    assert train(tmp_path / "one", data, **others) == 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for update in (5, 6):
        shutil.rmtree(tmp_path / "two" / "checkpoints" / f"update-{update:09}", ignore_errors=True)
    shutil.rmtree(tmp_path / "two" / "model")
    assert train(tmp_path / "two", data, **others) == 0
    for name in ("model/model.safetensors", "model/card.json", "result.json", "hypotheses.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    rows = [json.loads(line) for line in (tmp_path / "one" / "log.jsonl").read_text().splitlines()]
    told = [row for row in rows if row.get("made")]
    assert told and sum(row["made"] for row in told) == 3 * 10, "every second batch has all ten sentences alone"
    assert told[-1]["made"] >= told[-1]["empty"] + told[-1]["runaway"] >= 0
    card = tmp_path / "one" / "model" / "card.json"
    card.write_text(card.read_text().replace('"down"', '"left"'))
    with pytest.raises(CheckpointError):
        UnitTranslator.load(card.parent)


def test_it_begins_with_all_of_a_unit_bart_bit_for_bit(data: Path, begun: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, start=begun, training__updates=1, optimizer__lr=1e-12,
                 optimizer__weight_decay=0.0) == 0  # fmt: skip
    one, other = UnitTranslator.load(begun), UnitTranslator.load(tmp_path / "run" / "model")
    assert other.model.config == one.model.config and other.model.config.decoder.max_positions == 50
    for name, tensor in one.model.state_dict().items():  # after one update of next to nothing
        torch.testing.assert_close(other.model.state_dict()[name], tensor, rtol=0, atol=1e-10)
    with pytest.raises(ConfigError, match="translates into no language yet"):
        one([1, 2])
    stored = config.load(Run, tmp_path / "run" / "config.toml")
    assert stored.settings["decoder"]["max_positions"] == 50, "the stored settings have its shape"


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"data__train": "{}"}, "two languages"),
        ({"data__train": '{up=["up"]}'}, "two languages, as many folders of each, got 1 of up"),
        ({"settings__num_labels": 3}, "num_labels follows from the data"),
        ({"settings__back__max_more": 3}, "no effect without data.monolingual"),
        ({"data__num_units": 3}, "not below 3"),
        ({"data__monolingual": '{left=["up"]}'}, "units of 'left', which is none of up, down"),
        ({"data__monolingual": '{up=["up"]}', "data__back_share": 1.0}, "between 0 and 1"),
        ({"data__monolingual": '{up=["up"]}', "settings__back__max_more": 2999}, "lower settings.back.max_more"),
        ({"data__monolingual": '{up=["up"]}', "training__shard": True}, "training.shard"),
        ({"start": "no_such"}, "no_such: no model from units to units there"),
        ({"start": "BEGUN", "settings__decoder__num_layers": 2}, "settings.decoder"),
        ({"start": "BEGUN", "data__reduced": False}, "has others"),
        ({"start": "BEGUN", "data__train": '{up=["up"],left=["down"]}'}, "units of 'left', which is none of up, down"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(
    data: Path, begun: Path, tmp_path: Path, others: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {name: str(value).replace('["', f'["{data}/').replace("BEGUN", str(begun)) if isinstance(value, str)
              else value for name, value in others.items()}  # fmt: skip
    assert train(tmp_path / "run", data, **values) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_units_of_another_model_than_it_began_with_are_refused(
    data: Path, begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {}
    for side in ("up", "down"):
        folders[side] = tmp_path / side
        folders[side].mkdir()
        card = {"rate_hz": 50.0, "model": {"num_units": 12, "unit_model": "b" * 64},
                "outputs": [{"format": "text", "merged": True}]}  # fmt: skip
        (folders[side] / "units.json").write_text(json.dumps(card))
        shutil.copy(data / side, folders[side] / "units")
    of = f'{{up=["{folders["up"]}"],down=["{folders["down"]}"]}}'
    assert train(tmp_path / "run", data, data__train=of, data__valid=of, training__updates=1) == 0
    model = tmp_path / "run" / "model"
    assert UnitTranslator.load(model).output.unit_model == "b" * 64
    other = of.replace(str(folders["up"]), str(tmp_path / "c")).replace(str(folders["down"]), str(tmp_path / "d"))
    for side, name in (("up", "c"), ("down", "d")):
        shutil.copytree(folders[side], tmp_path / name)
        path = tmp_path / name / "units.json"
        path.write_text(path.read_text().replace("b" * 64, "c" * 64))
    assert train(tmp_path / "other", data, data__train=other, data__valid=other, start=model) == 2
    assert "units of 2 unit models" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_pairs_go_in_every_direction_and_what_has_no_partner_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x 1 1 2\ny 3\nz 4\nw\nv 1 2 3 4 5\n")
    (tmp_path / "b").write_text("x 6 7\ny 8\nw 6\nv 6\n")
    found = open_unit_pairs({"cs": [tmp_path / "a"], "nl": [tmp_path / "b"]}, most=4, names=("nl", "de", "cs"))
    assert [row[:, 0].tolist() for row in found.units] == [[1, 2], [3], [6, 7], [8]]
    assert found.targets is not None and found.targets.values.tolist() == [6, 7, 8, 1, 2, 3]
    assert found.groups is not None and found.groups.tolist() == [0, 0, 2, 2] and found.sizes == (9,)
    reasons = dict(found.failures)
    assert len(reasons) == 6 and reasons["cs-nl:0:z"] == reasons["nl-cs:0:z"] == "not there in nl"
    assert reasons["nl-cs:0:w"] == "0 units in cs are not 1..4" and "5 units" in reasons["cs-nl:0:v"]
    with pytest.raises(DataError, match=r"none of 10 pairs has 3\.\.4 units"):
        open_unit_pairs({"cs": [tmp_path / "a"], "nl": [tmp_path / "b"]}, most=4, least=3)
    with pytest.raises(DataError, match="got 2 of cs, 1 of nl"):
        open_unit_pairs({"cs": [tmp_path / "a", tmp_path / "a"], "nl": [tmp_path / "b"]}, most=4)


def test_batches_of_two_sets_come_in_their_shares_wherever_one_begins(data: Path) -> None:
    sets = (open_unit_pairs({"up": [data / "up"], "down": [data / "down"]}, most=9, rate_hz=10),
            open_unit_corpus({"up": [data / "more-up"]}, most=9, rate_hz=10))  # fmt: skip
    first, second = (UnitBatches(one, Batching(seconds=1.0, crop_s=1.0, min_s=0.1), 0) for one in sets)
    mixed = MixedBatches(first, second, 0.3)
    stream = mixed.start(Place())
    batches = [next(stream) for _ in range(40)]
    kinds = [loaded.batch.targets is None for loaded in batches if loaded.batch is not None]
    assert sum(kinds) == 12 and all(sum(kinds[: end + 1]) == int(0.3 * (end + 1) + 1e-9) for end in range(40))
    later = mixed.start(batches[16].next)
    for loaded in batches[17:]:
        found = next(later)
        assert found.batch is not None and loaded.batch is not None and found.next == loaded.next
        assert found.batch.ids == loaded.batch.ids and torch.equal(found.batch.seeds, loaded.batch.seeds)
    ids = [name for loaded in batches if loaded.batch is not None for name in loaded.batch.ids]
    assert all(sum(name.startswith("up:0:u") and name.endswith(str(n)) for name in ids) >= 2 for n in range(5))
    halves = [MixedBatches(first, second, 0.3, rank, 2).start(Place()) for rank in (0, 1)]
    for number in range(0, 40, 2):
        for rank, half in enumerate(halves):
            one, two = next(half).batch, batches[number + rank].batch
            assert one is not None and two is not None and one.ids == two.ids


@pytest.mark.parametrize("name", ["unit_translation", "tiny_unit_translation"])
def test_a_config_builds_its_model_has_its_unit_barts_shape_and_stores_whole(name: str, tmp_path: Path) -> None:
    run = config.load(Run, CONF / f"{name}.toml")
    begins = config.load(unit_bart.Run, CONF / f"{name.replace('translation', 'bart')}.toml")
    assert all(run.settings[part] == begins.settings[part] for part in ("adaptor", "decoder"))
    with torch.device("meta"):
        objective: nn.Module = build(run, 100, 2)
    total = sum(parameter.numel() for parameter in objective.parameters())
    assert total < 3e6 if name.startswith("tiny") else 300e6 < total < 400e6
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run


def test_a_checkpoint_holds_the_model_that_is_kept(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, data__valid="{}", training__updates=2) == 0
    kept = UnitTranslator.load(tmp_path / "run" / "model").model.state_dict()
    last = checkpoint.load(tmp_path / "run" / "checkpoints" / "update-000000002").model
    assert {name.removeprefix("model.") for name in last} == set(kept)
    assert all(torch.equal(tensor, last[f"model.{name}"]) for name, tensor in kept.items())

"""Durations of deduplicated units: the loss, the predictor against a slow form, learning, and speaking by them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes import unit_durations as recipe
from speechssl.errors import ConfigError, DataError
from speechssl.training import durations
from speechssl.units import vocoder as folders
from speechssl.units.units import Units
from speechssl.vocoders.durations import (
    Settings,
    VariancePredictor,
    duration_loss,
    shift_to_total,
    whole_frames,
)
from tests.encoders.parity import randomize
from tests.vocoders.test_unit_vocoder import OWN, make


def test_the_loss_is_the_mean_squared_error_of_log_frames_over_real_units() -> None:
    predicted = torch.tensor([[math.log(3.0), 9.0]])
    found = duration_loss(predicted, torch.tensor([[1, 0]]), torch.tensor([[True, False]]))
    assert float(found) == pytest.approx((math.log(3) - math.log(2)) ** 2, rel=1e-6)


def test_frames_are_rounded_and_never_none() -> None:
    assert whole_frames(torch.tensor([-5.0, 0.0, math.log(3.4), math.log(3.6), 99.0])).tolist() == [1, 1, 2, 3, 500]


def test_predictions_are_shifted_until_their_frames_are_as_many_as_the_true_ones() -> None:
    durations = torch.tensor([1, 1, 1, 5])
    predicted = torch.full((4,), float(durations.double().log1p().mean()))
    shift = shift_to_total(predicted, durations)
    assert shift == pytest.approx(
        math.log(2.5) - float(predicted[0]), abs=1e-6
    )  # to 1.5 frames, which are rounded to 2
    predictions = torch.randn(500, generator=torch.Generator().manual_seed(0)) * 0.5 + 1
    true = (predictions.exp() * 1.4).round().long().clamp_min(1)
    found = shift_to_total(predictions, true)
    assert abs(int(whole_frames(predictions + found).sum()) - int(true.sum())) <= 2
    assert whole_frames(predictions).sum() < 0.8 * true.sum()


def test_an_adjusted_predictor_says_gain_times_what_it_said_and_shift() -> None:
    predictor = VariancePredictor(4, Settings(hidden=5), 2).double().eval()
    randomize(predictor)
    x = torch.randn(1, 6, 4, dtype=torch.float64)
    gain, shift = torch.tensor([2.0, 0.5]).double(), torch.tensor([-1.0, 3.0]).double()
    expected = gain * predictor(x) + shift
    predictor.adjust(gain, shift)
    torch.testing.assert_close(predictor(x), expected)
    predictor.adjust(1.0, 0.25)
    torch.testing.assert_close(predictor(x), expected + 0.25)


def test_the_predictor_equals_its_formula_and_padding_changes_nothing() -> None:
    predictor = VariancePredictor(4, Settings(hidden=5)).double().eval()
    randomize(predictor)
    x = torch.randn(1, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x[0].numpy()
    for conv, norm in zip(predictor.convs, predictor.norms, strict=True):
        weight, around = conv.weight.detach().numpy(), np.pad(y, ((1, 1), (0, 0)))
        y = np.array([sum(weight[:, :, k] @ around[t + k] for k in range(3)) for t in range(6)])
        y = np.maximum(y + conv.bias.detach().numpy(), 0)
        y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5)
        y = y * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    expected = torch.from_numpy(y) @ predictor.last.weight[0] + predictor.last.bias
    torch.testing.assert_close(predictor(x)[0], expected, atol=1e-9, rtol=0)
    longer = torch.cat([x, torch.full((1, 3, 4), 7.0, dtype=torch.float64)], 1)
    padded = predictor(longer, torch.arange(9)[None] < 6)
    torch.testing.assert_close(padded[:, :6], predictor(x), atol=1e-9, rtol=0)


def corpus(count: int, seed: int) -> list[Units]:
    """Unit u lasts u + 1 frames, twice that behind unit 0: what a predictor with context can know."""
    random, found = np.random.default_rng(seed), []
    for _ in range(count):
        ids = random.integers(7, size=20)
        ids = ids[np.concatenate([[True], ids[1:] != ids[:-1]])]
        behind = np.concatenate([[False], ids[:-1] == 0])
        found.append(Units(ids.astype(np.int64), (ids + 1) * np.where(behind, 2, 1), OWN.rate_hz, 7))
    return found


def test_it_learns_what_the_units_around_say_and_beats_every_units_mean() -> None:
    train, test = corpus(60, 0), corpus(20, 1)
    settings = durations.Settings(updates=250, lr=3e-3)
    taught, losses = durations.learn(make().float(), train, settings, Settings(hidden=32, dropout=0.0))
    found, floor = durations.score(taught, test), durations.floor(train, test)
    assert losses[-1] < 0.1 * losses[0]
    assert found.absolute_error < 0.5 * floor.absolute_error and 0.97 < found.total_ratio < 1.03
    assert (found.runs, found.mean_frames) == (floor.runs, floor.mean_frames)


def test_scores_are_those_by_hand() -> None:
    found = durations.compare([(np.array([1, 4]), np.array([2, 2])), (np.array([3]), np.array([3]))])
    assert found == durations.DurationScores(3, 7 / 3, 1.0, 8 / 7)
    ids = np.array([0, 1, 0, 2], dtype=np.int64)
    train = [Units(ids, np.array([1, 3, 7, 2], dtype=np.int64), 50.0, 4)]
    test = [Units(np.array([0, 3], dtype=np.int64), np.array([3, 5], dtype=np.int64), 50.0, 4)]
    mean = math.exp((math.log(2) + math.log(8)) / 2) - 1  # of unit 0: 3 frames; unit 3 gets the mean of all
    overall = math.exp((math.log(2) + math.log(4) + math.log(8) + math.log(3)) / 4) - 1
    assert round(mean) == 3  # 3 + 3 + 3 + 2 in training, where it is 13: shifted, unit 0 gets 4
    assert durations.floor(train, test).absolute_error == (abs(3 - 4) + abs(5 - round(overall))) / 2


def test_learning_leaves_the_rest_of_the_vocoder_as_it_is() -> None:
    plain = make().float()
    taught, _ = durations.learn(plain, corpus(5, 0), durations.Settings(updates=3), Settings(hidden=4))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(taught.state_dict()[name], tensor), name
    again, _ = durations.learn(plain, corpus(5, 0), durations.Settings(updates=3), Settings(hidden=4))
    assert folders.sha256(again) == folders.sha256(taught) != folders.sha256(plain)


def test_without_a_predictor_merged_units_have_no_durations() -> None:
    with pytest.raises(DataError, match=r"recipes\.unit_durations"):
        make().predict_durations(torch.tensor([1, 2]))
    with pytest.raises(DataError, match="no units"):
        durations.learn(make(), [], durations.Settings(), Settings())
    with pytest.raises(ConfigError, match="odd kernel"):
        Settings(kernel=2)


def test_the_recipe_writes_a_vocoder_that_speaks_merged_units(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.save(tmp_path / "vocoder", make().float(), OWN)
    units = tmp_path / "units"
    units.mkdir()
    lines = [f"u{n} {' '.join(map(str, one.frames()))}\n" for n, one in enumerate(corpus(6, 0))]
    (units / "units").write_text("".join(lines))
    model = {"num_units": 7, "rate_hz": 800.0, "unit_model": "a" * 64, "name": "x"}
    card = {"rate_hz": 800.0, "outputs": [{"format": "text", "merged": False}], "model": model}
    (units / "units.json").write_text(json.dumps(card))
    arguments = [f"vocoder={tmp_path / 'vocoder'}", f"units={units}", f"valid={units}", f"run={tmp_path / 'run'}",
                 "settings.updates=3"]  # fmt: skip
    assert recipe.main(arguments) == 0
    written = json.loads((tmp_path / "run" / "durations.json").read_text())
    assert written["valid"]["runs"] == sum(len(one.dedup()) for one in corpus(6, 0))
    vocoder = folders.load(tmp_path / "run")
    assert vocoder.module.predict_durations(torch.tensor([1, 2, 1])).shape == (3,)
    assert recipe.main(arguments) == 2 and "holds something" in capsys.readouterr().err
    (units / "units.json").write_text(json.dumps({**card, "model": {**model, "unit_model": "b" * 64}}))
    assert recipe.main([*arguments, f"run={tmp_path / 'other'}"]) == 2
    assert "other sounds" in capsys.readouterr().err

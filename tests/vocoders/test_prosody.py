"""Prosody of units: runs, averages and expansion by hand, inputs, losses, and what learns from what."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError, DataError
from speechssl.nn.runs import averages, over_frames, runs_of
from speechssl.objectives import mel_regression
from speechssl.units.units import Units
from speechssl.vocoders.mel_decoder import Config, MelDecoder
from speechssl.vocoders.prosody import (
    SEMITONES,
    Contours,
    Predicted,
    Prosody,
    Settings,
    contours_of,
    prosody_losses,
)
from tests.encoders.parity import randomize

IDS = torch.tensor([[5, 5, 2, 5, 5, 5], [3, 3, 3, 3, 0, 0]])
VALID = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
SMALL = Config(num_units=7, num_mels=20, dim=8, ffn_dim=12, num_layers=1, num_heads=2, kernel=3, prosody=Settings(4))


def prosody(**settings: object) -> Prosody:
    torch.manual_seed(0)
    made = Prosody(Settings(**{"embedding": 4, "bins": 5, "reach": 4.0, **settings}), dim=8, patch=6)
    randomize(made)
    return made.eval()


def test_runs_by_hand() -> None:
    runs = runs_of(IDS, VALID)
    assert runs.ids.tolist() == [[5, 2, 5], [3, 0, 0]] and runs.durations.tolist() == [[2, 1, 3], [4, 0, 0]]
    assert runs.places[0].tolist() == [0, 0, 1, 2, 2, 2] and runs.valid.tolist() == [[True] * 3, [True, False, False]]


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=4))
def test_runs_are_those_of_deduplicated_units_whatever_the_batch(rows: list[list[int]]) -> None:
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, own in enumerate(rows):
        ids[row, : len(own)] = torch.tensor(own, dtype=torch.long)
    runs = runs_of(ids, torch.arange(ids.shape[1]) < torch.tensor([[len(own)] for own in rows]))
    for row, own in enumerate(rows):
        units = Units.from_frames(own, rate_hz=50.0, size=4).dedup()
        assert runs.ids[row][runs.valid[row]].tolist() == units.ids.tolist()
        assert runs.durations[row][runs.valid[row]].tolist() == units.durations.tolist()
    spread = over_frames(runs.ids.unsqueeze(2), runs)[..., 0]
    assert torch.equal(spread, ids.masked_fill(~runs.frames, 0))


def test_averages_over_runs_by_hand_leave_weights_of_zero_and_padding_out() -> None:
    runs = runs_of(IDS, VALID)
    values = torch.tensor([[1.0, 3, 7, 2, 4, 9], [1, 1, 1, 5, math.nan, math.inf]]).unsqueeze(2)
    assert averages(values, runs)[..., 0].tolist() == [[2, 7, 5], [2, 0, 0]]
    weights = torch.tensor([[1.0, 0, 0, 0, 1, 3], [0, 0, 0, 0, 1, 1]])
    assert averages(values, runs, weights)[..., 0].tolist() == [[1, 0, 31 / 4], [0, 0, 0]]


def test_contours_by_hand() -> None:
    """Pitch over voiced frames alone, the share of these, log power above the mean of real frames; two mels a frame."""
    runs = runs_of(IDS, VALID)
    pitch = torch.zeros(2, 4, 2)  # two frames short
    pitch[0, :, 0], pitch[0, :, 1] = torch.tensor([0.1, 9.0, 9.0, 0.3]), torch.tensor([1.0, 0, 0, 1])
    power = torch.tensor([[1.0, 1, 4, 2, 2, 2], [8, 8, 8, 8, math.nan, 1]])
    mel = torch.stack([power * 0.5, power * 1.5], 2).flatten(1).log().unsqueeze(2).expand(-1, -1, 3)
    found = contours_of(pitch, mel, runs)
    np.testing.assert_allclose(found.pitch, [[0.1 * SEMITONES, 0, 0.3 * SEMITONES], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.voicing, [[0.5, 0, 1 / 3], [0, 0, 0]], rtol=1e-6)
    logs = np.log([1, 4, 2]) - np.log([1, 1, 4, 2, 2, 2]).mean()
    np.testing.assert_allclose(found.energy, [logs, [0, 0, 0]], atol=1e-6)
    assert pytest.approx(12) == SEMITONES * math.log(2)
    with pytest.raises(DataError, match="log F0 and voicing"):
        contours_of(pitch[0], mel, runs)


def test_inputs_are_a_bump_over_bins_where_voiced_and_voicing_and_energy() -> None:
    module = prosody()  # bins at -4, -2, 0, 2, 4
    contours = Contours(torch.tensor([1.0, 3.0, 50.0]), torch.tensor([0.25, 0.0, 1.0]), torch.tensor([3.0, -6.0, 0.0]))
    found = module.inputs(contours)
    bump = np.exp(-np.square(np.array([-4, -2, 0, 2, 4]) - 1.0) / 2)
    np.testing.assert_allclose(found[0], [*bump, 0.25, 1.0], atol=1e-6)
    np.testing.assert_allclose(found[1], [0, 0, 0, 0, 0, 0, -2], atol=1e-6)
    assert int(found[2, :5].argmax()) == 4 and float(found[2, 4]) == 1  # beyond the last bin counts as there
    assert found.shape[1] == module.settings.channels


def test_losses_by_hand() -> None:
    runs = runs_of(IDS, VALID)
    contours = Contours(torch.tensor([[4.0, 0, 0], [0, 0, 0]]), torch.tensor([[0.5, 0, 0], [0, 0, 0]]),
                        torch.tensor([[0.0, 3, 0], [0, 9, 9]]))  # fmt: skip
    durations = torch.log1p(runs.durations.float()) + torch.tensor([[1.0, 0, 0], [2, 7, 7]])
    predicted = Predicted(durations, torch.zeros(2, 3), torch.zeros(2, 3, 2))
    found = prosody_losses(predicted, contours, runs)
    assert float(found["duration"]) == pytest.approx(5) and float(found["pitch"]) == pytest.approx(0.5)
    assert float(found["energy"]) == pytest.approx(1) and float(found["voicing"]) == pytest.approx(4 * math.log(2))


def test_what_is_predicted_is_voiced_or_not_and_lasts_a_frame_at_least() -> None:
    found = Predicted(torch.tensor([-9.0, math.log(4)]), torch.tensor([-0.1, 0.1]), torch.tensor([[1.0, 1], [0.5, -1]]))
    assert found.frames().tolist() == [1, 3]
    contour = found.contour()
    assert (
        contour.pitch.tolist() == [0, 2] and contour.voicing.tolist() == [0, 1] and contour.energy.tolist() == [3, -3]
    )


def test_embeddings_and_predictions_do_not_see_padding() -> None:
    module, mel = prosody(), torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    together, alone = module.embed(mel, valid), module.embed(mel[1:, :3])
    torch.testing.assert_close(together[1:], alone)
    torch.testing.assert_close(module.embed_speaker(mel, valid)[1:], module.embed_speaker(mel[1:, :3]))
    assert not torch.allclose(together, module.embed_speaker(mel, valid))
    units = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    padded, whole = module.predict(units, together, valid), module.predict(units[1:, :3], alone)
    torch.testing.assert_close(padded.durations[1:, :3], whole.durations)
    torch.testing.assert_close(padded.contours[1:, :3], whole.contours)
    torch.testing.assert_close(padded.voicing[1:, :3], whole.voicing)


def example_batch() -> Batch:
    random = torch.Generator().manual_seed(3)
    labels = torch.randint(7, (2, 12), generator=random).repeat_interleave(2, 1)
    pitch = torch.stack([0.2 * torch.randn(2, 24, generator=random), torch.ones(2, 24)], 2)
    return Batch(0.1 * torch.randn(2, 8000, generator=random), torch.tensor([8000, 8000]), torch.tensor([1, 2]),
                 ("a", "b"), labels, pitch=pitch)  # fmt: skip


def objective() -> mel_regression.Objective:
    from speechssl import encoders
    from tests.encoders import tiny

    torch.manual_seed(0)
    encoder = encoders.build("tdnn", tiny.TINY["tdnn"][0])
    made = mel_regression.Objective(encoder, mel_regression.Config(7, SMALL))
    randomize(made.decoder)
    return made.eval()


def grads(loss: Tensor, module: torch.nn.Module) -> set[str]:
    """Names of the parameters that a loss has a gradient for."""
    names, parameters = zip(*((n, p) for n, p in module.named_parameters() if p.requires_grad), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {name for name, one in zip(names, found, strict=True) if one is not None and bool(one.abs().max() > 0)}


def test_the_mel_teaches_the_speaker_encoder_and_prosody_its_own_encoder_and_predictor() -> None:
    from speechssl.vocoders.mel_learning import example

    made = objective()
    found = example(made, example_batch())
    aside, mel = grads(found.aside, made.decoder), grads(made.decoder(found.condition, found.valid).sum(), made.decoder)
    assert {n.split(".")[1] for n in aside if n.startswith("prosody")} == {"encoder", "told", "durations", "voicing",
                                                                           "contours"}  # fmt: skip
    assert {n.split(".")[1] for n in mel if n.startswith("prosody")} == {"speaker"}
    assert {"content.weight"} == {n for n in aside if not n.startswith("prosody")} and "more.weight" in mel
    outcome = made(example_batch())
    shown = made.decoder(found.condition, found.valid)
    expected = mel_regression.absolute_loss(shown, found.mel, found.valid) + found.aside
    torch.testing.assert_close(outcome.loss, expected)
    assert set(outcome.scalars) == {"duration", "pitch", "voicing", "energy"}


def test_the_decoder_follows_pitch_and_energy_of_the_recording() -> None:
    from dataclasses import replace

    from speechssl.vocoders.mel_learning import example

    made, batch = objective(), example_batch()
    plain = example(made, batch).condition
    assert batch.pitch is not None
    moved = example(made, replace(batch, pitch=batch.pitch + 0.1)).condition
    assert not torch.allclose(plain, moved)
    with pytest.raises(DataError, match="speechssl pitch"):
        example(made, replace(batch, pitch=None))


def test_what_follows_from_prosody_is_filled_in_and_contradictions_are_refused() -> None:
    config = MelDecoder(SMALL).config
    assert (config.more_inputs, config.speaker_inputs) == (51, 4) and config.whole() == config
    told = Config(num_units=7, speakers=("a",), prosody=Settings(speaker=False))
    assert told.whole().speaker_inputs == 0 and MelDecoder(told).prosody.speaker is None  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="hears no speaker"):
        prosody(speaker=False).embed_speaker(torch.zeros(1, 2, 6))
    for wrong in ({"num_units": 0, "inputs": 3}, {"more_inputs": 2}, {"speakers": ("a",)}, {"speaker_inputs": 3}):
        with pytest.raises(ConfigError, match="prosody"):
            Config(**{"num_units": 7, "prosody": Settings(), **wrong})
    for settings in ({"embedding": 0}, {"bins": 1}, {"width": 0.0}, {"reach": 0.5}):
        with pytest.raises(ConfigError, match="prosody needs"):
            Settings(**settings)

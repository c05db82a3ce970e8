"""Prosody predictors after training: as long and as lively as what they learned from, by hand and by moments."""

import math

import pytest
import torch
from torch import Tensor

from speechssl.data.batch import Batch
from speechssl.objectives import mel_regression
from speechssl.vocoders.calibration import _fit, calibrate
from speechssl.vocoders.durations import whole_frames
from speechssl.vocoders.mel_decoder import MelDecoder
from speechssl.vocoders.mel_learning import content_and_mel, heard_and_predicted
from speechssl.vocoders.prosody import SCALES
from tests.vocoders.test_prosody import example_batch, objective


def moments(of: mel_regression.Objective, batch: Batch) -> tuple[Tensor, Tensor]:
    """Frames in all, predicted and true; mean and spread of pitch and energy, predicted and true [2, 2, 2]."""
    decoder: MelDecoder = of.decoder
    assert decoder.prosody is not None
    with torch.no_grad():
        runs, heard, said = heard_and_predicted(
            decoder.eval(), decoder.prosody, content_and_mel(of, batch), batch.pitch
        )
    frames = torch.stack([whole_frames(said.durations)[runs.valid].sum(), runs.durations.sum()])
    rows = []
    for column, (true, weights) in enumerate(
        [(heard.pitch, heard.voicing), (heard.energy, torch.ones_like(heard.energy))]
    ):
        own = (weights * runs.valid).double()
        for values in (said.contours[..., column].double(), true.double() / SCALES[column]):
            mean = (own * values).sum() / own.sum()
            rows.append(torch.stack([mean, ((own * (values - mean).square()).sum() / own.sum()).sqrt()]))
    return frames, torch.stack(rows).reshape(2, 2, 2)


def test_a_calibrated_predictor_is_as_long_and_as_lively_as_what_it_saw() -> None:
    made, batch = objective(), example_batch()
    before, _ = moments(made, batch)
    assert before[0] != before[1]
    found = calibrate(made, [batch])
    assert found is not None and found.pitch_gain > 0 and math.isfinite(found.duration_shift)
    frames, spread = moments(made, batch)
    assert abs(int(frames[0] - frames[1])) <= 1
    torch.testing.assert_close(spread[:, 0], spread[:, 1], atol=1e-4, rtol=1e-4)
    again = calibrate(made, [batch])
    assert again is not None and again.pitch_gain == pytest.approx(1, abs=1e-3)


def test_gain_and_shift_by_hand_and_nothing_is_stretched_that_does_not_move() -> None:
    said, true = torch.tensor([0.0, 2, 9]).double(), torch.tensor([1.0, 7, 9]).double()
    weights = torch.tensor([1.0, 1, 0]).double()  # of the first two: mean 1 and 4, spread 1 and 3
    assert _fit(said, true, weights) == pytest.approx((3.0, 1.0))
    assert _fit(torch.ones(3).double(), true, weights) == pytest.approx((1.0, 3.0))
    assert _fit(said, true, torch.zeros(3).double()) == pytest.approx((1.0, 0.0))


def test_a_decoder_without_prosody_and_no_batches_are_left_alone() -> None:
    made = objective()
    weights = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    assert calibrate(made, []) is None
    made.decoder.prosody = None
    assert calibrate(made, [example_batch()]) is None
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, weights[name]), name

"""After training: what the squared errors of a prosody predictor made too short and too flat.

The expectation of a logarithm gives durations that are too short, and an expected contour moves less than any contour
does. Durations are shifted so that speech lasts as long as in training, pitch and energy are stretched about their mean
to the spread that they have there (global variance, Toda and Tokuda, IEICE Trans. E90-D, 2007). Both become part of the
predictor's last layers, so that nothing has to be told to whoever predicts.

differs: the spread is that of all units of training, not of each utterance, and is reached exactly, not by likelihood.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from speechssl.data.batch import Batch
from speechssl.vocoders.durations import shift_to_total
from speechssl.vocoders.mel_learning import MelLearner, content_and_mel, heard_and_predicted
from speechssl.vocoders.prosody import SCALES

_LEAST = 1e-3  # spread in units of SCALES below which nothing is stretched: a predictor that says one number


@dataclass(frozen=True)
class Calibration:
    """What was done."""

    duration_shift: float  # of log(1 + frames)
    pitch_gain: float
    energy_gain: float


@torch.no_grad()
def calibrate(learner: MelLearner, batches: Iterable[Batch]) -> Calibration | None:
    """Adjusts the predictor of `learner.decoder` to what batches have; None without prosody or units."""
    prosody = learner.decoder.prosody
    if prosody is None:
        return None
    training = learner.training
    found = [_of_batch(learner.eval(), batch) for batch in batches]
    learner.train(training)
    if not found or not sum(len(rows) for rows in found):
        return None
    predicted, durations, pitch, energy, voicing, said_pitch, said_energy = torch.cat(found).unbind(1)
    shift = shift_to_total(predicted, durations)
    prosody.durations.adjust(1.0, shift)
    fits = [
        _fit(said_pitch, pitch / SCALES[0], voicing),
        _fit(said_energy, energy / SCALES[1], torch.ones_like(energy)),
    ]
    gains, shifts = torch.tensor(fits, dtype=torch.float64).unbind(1)
    prosody.contours.adjust(gains, shifts)
    return Calibration(shift, *map(float, gains))


def _of_batch(learner: MelLearner, batch: Batch) -> Tensor:
    """[N, 7] of real units: log durations predicted, frames, pitch, energy, voicing, pitch and energy predicted."""
    decoder = learner.decoder
    assert decoder.prosody is not None
    runs, heard, said = heard_and_predicted(decoder, decoder.prosody, content_and_mel(learner, batch), batch.pitch)
    columns = [said.durations, runs.durations, heard.pitch, heard.energy, heard.voicing, *said.contours.unbind(2)]
    return torch.stack([column.double() for column in columns], 2)[runs.valid].cpu()


def _fit(said: Tensor, true: Tensor, weights: Tensor) -> tuple[float, float]:
    """Gain and shift that give `said` the mean and spread of `true`, both [N], by weights [N]."""
    total = weights.sum().clamp_min(1e-9)
    means = [(weights * values).sum() / total for values in (said, true)]
    spreads = [((weights * (values - mean).square()).sum() / total).sqrt()
               for values, mean in zip((said, true), means, strict=True)]  # fmt: skip
    gain = float(spreads[1] / spreads[0]) if min(spreads) > _LEAST else 1.0
    return gain, float(means[1]) - gain * float(means[0])

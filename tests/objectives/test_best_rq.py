"""The random quantizer, its targets and the noise, against a slow oracle, other libraries, and by hand."""

import math

import pytest
import torch
import torchaudio
from torch import Tensor

from speechssl import encoders, objectives
from speechssl.data.batch import Batch
from speechssl.nn.mel import log_mel, normalize_over_time
from speechssl.nn.start_mask import StartMask, start_mask
from speechssl.objectives.best_rq import code_loss, covered_samples, signal_noise
from speechssl.quantizers.random_projection import RandomProjectionQuantizer
from tests.objectives.tiny import ENCODER


def slow_codes(x: Tensor, projection: Tensor, codebook: Tensor) -> list[int]:
    """Eq. (1) in float64, one distance at a time."""
    chosen = []
    for frame in x.double():
        projected = projection.double().T @ frame
        projected = projected / math.sqrt(float(projected @ projected))
        distances = [float(((code / code.norm()) - projected).norm()) for code in codebook.double()]
        chosen.append(distances.index(min(distances)))
    return chosen


def test_codes_are_the_nearest_after_normalising() -> None:
    quantizer = RandomProjectionQuantizer(12, entries=50, dim=4, seed=3)
    x = torch.randn(40, 12, generator=torch.Generator().manual_seed(0))
    assert quantizer.encode(x).tolist() == slow_codes(x, quantizer.projection, quantizer.codebook)
    assert torch.equal(quantizer.encode(x), quantizer.encode(7 * x))
    assert torch.equal(quantizer.decode(torch.arange(50)), quantizer.codebook)


def test_projection_and_codebook_are_drawn_as_the_paper_says_and_never_trained() -> None:
    quantizer = RandomProjectionQuantizer(160, entries=8192, dim=16, seed=0)
    bound = math.sqrt(6 / (160 + 16))
    assert float(quantizer.projection.abs().max()) <= bound
    assert float(quantizer.projection.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    torch.testing.assert_close(quantizer.codebook.norm(dim=-1), torch.ones(8192))
    assert not list(quantizer.parameters()) and set(quantizer.state_dict()) == {"projection", "codebook"}
    again = RandomProjectionQuantizer(160, entries=8192, dim=16, seed=0)
    assert torch.equal(quantizer.codebook, again.codebook) and torch.equal(quantizer.projection, again.projection)


def test_without_normalising_few_codes_are_chosen_and_with_it_many() -> None:
    """What the paper's section 3.1 warns of: log-mel energies are all far from zero on the same side."""
    x = 2 * torch.randn(4000, 160, generator=torch.Generator().manual_seed(0)) - 12
    quantizer = RandomProjectionQuantizer(160, entries=512)
    plain = quantizer.encode(x).unique().numel()
    normal = quantizer.encode(normalize_over_time(x[None], torch.tensor([4000]))[0]).unique().numel()
    assert normal > 480 and plain < normal / 2


def test_the_loss_is_the_negative_log_likelihood() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]], requires_grad=True)
    loss = code_loss(logits, torch.tensor([1, 1]))
    assert float(loss.detach()) == pytest.approx(-math.log(3 / 4) - math.log(1 / 5))
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.25, -0.25], [0.8, -0.8]]))


def test_log_mel_equals_torchaudios_kaldi_filterbank() -> None:
    wav = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    theirs = torchaudio.compliance.kaldi.fbank(
        wav, num_mel_bins=80, low_freq=0.0, dither=0.0, preemphasis_coefficient=0.0, remove_dc_offset=False,
        window_type="hanning", use_energy=False,
    )  # fmt: skip
    found = log_mel(wav, torch.tensor([4000]), num_frames=len(theirs) + 2, hop=160)[0]
    torch.testing.assert_close(found[:-2], theirs, rtol=1e-3, atol=1e-3)
    assert found[-2:].isfinite().all()  # windows that reach behind the end


def test_normalising_looks_at_real_frames_only() -> None:
    frames = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [float("nan"), 9.0]]])
    found = normalize_over_time(frames, torch.tensor([2]))
    torch.testing.assert_close(found, torch.tensor([[[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]]))


def test_masked_frames_see_noise_and_nothing_else() -> None:
    """With hop 320 and window 400, frame t covers samples 320 t .. 320 t + 399."""
    mask = torch.tensor([[False, True, True, False, False], [False, False, False, False, True]])
    covered = covered_samples(mask, num_samples=1700, hop=320, window=400)
    expected = torch.zeros(2, 1700, dtype=torch.bool)
    expected[0, 320:1040] = True
    expected[1, 1280:1680] = True
    assert torch.equal(covered, expected)
    thin = covered_samples(torch.tensor([[True, False]]), num_samples=12, hop=4, window=11)
    assert thin.tolist() == [[True] * 11 + [False]]


def test_noise_has_the_signals_scale() -> None:
    wav = torch.zeros(2, 20000)
    wav[0], wav[1, :5000] = 3 * torch.randn(20000), 0.01 * torch.randn(5000) + 1
    noise = signal_noise(wav, torch.tensor([20000, 5000]), torch.tensor([1, 2]))
    assert float(noise[0].std()) == pytest.approx(3, rel=0.05)
    assert float(noise[1, :5000].std()) == pytest.approx(0.01, rel=0.05) and not noise[1, 5000:].any()
    alone = signal_noise(wav[1:, :5000], torch.tensor([5000]), torch.tensor([2]))
    assert torch.equal(alone[0], noise[1, :5000])


def test_spans_begin_at_every_frame_with_the_same_probability() -> None:
    settings = StartMask(start=0.02, span=20)
    masks = start_mask(settings, torch.full((400,), 300), 310, torch.arange(400))
    assert not masks[:, 300:].any()
    assert float(masks[:, 20:300].float().mean()) == pytest.approx(settings.expected, abs=0.02)
    assert settings.expected == pytest.approx(1 - 0.98**20)
    assert float(masks[:, 0].float().mean()) == pytest.approx(0.02, abs=0.02)


def test_targets_are_those_of_the_clean_signal_and_the_encoder_sees_noise() -> None:
    encoder = encoders.build("hubert", ENCODER)
    settings = {"mask": {"start": 0.1, "span": 4}, "entries": 30, "code_dim": 4, "num_mels": 20}
    objective = objectives.build("best_rq", encoder, settings)
    wav = torch.randn(1, 9000, generator=torch.Generator().manual_seed(0))
    lengths, seeds = torch.tensor([9000]), torch.tensor([5])
    seen: list[Tensor] = []
    encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    outcome = objective(Batch(wav, lengths, seeds, ("a",)))
    frames = encoder.frame_lengths(lengths)
    mask = start_mask(StartMask(0.1, 4), frames, int(frames), seeds)
    covered = covered_samples(mask, num_samples=9000, hop=320, window=400)
    assert outcome.count == int(mask.sum()) > 0
    assert torch.equal(seen[0][~covered], wav[~covered])
    assert float(seen[0][covered].std()) == pytest.approx(0.1, rel=0.15)
    mel = normalize_over_time(log_mel(wav, lengths, num_frames=2 * int(frames), hop=160, num_mels=20), 2 * frames)
    codes = objective.quantizer.encode(mel.reshape(-1, 40))
    assert outcome.codes is not None and torch.equal(outcome.codes, codes)

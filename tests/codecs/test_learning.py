"""A codec's training: whose gradients go where, what the losses are, what is left of a batch's neighbours."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speechssl.codecs.learning import Learning, Settings
from speechssl.codecs.model import Codec
from speechssl.errors import ConfigError
from speechssl.metrics.si_sdr import si_sdr
from speechssl.nn.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from speechssl.nn.mel_loss import multi_scale_mel_loss
from speechssl.nn.wave_blocks import add_weight_norm, without_weight_norm
from speechssl.quantizers.residual_ema import ResidualEma
from speechssl.training.adversarial import held_fixed
from tests.codecs.helpers import CONFIGS, adversarial, batch


def gradients(model: nn.Module) -> dict[str, bool]:
    """Whether each parameter has one that is not zero."""
    return {name: p.grad is not None and bool(p.grad.any()) for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_parameter_of_both_players_gets_a_gradient(name: str) -> None:
    model = adversarial(name).train()
    if "fsq" in name:  # fresh frames are small, and all become the point at zero, of which the decoder learns nothing
        with torch.no_grad():
            model.generator.codec.encoder.front.last.bias.add_(torch.tensor([1.0, 2.0, 3.0]))
    model(batch()).loss.backward()
    missing = [name for name, found in gradients(model).items() if not found]
    assert not missing


def test_each_player_gets_the_gradient_of_its_own_loss_and_none_of_the_others() -> None:
    """The sum's gradient beside that of the two losses computed apart."""
    model = adversarial("wave-rvq").train()
    some = batch()
    model(some).loss.backward()
    judges, generator = model.discriminators, model.generator
    together = {name: p.grad.clone() for name, p in model.named_parameters()}

    model.zero_grad()
    found = generator.reconstruct(some)
    judged, real = judges(found.made), judges(found.real)
    ours = 15 * multi_scale_mel_loss(found.real, found.made, sample_rate=16_000, windows=(32, 128), num_mels=(5, 20))
    ours = ours + 0.25 * found.penalties["commitment"] + generator_loss(judged)
    (2 * (ours + 2 * feature_matching_loss(real, judged))).backward()
    for name, parameter in generator.named_parameters():
        torch.testing.assert_close(together[f"generator.{name}"], parameter.grad, rtol=1e-4, atol=1e-5, msg=name)

    model.zero_grad()
    (2 * discriminator_loss(judges(found.real), judges(found.made.detach()))).backward()
    for name, parameter in judges.named_parameters():
        torch.testing.assert_close(together[f"discriminators.{name}"], parameter.grad, rtol=1e-4, atol=1e-5, msg=name)
    assert not any(gradients(generator).values())


def test_held_fixed_discriminators_pass_gradients_on_and_get_none() -> None:
    judges = adversarial().discriminators
    frozen = judges.periods[0].last.bias.requires_grad_(False)
    wav = torch.randn(1, 300, requires_grad=True)
    with held_fixed(judges):
        generator_loss(judges(wav)).backward()
    assert wav.grad is not None and wav.grad.any() and not any(gradients(judges).values())
    others = [p for p in judges.parameters() if p is not frozen]
    assert all(p.requires_grad for p in others) and not frozen.requires_grad


def test_the_scalars_are_the_losses_and_their_weighted_sum_is_the_loss() -> None:
    model = adversarial("mel-rvq", waveform=3.0).train()
    outcome = model(batch())
    s = {name: float(value) for name, value in outcome.scalars.items()}
    total = 15 * s["mel"] + 3 * s["waveform"] + 0.25 * s["commitment"] + s["adversarial"] + 2 * s["feature_matching"]
    assert float(outcome.loss.detach()) / outcome.count == pytest.approx(total + s["discriminators"], rel=1e-5)
    assert outcome.count == 2 and outcome.codes.shape == (40, 3)


def test_before_their_update_the_discriminators_take_no_part() -> None:
    model = adversarial(adversarial_from=2).train()
    for step in (1, 2):
        model.zero_grad()
        outcome = model(batch())
        outcome.loss.backward()
        assert "adversarial" not in outcome.scalars and not any(gradients(model.discriminators).values())
        model.after_step(step)
    assert "adversarial" in model(batch()).scalars
    assert int(model.state_dict()["updates"]) == 2  # so that a resumed run knows


def test_without_adversarial_weights_there_are_no_discriminators() -> None:
    model = adversarial(adversarial=0.0, feature_matching=0.0).train()
    assert model.discriminators is None
    assert set(model(batch()).scalars) == {"mel", "waveform", "commitment"}


def test_validation_is_per_utterance_by_codes_and_blind_to_padding() -> None:
    model = adversarial("wave-rvq").eval()
    lengths = (800, 444, 120)
    with torch.no_grad():
        together = model(batch(lengths, padding=float("nan")))
        expected = []
        codec = model.generator.trained()
        for row, length in enumerate(lengths):
            wav = batch(lengths).wav[row : row + 1, :length]
            made = codec.synthesize(codec.encode(wav)[0][0], length)[None]
            mel = multi_scale_mel_loss(wav, made, sample_rate=16_000, windows=(32, 128), num_mels=(5, 20))
            expected.append((float(mel), si_sdr(wav[0], made[0])))
    assert float(together.scalars["mel"]) == pytest.approx(sum(mel for mel, _ in expected) / 3, rel=1e-4)
    assert float(together.scalars["si_sdr_db"]) == pytest.approx(sum(ratio for _, ratio in expected) / 3, abs=1e-2)
    assert together.count == 3 and not together.loss.requires_grad


def test_the_exported_codec_is_the_trained_one_with_plain_weights() -> None:
    model = adversarial("wave-rvq").train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for step in (1, 2):
        model(batch()).loss.backward()
        optimizer.step()
        model.after_step(step)
    learning = model.generator.eval()
    exported = learning.trained()
    assert not any("parametrizations" in name for name in exported.state_dict())
    codes, counts = exported.encode(batch().wav)
    theirs, _ = learning.codec.encode(batch().wav)
    assert torch.equal(codes, theirs)
    torch.testing.assert_close(exported.decode(codes, counts), learning.codec.decode(codes, counts))
    assert torch.equal(exported.codebooks, learning.quantizer.vectors)


def test_folding_the_weight_norm_keeps_what_convolutions_compute() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 3, 5), nn.ConvTranspose1d(3, 2, 4))
    plain = nn.Sequential(nn.Conv1d(2, 3, 5), nn.ConvTranspose1d(3, 2, 4))
    add_weight_norm(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    plain.load_state_dict(without_weight_norm(model.state_dict()))
    x = torch.randn(1, 2, 20)
    torch.testing.assert_close(plain(x), model(x))


def test_an_overfitted_batch_gets_much_nearer() -> None:
    torch.manual_seed(0)
    model = adversarial("wave-rvq", settings=Settings(dropout=0.0), adversarial=0.0, feature_matching=0.0).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    some, mel = batch(), []
    for step in range(1, 61):
        outcome = model(some)
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
        model.after_step(step)
        mel.append(float(outcome.scalars["mel"]))
    assert mel[-1] < 0.6 * mel[0]


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_quantizer_dropout_leaves_the_last_codebooks_out_by_the_utterances_seeds(dropout: float) -> None:
    learning = Learning(Codec(CONFIGS["mel-rvq"]), Settings(dropout=dropout))
    used = learning._used(torch.arange(300))
    assert torch.equal(used, learning._used(torch.arange(300)))
    counts = torch.bincount(used, minlength=4)[1:].tolist()
    assert counts == [0, 0, 300] if dropout == 0 else min(counts) > 70


def test_rvq_in_training_equals_a_slow_form_with_dropout() -> None:
    torch.manual_seed(1)
    quantizer = ResidualEma(4, 8, 3, decay=0.9).double()
    x = torch.randn(20, 4, dtype=torch.float64, requires_grad=True)
    used = torch.arange(20) % 3 + 1
    before = quantizer.vectors.clone()
    found = quantizer(x, used=used)
    vectors, commitment = torch.zeros(20, 4).double(), torch.zeros(20).double()
    chosen: list[list[list[torch.Tensor]]] = [[[] for _ in range(8)] for _ in range(3)]
    for n in range(20):
        left = x[n].detach().clone()
        for g in range(3):
            code = int((before[g] - left).square().sum(1).argmin())
            assert int(found.codes[n, g]) == code
            chosen[g][code].append(left.clone())
            if g < int(used[n]):
                commitment[n] += (left - before[g, code]).square().mean()
                vectors[n] += before[g, code]
            left = left - before[g, code]
    torch.testing.assert_close(found.vectors.detach(), vectors, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found.commitment.double().detach(), commitment, atol=1e-6, rtol=1e-6)
    (found.vectors * 3).sum().backward(retain_graph=True)
    assert torch.equal(x.grad, torch.full_like(x, 3))  # straight through
    quantizer.update()
    for g in range(3):
        for code in range(8):
            frames = chosen[g][code]
            if frames:
                total = 0.9 * before[g, code] + 0.1 * torch.stack(frames).sum(0)
                expected = total / (0.9 + 0.1 * len(frames))
            else:
                expected = before[g, code]
            torch.testing.assert_close(quantizer.vectors[g, code], expected, atol=1e-6, rtol=1e-6)


def test_rvq_commitment_pulls_frames_to_their_entries_only() -> None:
    torch.manual_seed(1)
    quantizer = ResidualEma(4, 8, 2)
    x = torch.randn(5, 4, requires_grad=True)
    found = quantizer(x)
    found.commitment.sum().backward()
    first = quantizer.books[0].decode(found.codes[:, :1]).squeeze(0)
    expected = (2 * (x - first) + 2 * (x - found.vectors)).detach() / 4  # each codebook's mean over 4 channels
    torch.testing.assert_close(x.grad, expected, atol=1e-5, rtol=1e-5)


def test_a_penalty_without_a_weight_is_an_error_that_names_it() -> None:
    model = adversarial("wave-rvq")
    model.config = dataclasses.replace(model.config, penalties={})
    with pytest.raises(ConfigError, match="commitment"):
        model.train()(batch())


def test_data_parallel_finds_a_gradient_for_every_parameter_and_the_same_ones(tmp_path: Path) -> None:
    """In a group of one; it would raise at the second batch if a parameter had been left out of the first."""
    alone = adversarial().train()
    alone(batch()).loss.backward()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        model = adversarial().train()
        parallel = DistributedDataParallel(model)
        for step in (1, 2):
            parallel(batch()).loss.backward()
            if step == 1:
                for (name, one), other in zip(alone.named_parameters(), model.parameters(), strict=True):
                    torch.testing.assert_close(one.grad, other.grad, msg=name)
            model.after_step(step)
        with pytest.raises(ConfigError, match="single process"):
            adversarial(adversarial_from=1)
    finally:
        dist.destroy_process_group()

"""Teachers: how they follow, what they show."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.encoders import data2vec_audio, hubert
from speechssl.errors import ConfigError
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.ema import Decay, Teacher, instance_norm
from tests.encoders.families import data2vec_audio_pair, wav2vec2_pair
from tests.encoders.hf import shrink
from tests.encoders.parity import assert_close, randomize


def small(*, norm_first: bool = False) -> hubert.Model:
    conv = ((8, 10, 5), (8, 8, 8), (8, 8, 8))
    config = hubert.Config(conv_layers=conv, dim=16, ffn_dim=20, num_layers=3, num_heads=2, pos_conv_kernel=4,
                           pos_conv_groups=4, norm_first=norm_first)  # fmt: skip
    model = hubert.Model(config)
    randomize(model)
    return model


def test_the_decay_goes_straight_from_start_to_end_and_stays() -> None:
    decay = Decay(start=0.9, end=0.99, updates=30)
    assert [decay.at(update) for update in (0, 10, 20, 30, 1000)] == pytest.approx([0.9, 0.93, 0.96, 0.99, 0.99])
    assert Decay(start=0.5, end=0.7, updates=0).at(1) == 0.7
    with pytest.raises(ConfigError):
        Decay(end=1.1)


def test_a_teacher_follows_by_hand() -> None:
    student = small()
    teacher = Teacher(student, copied=("pos_conv",))
    with torch.no_grad():
        for parameter in teacher.encoder.parameters():
            parameter.fill_(1.0)
        for parameter in student.parameters():
            parameter.fill_(3.0)
    teacher.follow(student, 0.75)  # 0.75 * 1 + 0.25 * 3
    for name, parameter in teacher.encoder.named_parameters():
        expected = 3.0 if name.startswith("pos_conv") else 1.5
        torch.testing.assert_close(parameter, torch.full_like(parameter, expected), msg=name)
    assert all(float(parameter.detach().flatten()[0]) == 3 for parameter in student.parameters())


def test_a_teacher_of_decay_one_stays_and_of_zero_is_the_student() -> None:
    student = small()
    teacher = Teacher(student, copied=())
    before = {name: tensor.clone() for name, tensor in teacher.encoder.state_dict().items()}
    randomize(student, seed=9)
    teacher.follow(student, 1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.encoder.state_dict().items())
    teacher.follow(student, 0.0)
    assert all(torch.equal(tensor, student.state_dict()[name]) for name, tensor in teacher.encoder.state_dict().items())


def test_a_batch_norms_statistics_follow_too() -> None:
    student = hubert.Model(hubert.Config(conv_layers=((8, 10, 5),), dim=8, ffn_dim=8, num_layers=1, num_heads=2,
                                         pos_conv_kernel=4, pos_conv_groups=4, pos_conv_norm="batch"))  # fmt: skip
    teacher = Teacher(student, copied=())
    student.pos_conv.norm.running_mean.fill_(0.25)
    teacher.follow(student, 0.5)
    assert float(teacher.encoder.pos_conv.norm.running_mean[0]) == 0.25


def test_a_teacher_drops_nothing_and_gets_no_gradient() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.teacher = Teacher(small(), copied=())

    holder = Holder().train()
    assert not any(module.training for module in holder.teacher.modules())
    assert not any(parameter.requires_grad for parameter in holder.teacher.parameters())
    set_dropout(holder, Dropout(residual=0.5, attention=0.5, activation=0.5, layer=0.5))
    x, lengths = torch.randn(2, 9, 16, requires_grad=True), torch.tensor([9, 6])
    first, second = (torch.stack(holder.teacher.targets(x, lengths, 2)) for _ in range(2))
    assert torch.equal(first, second) and not first.requires_grad


def test_instance_norm_is_torchs_for_each_utterance_alone() -> None:
    x = torch.randn(3, 11, 5, dtype=torch.float64) * 3 + 1
    lengths = [11, 4, 2]
    valid = torch.arange(11) < torch.tensor(lengths).unsqueeze(1)
    found = instance_norm(x.masked_fill(~valid.unsqueeze(-1), float("nan")), valid)
    for row, length in enumerate(lengths):
        expected = F.instance_norm(x[row : row + 1, :length].transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(found[row : row + 1, :length], expected)
        assert not found[row, length:].any()
    torch.testing.assert_close(instance_norm(x, None), F.instance_norm(x.transpose(1, 2)).transpose(1, 2))
    assert not instance_norm(x[:, :1], None).any()  # one frame has no variance
    assert instance_norm(x.bfloat16(), None).dtype == torch.float32


def feed_forward_outputs(oracle: nn.Module, wav: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    for layer in oracle.encoder.layers:
        layer.feed_forward.register_forward_hook(lambda module, inputs, output: found.append(output))
    oracle(wav)
    return found


@pytest.mark.parametrize("norm_first", [False, True])
def test_targets_are_normalised_feed_forward_outputs_as_transformers_computes_them(norm_first: bool) -> None:
    from speechssl.encoders import wav2vec2

    if norm_first:
        pair = wav2vec2_pair(shrink(wav2vec2.PRESETS["large-lv60"]), torch.float64)
    else:
        pair = data2vec_audio_pair(shrink(data2vec_audio.PRESETS["base"]), torch.float64)
    wav = torch.randn(2, 6000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = feed_forward_outputs(pair.oracle, wav)
        x, lengths = pair.model.frontend(wav)
        found = Teacher(pair.model, copied=()).targets(x, lengths, 2)
    assert len(expected) == 3 and len(found) == 2
    for ours, theirs in zip(found, expected[1:], strict=True):
        norm = F.instance_norm(theirs.transpose(1, 2)).transpose(1, 2)
        assert_close(ours, norm, tolerance=1e-9, what="target")

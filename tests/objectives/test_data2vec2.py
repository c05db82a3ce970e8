"""data2vec 2.0 against a slow oracle and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl import objectives
from speechssl.data.batch import Batch, generator
from speechssl.encoders import wavlm
from speechssl.errors import ConfigError
from speechssl.nn.masking import block_mask
from speechssl.objectives.data2vec2 import ConvDecoder, Decoder
from tests.objectives.teachers import (
    SMALL,
    assert_same_gradients,
    blocks,
    frontend,
    make,
    make_batch,
    teacher_layers,
)

DECODER = {"dim": 12, "layers": 2, "kernel": 3, "groups": 4, "dropout": 0.0}
SETTINGS = {"top_layers": 2, "versions": 3, "decoder": DECODER, "masking": {"block": 2}, "noise": 0.5}


def biases(encoder: nn.Module, places: list[int]) -> Tensor | None:
    """[H, T, T] of data2vec2_audio, None for others; one pair at a time."""
    transformer = encoder.transformer
    if not hasattr(transformer, "scale"):
        return None
    rows = [[[-abs(i - j) for j in places] for i in places]]
    return torch.tensor(rows, dtype=torch.float64) * (transformer.slopes * transformer.scale.clamp(min=0)).view(
        -1, 1, 1
    )


def slow_decoder(decoder: ConvDecoder, x: Tensor) -> Tensor:
    """Frames [T, C], a frame and a group at a time."""
    for layer in decoder.layers:
        conv = layer.conv
        kernel, groups, wide = conv.kernel_size[0], conv.groups, conv.in_channels // conv.groups
        frames = []
        for t in range(len(x)):
            out = []
            for channel in range(conv.out_channels):
                group = channel // (conv.out_channels // groups)
                total = conv.bias[channel]
                for k in range(kernel):
                    place = t + k - kernel // 2
                    if 0 <= place < len(x):
                        total = total + conv.weight[channel, :, k] @ x[place, group * wide : (group + 1) * wide]
                out.append(total)
            y = torch.stack(out)
            y = (y - y.mean()) / (y.var(correction=0) + 1e-5).sqrt()
            frames.append(F.gelu(y))
        y = torch.stack(frames)
        x = x + y if y.shape == x.shape else y
    return decoder.out(x)


def slow_loss(objective: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """An utterance, a version, a frame at a time."""
    config, encoder = objective.config, objective.encoder
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row, seed in enumerate(batch.seeds.tolist()):
        x = frontend(objective, batch, row)
        everything = list(range(len(x)))
        layers = teacher_layers(objective, x, config.top_layers, biases(objective.teacher.encoder, everything))
        for version in range(config.versions):
            own = seed ^ (version << 40)
            mask = block_mask(config.masking, torch.tensor([len(x)]), len(x), torch.tensor([own]))[0].tolist()
            zeroed = torch.stack([torch.zeros_like(frame) if mask[t] else frame for t, frame in enumerate(x)])
            positions = encoder.pos_conv(zeroed.unsqueeze(0))[0]
            left = [t for t in everything if not mask[t]]
            encoded, _ = blocks(encoder, torch.stack([x[t] + positions[t] for t in left]), biases(encoder, left))
            noise = torch.randn(sum(mask), x.shape[1], generator=generator(own ^ 2)).double() * config.noise
            filled = torch.stack([noise[sum(mask[:t])] if mask[t] else encoded[left.index(t)] for t in everything])
            predictions = slow_decoder(objective.decoder, filled)
            for t in everything:
                if mask[t]:
                    target = sum(layer[t] for layer in layers) / config.top_layers
                    total = total + sum((predictions[t] - target) ** 2) / math.sqrt(len(target))
                    count += 1
    return total, count


@pytest.mark.parametrize(
    ("family", "encoder"), [("data2vec2_audio", {"pos_conv_kernel": 3, "pos_conv_depth": 2}), ("hubert", {})]
)
def test_loss_and_gradients_are_those_of_a_slow_oracle(family: str, encoder: dict[str, int]) -> None:
    objective = make("data2vec2", SETTINGS, family, **encoder)
    batch = make_batch((5000, 2000, 3321))
    outcome = objective(batch)
    expected, count = slow_loss(objective, batch)
    assert outcome.count == count
    assert float(outcome.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)  # noise is float32
    assert_same_gradients(objective, outcome.loss, expected, tolerance=1e-6)


def test_no_masked_frame_enters_the_students_transformer() -> None:
    """Half of the frames of 3 versions; the teacher sees all frames once."""
    objective = make("data2vec2", SETTINGS)
    seen: dict[str, list[int]] = {"student": [], "teacher": []}
    for name, encoder in (("student", objective.encoder), ("teacher", objective.teacher.encoder)):
        encoder.transformer.layers[0].register_forward_hook(
            lambda module, inputs, output, name=name: seen[name].extend(inputs[0].shape[:2])
        )
    objective(make_batch((6400 + 720,)))  # 22 frames, 11 of them masked
    assert seen == {"student": [3, 11], "teacher": [1, 22]}


def test_versions_of_an_utterance_have_masks_of_their_own() -> None:
    objective = make("data2vec2", {**SETTINGS, "versions": 2})
    found: list[Tensor] = []
    objective._fill = lambda left, stays, mask, seeds: (found.append(mask), type(objective)._fill(
        objective, left, stays, mask, seeds))[1]  # fmt: skip
    objective(make_batch((6000,)))
    assert not torch.equal(found[0][0], found[0][1])


def test_the_positional_embedding_of_the_teacher_is_an_average_too() -> None:
    objective = make("data2vec2", {**SETTINGS, "decay": {"start": 0.5, "end": 0.5}})
    teacher = objective.teacher.encoder
    before = {name: tensor.clone() for name, tensor in teacher.named_parameters()}
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.add_(1.0)
    objective.after_step(1)
    for (name, mine), theirs in zip(teacher.named_parameters(), objective.encoder.parameters(), strict=True):
        copied = name.startswith(("conv.", "projection."))
        torch.testing.assert_close(mine, theirs if copied else (before[name] + theirs) / 2, msg=name)


def test_encoders_with_other_relative_positions_are_refused() -> None:
    model = wavlm.Model(wavlm.Config(**SMALL, num_buckets=8, max_distance=20))
    with pytest.raises(ConfigError, match="leaves frames out"):
        objectives.build("data2vec2", model, {"top_layers": 2})
    assert Decoder() == Decoder(384, 4, 7, 16, 0.1)

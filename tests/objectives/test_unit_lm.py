"""The unit language model: the loss against a decoder written out in float64, and what begins with it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechssl import objectives
from speechssl.data.batch import Batch
from speechssl.decoders import transformer
from speechssl.errors import ConfigError, DataError
from speechssl.generation import decoder as decoders
from tests.objectives.tiny import UNITS

SETTINGS: dict[str, Any] = {
    "decoder": {"dim": 8, "ffn_dim": 12, "num_layers": 2, "num_heads": 2}, "dropout": UNITS["dropout"]
}  # fmt: skip


def build(**others: Any) -> nn.Module:
    torch.manual_seed(0)
    return objectives.build("unit_lm", nn.Identity(), {**SETTINGS, **others}, num_labels=6).eval()


def make_batch() -> Batch:
    labels = torch.randint(6, (3, 9), generator=torch.Generator().manual_seed(1))
    labels[1, 4:], labels[2] = -1, -1  # the last has nothing
    return Batch(torch.zeros(3, 9), torch.tensor([9, 4, 0]), torch.tensor([3, 4, 5]), ("a", "b", "c"), labels)


def slow_nll(model: transformer.Model, units: list[int]) -> Tensor:
    """-log p of units and the end, one place after another: arXiv:1706.03762 with norms first, in float64."""
    own = {name: tensor.double() for name, tensor in model.state_dict().items()}
    dim, heads = model.config.dim, model.config.num_heads

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean()
        return centred / (centred.square().mean() + 1e-5).sqrt() * own[f"{name}.weight"] + own[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return own[f"{name}.weight"] @ x + own[f"{name}.bias"]

    def place(t: int) -> Tensor:
        rates = [math.exp(-math.log(10000) * i / (dim // 2 - 1)) for i in range(dim // 2)]
        return torch.tensor([math.sin(t * r) for r in rates] + [math.cos(t * r) for r in rates], dtype=torch.float64)

    total = torch.zeros((), dtype=torch.float64)
    pasts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in model.layers]
    for t, (read, wanted) in enumerate(zip([model.end, *units], [*units, model.end], strict=True)):
        x = own["embedding.weight"][read] * math.sqrt(dim) + place(t)
        for number in range(len(model.layers)):
            block = f"layers.{number}"
            y = norm(x, f"{block}.attention_norm")
            query, key, value = (linear(y, f"{block}.attention.{part}") for part in ("query", "key", "value"))
            pasts[number].append((key, value))
            seen = []
            for head in range(heads):
                part = slice(head * dim // heads, (head + 1) * dim // heads)
                weights = torch.stack([query[part] @ k[part] for k, _ in pasts[number]]) / math.sqrt(dim // heads)
                weights = weights.exp() / weights.exp().sum()
                seen.append(sum((w * v[part] for w, (_, v) in zip(weights, pasts[number], strict=True)),
                                torch.zeros((), dtype=torch.float64)))  # fmt: skip
            x = x + linear(torch.cat(seen), f"{block}.attention.out")
            y = linear(norm(x, f"{block}.ffn_norm"), f"{block}.ffn.up").clamp_min(0)
            x = x + linear(y, f"{block}.ffn.down")
        scores = own["embedding.weight"] @ norm(x, "norm")
        total = total + scores.exp().sum().log() - scores[wanted]
    return total


def test_the_loss_is_that_of_a_decoder_written_out() -> None:
    objective, batch = build(), make_batch()
    assert batch.labels is not None
    found = objective(batch)
    wanted = slow_nll(objective.decoder, batch.labels[0].tolist()) + slow_nll(
        objective.decoder, batch.labels[1, :4].tolist()
    )
    assert found.count == 9 + 1 + 4 + 1
    torch.testing.assert_close(found.loss.double(), wanted, rtol=1e-5, atol=1e-5)
    assert float(found.scalars["nll"]) == pytest.approx(float(wanted) / 15, rel=1e-5)


def test_one_unit_after_another_has_the_scores_of_all_at_once() -> None:
    model = build().decoder
    tokens = torch.randint(7, (2, 30), generator=torch.Generator().manual_seed(2))
    state = model.start(None, batch=2)
    steps = torch.cat([model.step(tokens[:, t : t + 1], state) for t in range(30)], 1)
    torch.testing.assert_close(steps, model(tokens), rtol=1e-4, atol=1e-4)


def test_a_decoder_with_frames_begins_with_all_of_it_but_its_own_attention_to_them() -> None:
    known = build().decoder
    torch.manual_seed(5)
    decoder = transformer.Model(known.config, 12)
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    decoders.begin(decoder, known)
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(tensor, before[name] if "cross" in name else known.state_dict()[name]), name
    assert any("cross_norm" in name for name in before) and not any("cross" in name for name in known.state_dict())
    with pytest.raises(ValueError, match="different shapes"):
        decoders.begin(known, decoder)


def test_what_cannot_be_is_an_error() -> None:
    with pytest.raises(DataError, match="labels"):
        build()(Batch(torch.zeros(1, 3), torch.tensor([3]), torch.tensor([1]), ("a",)))
    with pytest.raises(ConfigError, match="stack=2"):
        build(decoder={**SETTINGS["decoder"], "stack": 2})
    with pytest.raises(DataError, match="max_positions=5"):
        build(decoder={**SETTINGS["decoder"], "max_positions": 5})(make_batch())

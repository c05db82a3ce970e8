"""Masked units against transformers' BERT with the same weights, and that nothing of what is masked is seen."""

from dataclasses import replace

import pytest
import torch
import transformers
from torch import Tensor, nn

from speechssl import encoders, objectives
from speechssl.data.batch import Batch
from speechssl.errors import DataError
from speechssl.nn.start_mask import StartMask, start_mask
from tests.objectives.tiny import ENCODER

SIZES = {"dim": 16, "ffn_dim": 24, "num_layers": 2, "num_heads": 4, "max_positions": 40}
MASK = {"start": 0.1, "span": 3}


def build(**others: object) -> nn.Module:
    torch.manual_seed(0)
    encoder = encoders.build("hubert", ENCODER)
    return objectives.build("unit_bert", encoder, {**SIZES, "mask": MASK, **others}, num_labels=9).eval()


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([320 * 30 + 80, 320 * 20 + 80])
    labels = torch.randint(9, (2, 33), generator=generator)  # more than there are frames, as those of crops are
    labels[1, 18:] = -1
    return Batch(torch.zeros(2, int(lengths.max())), lengths, torch.tensor([3, 4]), ("a", "b"), labels)


def bert(objective: nn.Module) -> transformers.BertForMaskedLM:
    """transformers' BERT (whose head has a bias and tied embeddings, too) with the objective's weights."""
    oracle = transformers.BertForMaskedLM(transformers.BertConfig(
        vocab_size=10, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
        max_position_embeddings=40, layer_norm_eps=1e-5, hidden_act="gelu",
    )).eval()  # fmt: skip
    names = {"units": "bert.embeddings.word_embeddings", "places": "bert.embeddings.position_embeddings",
             "transformer.norm": "bert.embeddings.LayerNorm", "hidden": "cls.predictions.transform.dense",
             "hidden_norm": "cls.predictions.transform.LayerNorm"}  # fmt: skip
    for i in range(2):
        ours, theirs = f"transformer.layers.{i}", f"bert.encoder.layer.{i}"
        names |= {f"{ours}.attention.{part}": f"{theirs}.attention.self.{part}" for part in ("query", "key", "value")}
        names |= {
            f"{ours}.attention.out": f"{theirs}.attention.output.dense",
            f"{ours}.attention_norm": f"{theirs}.attention.output.LayerNorm",
            f"{ours}.ffn.up": f"{theirs}.intermediate.dense",
            f"{ours}.ffn.down": f"{theirs}.output.dense",
            f"{ours}.ffn_norm": f"{theirs}.output.LayerNorm",
        }
    with torch.no_grad():
        oracle.bert.embeddings.token_type_embeddings.weight.zero_()
        for ours, theirs in names.items():
            for (_, one), (_, other) in zip(objective.get_submodule(ours).named_parameters(),
                                            oracle.get_submodule(theirs).named_parameters(), strict=True):  # fmt: skip
                other.copy_(one)
        oracle.cls.predictions.bias.zero_()
        oracle.cls.predictions.bias[:9].copy_(objective.bias)
        oracle.cls.predictions.bias[9] = -1e9  # ours cannot predict the mask itself
    return oracle


def test_loss_and_gradients_equal_transformers() -> None:
    objective, batch = build(), make_batch()
    for parameter in objective.parameters():
        nn.init.normal_(parameter, 0, 0.3) if parameter.requires_grad else None
    oracle = bert(objective)
    outcome = objective(batch)
    counts = torch.tensor([30, 18])
    mask = start_mask(StartMask(**MASK), counts, 30, batch.seeds)
    assert batch.labels is not None and outcome.count == int(mask.sum()) > 0
    labels = batch.labels[:, :30]
    valid = torch.arange(30) < counts.unsqueeze(1)
    found = oracle(input_ids=torch.where(mask, 9, labels.clamp_min(0)), attention_mask=valid.long(),
                   labels=torch.where(mask, labels, -100))  # fmt: skip
    torch.testing.assert_close(outcome.loss, found.loss * outcome.count, rtol=1e-4, atol=1e-4)
    outcome.loss.backward()
    (found.loss * outcome.count).backward()
    for ours, theirs in (
        (objective.transformer.layers[0].attention.value, oracle.bert.encoder.layer[0].attention.self.value),
        (objective.units, oracle.bert.embeddings.word_embeddings),
        (objective.places, oracle.bert.embeddings.position_embeddings),
    ):
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-3, atol=1e-3)


def test_what_is_masked_is_not_seen() -> None:
    objective, batch = build(), make_batch()
    seen: list[Tensor] = []
    objective.transformer.register_forward_hook(lambda _, inputs, output: seen.append(output))
    objective(batch)
    mask = start_mask(StartMask(**MASK), torch.tensor([30, 18]), 30, batch.seeds)
    assert batch.labels is not None
    labels = batch.labels.clone()
    labels[:, :30][mask] = (labels[:, :30][mask] + 1) % 9
    objective(replace(batch, labels=labels))
    assert torch.equal(seen[0], seen[1])


def test_the_encoder_is_left_alone() -> None:
    objective = build()
    objective(make_batch()).loss.backward()
    assert all(not p.requires_grad and p.grad is None for p in objective.encoder.parameters())


def test_too_many_units_are_refused() -> None:
    with pytest.raises(DataError, match="max_positions"):
        build(max_positions=29)(make_batch())

"""The key-table language, on tables small enough to check by eye."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechssl.convert import tables, weights
from speechssl.convert.keys import Table, check_complete, strip_prefix
from speechssl.errors import CheckpointError

TABLE = Table((("enc.{i}.lin.{p}", "layers.{i}.up.{p}"), ("enc.{i}.scale", "layers.{i}.gain")), drop=("head.*", "mask"))
ONE = torch.ones(1)


def test_names_and_numbers_travel_both_ways() -> None:
    theirs = {"enc.0.lin.weight": ONE, "enc.12.lin.bias": ONE + 1, "enc.3.scale": ONE + 2}
    mapped = TABLE.to_ours(theirs, where="x")
    assert list(mapped.tensors) == ["layers.0.up.weight", "layers.12.up.bias", "layers.3.gain"]
    assert TABLE.to_theirs(mapped.tensors, where="x") == theirs


def test_training_keys_are_left_out_and_reported() -> None:
    mapped = TABLE.to_ours({"enc.0.scale": ONE, "head.a.b": ONE, "mask": ONE}, where="x")
    assert (list(mapped.tensors), mapped.dropped) == (["layers.0.gain"], ("head.a.b", "mask"))


@pytest.mark.parametrize(
    "key", ["enc.x.scale", "enc.0.lin.a.b", "Enc.0.scale", "enc.0.scale ", "masks", "", "encx0.scale"]
)
def test_anything_else_is_an_error_that_names_it(key: str) -> None:
    with pytest.raises(CheckpointError, match="no place"):
        TABLE.to_ours({key: ONE}, where="x")


def test_two_tensors_for_one_name_are_an_error() -> None:
    table = Table((("a.{i}", "x.{i}"), ("b.{i}", "x.{i}")))
    with pytest.raises(CheckpointError, match="two tensors"):
        table.to_ours({"a.1": ONE, "b.1": ONE}, where="x")


def test_first_rule_wins() -> None:
    table = Table((("a.0.w", "first.w"), ("a.{i}.w", "layer.{i}.w")))
    assert set(table.to_ours({"a.0.w": ONE, "a.1.w": ONE}, where="x").tensors) == {"first.w", "layer.1.w"}


def test_many_left_over_keys_are_counted() -> None:
    with pytest.raises(CheckpointError, match=r"50 keys .*50 in all"):
        TABLE.to_ours({f"q.{i}": ONE for i in range(50)}, where="x")


def test_names_without_a_place_there_are_an_error() -> None:
    with pytest.raises(CheckpointError, match="cannot hold"):
        TABLE.to_theirs({"layers.0.down.weight": ONE}, where="x")


def test_shapes_and_names_are_compared() -> None:
    wanted = {"a": torch.empty(2, 3, device="meta")}
    check_complete({"a": torch.ones(2, 3)}, wanted, where="x")
    for found, message in [({}, "missing"), ({"a": ONE}, r"a \(1,\) instead of \(2, 3\)"),
                           ({"a": torch.ones(2, 3), "b": ONE}, "no place for b")]:  # fmt: skip
        with pytest.raises(CheckpointError, match=message):
            check_complete(found, wanted, where="x")


def test_prefix_splits_head_from_encoder() -> None:
    inside, outside = strip_prefix({"w2v.a": ONE, "head": ONE}, ["x.", "w2v."])
    assert (list(inside), outside) == (["a"], ("head",))
    assert strip_prefix({"a": ONE}, ["x."]) == ({"a": ONE}, ())


@pytest.mark.parametrize("table", [
    *[tables.huggingface(f) for f in ("wav2vec2", "hubert", "wavlm", "data2vec_audio", "sew", "sew_d")],
    *[tables.fairseq2(conv_norm=n, norm_first=f) for n in ("group", "layer") for f in (True, False)],
], ids=str)  # fmt: skip
def test_writable_tables_are_one_to_one(table: Table) -> None:
    for side in (0, 1):
        names = [rule[side].replace("{i}", "3").replace("{p}", "weight") for rule in table.rules]
        assert len(set(names)) == len(names)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 2**31), st.booleans())
def test_weight_norm_folds_back_exactly(out: int, inner: int, kernel: int, seed: int, with_zeros: bool) -> None:
    weight = torch.randn(out, inner, kernel, generator=torch.Generator().manual_seed(seed))
    if with_zeros:
        weight[:, :, 0] = 0
    length, direction = weights.unfold_weight_norm(weight)
    folded = weights.fold_weight_norm({"c.weight_g": length, "c.weight_v": direction}, where="x")
    assert torch.equal(folded["c.weight"], weight)
    reference = torch._weight_norm(direction, length, 2)  # what other libraries compute from the pair
    assert torch.allclose(reference, weight, rtol=1e-6, atol=0)


def test_weight_norm_is_g_times_v_over_norm() -> None:
    direction = torch.tensor([[[3.0, 1.0]], [[4.0, 0.0]]])  # norms per tap: 5, 1
    folded = weights.fold_weight_norm(
        {"c.weight_g": torch.tensor([[[10.0, 2.0]]]), "c.weight_v": direction}, where="x"
    )["c.weight"]
    assert folded.tolist() == [[[6.0, 2.0]], [[8.0, 0.0]]]


@pytest.mark.parametrize("tensors", [
    {"c.weight_g": ONE}, {"c.weight_g": torch.ones(2), "c.weight_v": torch.ones(3, 3)},
    {"c.weight_g": torch.ones(1, 1, 2), "c.weight_v": torch.ones(3, 3, 3)},
    {"c.weight_g": torch.ones(1, 1), "c.weight_v": torch.ones(2, 2), "c.weight": torch.ones(2, 2)},
    {"c.weight_g": torch.ones(1, 1), "c.weight_v": torch.ones(2, 2, dtype=torch.int64)},
], ids=str)  # fmt: skip
def test_half_a_weight_norm_is_an_error(tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(CheckpointError):
        weights.fold_weight_norm(tensors, where="x")

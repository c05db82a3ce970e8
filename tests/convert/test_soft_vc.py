"""HuBERT-Soft's state dict, against transformers with the same random weights under other names."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl import convert
from speechssl.cli import main
from speechssl.errors import CheckpointError
from speechssl.quantizers.cosine import Cosine
from speechssl.units.model import UnitModel
from tests.convert import oracles

NAMES = (
    ("feature_extractor.conv_layers.0.layer_norm", "feature_extractor.norm0"),
    ("feature_projection.layer_norm", "feature_projection.norm"),
    ("encoder.pos_conv_embed.conv", "positional_embedding.conv"), ("encoder.layer_norm", "norm"),
    ("attention.out_proj", "self_attn.out_proj"), ("feed_forward.intermediate_dense", "linear1"),
    ("feed_forward.output_dense", "linear2"), ("final_layer_norm", "norm2"), ("layer_norm", "norm1"),
)  # fmt: skip


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Its names; query, key and value stacked; the positional convolution with weight norm, as released."""
    random = torch.Generator().manual_seed(1)
    state = {"proj.weight": torch.randn(6, 32, generator=random), "proj.bias": torch.randn(6, generator=random),
             "label_embedding.weight": torch.randn(5, 6, generator=random)}  # fmt: skip
    for key, tensor in model.state_dict().items():
        name = key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        )
        for number in range(7):
            name = name.replace(f"conv_layers.{number}.conv.", f"conv{number}.")
        for theirs, soft in NAMES:
            if theirs in name:
                name = name.replace(theirs, soft)
                break
        state[name] = tensor
    for layer in range(3):
        for part in ("weight", "bias"):
            stem = f"encoder.layers.{layer}."
            stacked = [state.pop(f"{stem}attention.{name}_proj.{part}") for name in "qkv"]
            state[f"{stem}self_attn.in_proj_{part}"] = torch.cat(stacked)
    return state


@pytest.fixture
def model() -> nn.Module:
    return oracles.make("hubert-base")


def write(state: dict[str, Tensor], path: Path, prefix: str = "") -> Path:
    torch.save({prefix + key: tensor for key, tensor in state.items()}, path)
    path.with_suffix(".toml").write_text("num_heads = 4\n")
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_its_features_are_those_of_transformers(model: nn.Module, tmp_path: Path, prefix: str) -> None:
    loaded = convert.load(write(state_of(model), tmp_path / "soft.pt", prefix))
    assert loaded.pretrained.card.family == "hubert" and not loaded.pretrained.card.normalize
    oracles.assert_same_features(loaded.pretrained, model)


def test_its_soft_units_are_the_projection_of_the_last_layer(model: nn.Module, tmp_path: Path) -> None:
    state = state_of(model)
    path = write(state, tmp_path / "soft.pt")
    assert main(["convert", str(path), str(tmp_path / "units"), "--to", "unit-model"]) == 0
    unit_model = UnitModel.load(tmp_path / "units")
    assert isinstance(unit_model.quantizer, Cosine) and unit_model.layer == 3
    with torch.no_grad():
        last = model(oracles.wave()).last_hidden_state
    expected = F.linear(last, state["proj.weight"], state["proj.bias"])
    frames, _ = unit_model.pretrained.encoder.layers(oracles.wave())
    torch.testing.assert_close(unit_model.quantizer.soft(frames[3]), expected, rtol=1e-4, atol=1e-4)
    cosines = F.cosine_similarity(expected.unsqueeze(-2), state["label_embedding.weight"], dim=-1)
    assert torch.equal(unit_model.quantizer.encode(frames[3]), cosines.argmax(-1))


def test_a_key_without_a_place_is_refused(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="more"):
        convert.load(write(state_of(model) | {"encoder.more": torch.zeros(1)}, tmp_path / "soft.pt"))

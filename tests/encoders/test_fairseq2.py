"""wav2vec 2.0 and data2vec's positions against fairseq2's encoder with the same random weights, all layers.

fairseq2 computes the norms of its convolutions in float32 whatever the model's type; for the float64 comparison they
are told not to.
"""

import dataclasses
from typing import Any

import pytest
import soundfile  # noqa: F401  (before fairseq2: it brings the libsndfile that fairseq2 looks for)
import torch
from torch import Tensor, nn

from speechssl.encoders import data2vec_audio, wav2vec2
from speechssl.nn.speech_encoder import Architecture
from tests.encoders.hf import hf_names, shrink, small_presets
from tests.encoders.parity import (
    Outputs,
    Pair,
    check_gradients,
    check_padded,
    check_single,
    fill_from_oracle,
    randomize,
)

SMALL: dict[str, tuple[type[nn.Module], Any]] = {
    name: (wav2vec2.Model, config) for name, config in small_presets(wav2vec2.PRESETS).items()
}
# fairseq2 has no projection where the channels agree anyway.
SMALL["no-projection"] = (wav2vec2.Model, dataclasses.replace(SMALL["base"][1], projection=False, dim=32))
SMALL["data2vec"] = (data2vec_audio.Model, shrink(data2vec_audio.PRESETS["base"]))


@pytest.fixture(scope="module")
def fairseq2() -> Any:
    """The two modules needed; the import takes ten seconds, hence here and once."""
    pytest.importorskip("fairseq2", reason="fairseq2 is an extra and tied to one torch version")
    import fairseq2.models.wav2vec2 as wav2vec2
    import fairseq2.nn as nn

    return wav2vec2, nn


class Oracle(nn.Module):
    """fairseq2's front end and transformer, without what only training needs."""

    def __init__(self, fairseq2: Any, config: Architecture) -> None:
        super().__init__()
        models, self.fairseq2_nn = fairseq2
        from fairseq2.models.transformer import TransformerNormOrder

        self.norm_first = config.norm_first
        factory = models.factory.Wav2Vec2EncoderFactory(
            models.Wav2Vec2EncoderConfig(
                model_dim=config.dim, feature_dim=config.conv_layers[-1][0], layer_norm_features=not config.norm_first,
                feature_extractor_layer_descs=list(config.conv_layers), feature_extractor_bias=config.conv_bias,
                feature_extractor_layer_norm_convs=config.conv_norm == "layer",
                pos_encoder_depth=config.pos_conv_depth,
                pos_conv_kernel_size=config.pos_conv_kernel * config.pos_conv_depth,
                num_pos_conv_groups=config.pos_conv_groups, num_encoder_layers=config.num_layers,
                num_encoder_attn_heads=config.num_heads, ffn_inner_dim=config.ffn_dim,
                norm_order=TransformerNormOrder.PRE if config.norm_first else TransformerNormOrder.POST,
            )
        )  # fmt: skip
        self.frontend = factory.create_encoder_frontend()
        self.encoder = factory.create_encoder()
        for layer in self.frontend.feature_extractor.layers:
            if layer.group_norm is not None:
                layer.group_norm.__class__ = nn.GroupNorm
            elif layer.layer_norm is not None:
                layer.layer_norm.cast_fp32 = False

    @property
    def position_weight(self) -> Tensor:
        """The weight-normalised weight; fairseq2's own attribute is refreshed by a forward pass only."""
        conv = self.frontend.pos_encoder.conv
        return conv.weight_g * conv.weight_v / conv.weight_v.norm(dim=(0, 1), keepdim=True)

    def forward(self, wav: Tensor, lengths: Tensor | None) -> Outputs:
        """Input of block 1, output of each block (of the last: normalised, in pre-norm models)."""
        layout = self.fairseq2_nn.BatchLayout.of(wav, None if lengths is None else lengths.tolist())
        x, layout = self.frontend(wav, layout)
        states = [x]

        def keep(index: int, state: Tensor, *_: Any) -> bool:
            states.append(state)
            return True

        with self.encoder.register_layer_hook(keep):
            final = self.encoder(x, layout)
        return [*(states[:-1] if self.norm_first else states), final]


def make_pair(fairseq2: Any, name: str, dtype: torch.dtype) -> Pair:
    family, config = SMALL[name]
    oracle = Oracle(fairseq2, config).to(dtype).eval()
    randomize(oracle)
    model = family(config).to(dtype).eval()
    names = fairseq2_names(config)
    fill_from_oracle(model, oracle, names)
    masks_right = config.conv_norm == "layer" and config.pos_conv_depth == 1
    return Pair(model, oracle, oracle, names, masks_right, 1e-9 if dtype == torch.float64 else 1e-5)


def fairseq2_names(config: Architecture) -> dict[str, str]:
    """Hugging Face's names, translated."""
    norm = "group_norm" if config.conv_norm == "group" else "layer_norm"
    changes = {
        "encoder.pos_conv_embed": "frontend.pos_encoder",
        "feature_extractor.conv_layers": "frontend.feature_extractor.layers",
        "feature_projection.layer_norm": "frontend.post_extract_layer_norm",
        "feature_projection.projection": "frontend.model_dim_proj",
        ".layer_norm": ".self_attn_layer_norm",
        ".final_layer_norm": ".ffn_layer_norm",
        ".attention.out_proj": ".self_attn.output_proj",
        ".attention": ".self_attn",
        ".feed_forward.intermediate_dense": ".ffn.inner_proj",
        ".feed_forward.output_dense": ".ffn.output_proj",
    }
    names = {}
    for ours, theirs in hf_names(config, conv_norm=norm).items():
        if ours.startswith("transformer.norm"):
            theirs = theirs if config.norm_first else theirs.replace("encoder.", "frontend.")
        else:
            inside = ours.startswith("transformer.")
            for old, new in changes.items():
                if inside or not old.startswith("."):
                    theirs = theirs.replace(old, new) if new not in theirs else theirs
        if config.projection or not ours.startswith("projection.linear"):
            names[ours] = theirs
    return names | ({"pos_conv.conv.weight": "position_weight"} if config.pos_conv_depth == 1 else {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_all_layers_equal_fairseq2(fairseq2: Any, name: str, dtype: torch.dtype) -> None:
    pair = make_pair(fairseq2, name, dtype)
    check_single(pair)
    check_padded(pair)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_gradients_equal_fairseq2(fairseq2: Any, name: str, padded: bool) -> None:
    check_gradients(make_pair(fairseq2, name, torch.float64), padded=padded)

"""wav2vec 2.0 and HuBERT against torchaudio's model with the same random weights. It shows blocks 1.. and output."""

import pytest
import torch
from torch import Tensor
from torchaudio.models import wav2vec2_model

from speechssl.encoders import hubert, wav2vec2
from speechssl.nn.speech_encoder import Architecture
from tests.encoders.hf import hf_names, small_presets
from tests.encoders.parity import (
    Outputs,
    Pair,
    check_gradients,
    check_padded,
    check_single,
    fill_from_oracle,
    randomize,
)

SMALL = {f"wav2vec2-{name}": (wav2vec2.Model, config) for name, config in small_presets(wav2vec2.PRESETS).items()} | {
    f"hubert-{name}": (hubert.Model, config)
    for name, config in small_presets(hubert.PRESETS).items()
    if config.pos_conv_norm == "weight"  # torchaudio has no batch norm there
}


class TorchaudioPair(Pair):
    def ours(self, wav: Tensor, lengths: Tensor | None = None) -> Outputs:
        return [*self.model.layers(wav, lengths)[0][1:], self.model(wav, lengths)[0]]


def make_pair(name: str, dtype: torch.dtype) -> Pair:
    family, config = SMALL[name]
    oracle = wav2vec2_model(
        extractor_mode=f"{config.conv_norm}_norm", extractor_conv_layer_config=list(config.conv_layers),
        extractor_conv_bias=config.conv_bias, encoder_embed_dim=config.dim, encoder_projection_dropout=0.1,
        encoder_pos_conv_kernel=config.pos_conv_kernel, encoder_pos_conv_groups=config.pos_conv_groups,
        encoder_num_layers=config.num_layers, encoder_num_heads=config.num_heads, encoder_attention_dropout=0.1,
        encoder_ff_interm_features=config.ffn_dim, encoder_ff_interm_dropout=0.1, encoder_dropout=0.1,
        encoder_layer_norm_first=config.norm_first, encoder_layer_drop=0.1, aux_num_out=None,
    )  # fmt: skip
    oracle = oracle.to(dtype).eval()
    randomize(oracle)
    model = family(config).to(dtype).eval()
    names = torchaudio_names(config)
    fill_from_oracle(model, oracle, names)

    def run(wav: Tensor, lengths: Tensor | None) -> Outputs:
        return [*oracle.extract_features(wav, lengths)[0], oracle(wav, lengths)[0]]

    masks_right = config.conv_norm == "layer"
    return TorchaudioPair(model, oracle, run, names, masks_right, 1e-9 if dtype == torch.float64 else 1e-5)


def torchaudio_names(config: Architecture) -> dict[str, str]:
    """Hugging Face's names with torchaudio's other nesting."""
    return {
        ours: theirs.replace("encoder.", "encoder.transformer.").replace("feature_proj", "encoder.feature_proj")
        for ours, theirs in hf_names(config).items()
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_all_layers_equal_torchaudio(name: str, dtype: torch.dtype) -> None:
    pair = make_pair(name, dtype)
    check_single(pair)
    check_padded(pair)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_gradients_equal_torchaudio(name: str, padded: bool) -> None:
    check_gradients(make_pair(name, torch.float64), padded=padded)

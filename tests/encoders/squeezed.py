"""Pairs of SEW and SEW-D with their `transformers` models. Beyond `hf.py`: two frame rates, other names."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import SEWConfig, SEWDConfig, SEWDModel, SEWModel

from speechssl.encoders import sew, sew_d
from tests.encoders.hf import hf_config_values, hf_names
from tests.encoders.parity import Outputs, Pair, fill_from_oracle, randomize


def hf_squeezed_names(names: dict[str, str], projection: bool) -> dict[str, str]:
    """The names of Wav2Vec2Model's kin with the changes that SEWModel and SEWDModel share."""
    names = {ours: theirs for ours, theirs in names.items() if not ours.startswith("projection.linear")}
    for kind in ("weight", "bias"):
        names[f"projection.norm.{kind}"] = f"layer_norm.{kind}"
        names[f"upsample.{kind}"] = f"encoder.upsample.projection.{kind}"
        if projection:
            names[f"projection.linear.{kind}"] = f"feature_projection.{kind}"
    return names


def by_squeezed_frames(output: Tensor, squeeze: int) -> Tensor:
    """The upsampled output [B, T, C] with the frames that come from one squeezed frame side by side."""
    count = output.shape[1] // squeeze
    return output[:, : count * squeeze].reshape(len(output), count, squeeze * output.shape[2])


class SqueezedPair(Pair):
    """Outputs are the layers and the upsampled output, all at the squeezed rate."""

    def ours(self, wav: Tensor, lengths: Tensor | None = None) -> Outputs:
        states, _ = self.model.layers(wav, lengths)
        return [*states, by_squeezed_frames(self.model(wav, lengths)[0], self.model.squeeze)]


def run_squeezed(oracle: nn.Module, model: nn.Module) -> Callable[[Tensor, Tensor | None], Outputs]:
    """Their layers and output; too few samples for one squeezed frame give none, where theirs would crash."""

    def run(wav: Tensor, lengths: Tensor | None) -> Outputs:
        if wav.shape[1] < model.receptive_field:
            empty = wav[:, :0, None].expand(-1, -1, model.dim)
            return [*[empty] * (model.num_layers + 1), empty.repeat(1, 1, model.squeeze)]
        mask = None if lengths is None else (torch.arange(wav.shape[1]) < lengths.unsqueeze(1)).long()
        result = oracle(wav, attention_mask=mask, output_hidden_states=True)
        return [*result.hidden_states, by_squeezed_frames(result.last_hidden_state, model.squeeze)]

    return run


def sew_pair(config: sew.Config, dtype: torch.dtype) -> Pair:
    """SEW and SEWModel with the same random weights."""
    oracle = SEWModel(SEWConfig(**hf_config_values(config), squeeze_factor=config.squeeze))
    names = hf_squeezed_names(hf_names(config), config.projection)
    return _squeezed_pair(sew.Model(config), oracle, names, dtype)


def sew_d_pair(config: sew_d.Config, dtype: torch.dtype) -> Pair:
    """SEW-D and SEWDModel with the same random weights."""
    types = ["p2c"] * config.position_to_content + ["c2p"] * config.content_to_position
    oracle = SEWDModel(
        SEWDConfig(
            **hf_config_values(config), squeeze_factor=config.squeeze, position_buckets=config.num_buckets or -1,
            max_position_embeddings=config.max_distance, share_att_key=config.share_keys, pos_att_type=types,
            norm_rel_ebd="layer_norm" if config.relative_norm else "none",
            feature_layer_norm_eps=config.projection_norm_eps,
        )
    )  # fmt: skip
    names = hf_squeezed_names(hf_names(config), config.projection)
    names = {ours: theirs for ours, theirs in names.items() if not ours.startswith("transformer.")}
    names["transformer.relative_embedding.weight"] = "encoder.encoder.rel_embeddings.weight"
    pairs = [("transformer.relative_norm", "encoder.encoder.LayerNorm")] if config.relative_norm else []
    own_keys = [("pos_key", "self.pos_key_proj")] * (not config.share_keys and config.content_to_position)
    own_keys += [("pos_query", "self.pos_query_proj")] * (not config.share_keys and config.position_to_content)
    for i in range(config.num_layers):
        ours, theirs = f"transformer.layers.{i}", f"encoder.encoder.layer.{i}"
        for mine, other in [("query", "self.query_proj"), ("key", "self.key_proj"), ("value", "self.value_proj"),
                            ("out", "output.dense"), *own_keys]:  # fmt: skip
            pairs.append((f"{ours}.attention.{mine}", f"{theirs}.attention.{other}"))
        pairs += [(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm"),
                  (f"{ours}.ffn.up", f"{theirs}.intermediate.dense"), (f"{ours}.ffn.down", f"{theirs}.output.dense"),
                  (f"{ours}.ffn_norm", f"{theirs}.output.LayerNorm")]  # fmt: skip
    names |= {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in pairs for kind in ("weight", "bias")}
    return _squeezed_pair(sew_d.Model(config), oracle, names, dtype)


def _squeezed_pair(model: nn.Module, oracle: nn.Module, names: dict[str, str], dtype: torch.dtype) -> Pair:
    oracle = oracle.to(dtype).eval()
    randomize(oracle)
    model = model.to(dtype).eval()
    fill_from_oracle(model, oracle, names)
    masks_right = model.config.conv_norm == "layer"
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    return SqueezedPair(model, oracle, run_squeezed(oracle, model), names, masks_right, tolerance)

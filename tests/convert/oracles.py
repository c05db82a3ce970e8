"""Small `transformers` models with random weights, and comparisons of an encoder of ours with them."""

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

from speechssl.encoders.pretrained import Pretrained

CONV = {"conv_dim": (16,) * 7, "conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2)}
SEW_CONV = {
    "conv_dim": (8, *(16,) * 4, *(24,) * 4, *(32,) * 4), "conv_kernel": (10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1),
    "conv_stride": (5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1),
}  # fmt: skip
SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "attn_implementation": "eager", **CONV,
}  # fmt: skip
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SEW_SIZES = SIZES | SEW_CONV | {"squeeze_factor": 2}

# name -> (family, config class, model class, config values)
VARIANTS: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "wav2vec2-base": ("wav2vec2", hf.Wav2Vec2Config, hf.Wav2Vec2Model, SIZES),
    "wav2vec2-lv60": ("wav2vec2", hf.Wav2Vec2Config, hf.Wav2Vec2Model, SIZES | LAYER_NORM),
    "hubert-base": ("hubert", hf.HubertConfig, hf.HubertModel, SIZES),
    "hubert-large": ("hubert", hf.HubertConfig, hf.HubertModel, SIZES | LAYER_NORM | {"conv_bias": False}),
    "mhubert-147": ("hubert", hf.HubertConfig, hf.HubertModel, SIZES | {"conv_pos_batch_norm": True}),
    "hubert-no-norm": ("hubert", hf.HubertConfig, hf.HubertModel, SIZES | {"feat_proj_layer_norm": False}),
    "wavlm-base": ("wavlm", hf.WavLMConfig, hf.WavLMModel, SIZES | {"num_buckets": 32, "max_bucket_distance": 40}),
    "wavlm-large": ("wavlm", hf.WavLMConfig, hf.WavLMModel, SIZES | LAYER_NORM | {"conv_bias": False}),
    "data2vec": ("data2vec_audio", hf.Data2VecAudioConfig, hf.Data2VecAudioModel,
                 SIZES | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}),
    "sew": ("sew", hf.SEWConfig, hf.SEWModel, SEW_SIZES),
    "sew-projected": ("sew", hf.SEWConfig, hf.SEWModel, SEW_SIZES | {"hidden_size": 48}),
    "sew-d": ("sew_d", hf.SEWDConfig, hf.SEWDModel,
              SEW_SIZES | {"hidden_size": 48, "position_buckets": 8, "max_position_embeddings": 16}),
    "sew-d-unshared": ("sew_d", hf.SEWDConfig, hf.SEWDModel,
                       SEW_SIZES | {"hidden_size": 48, "position_buckets": 8, "share_att_key": False}),
    "unispeech": ("wav2vec2", hf.UniSpeechConfig, hf.UniSpeechModel, SIZES),
    "unispeech-sat": ("unispeech_sat", hf.UniSpeechSatConfig, hf.UniSpeechSatModel, SIZES),
}  # fmt: skip


def make(name: str, seed: int = 0, model_class: Any = None) -> nn.Module:
    """A model of a variant with every parameter and statistic random, so that no mistake hides behind a zero."""
    _, config_class, default_class, values = VARIANTS[name]
    model = (model_class or default_class)(config_class(**values)).eval()
    randomize(model, seed)
    return model


def randomize(model: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            positive = name.endswith(("norm.weight", "LayerNorm.weight", "running_var", "original0", "weight_g"))
            tensor.copy_(1 + 0.1 * noise.abs() if positive else 0.1 * noise)


def save(model: nn.Module, folder: Path, *, normalize: bool | None = False, **options: Any) -> Path:
    """`save_pretrained`, and a preprocessor config where `normalize` is not None."""
    model.save_pretrained(folder, **options)
    if normalize is not None:
        hf.Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(folder)
    return folder


def wave(num_samples: int = 6000, seed: int = 7) -> Tensor:
    return torch.randn(1, num_samples, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def assert_same_features(pretrained: Pretrained, model: nn.Module, tolerance: float = 1e-5) -> None:
    """All layers and the final output of one waveform agree, relative to the largest value of each."""
    theirs = model(wave(), output_hidden_states=True)
    ours, lengths = pretrained.encoder.layers(wave())
    final, _ = pretrained.encoder(wave())
    hidden = theirs.hidden_states
    assert len(ours) == len(hidden)
    # Stable-layer-norm models of transformers normalise the last state; ours is the block's own.
    last = len(hidden) - (1 if getattr(pretrained.encoder.config, "norm_first", False) else 0)
    for mine, other in [*zip(ours[:last], hidden[:last], strict=True), (final, theirs.last_hidden_state)]:
        num_frames = min(mine.shape[1], other.shape[1])
        assert num_frames > 5
        error = (mine[:, :num_frames] - other[:, :num_frames]).abs().max() / other.abs().max()
        assert error <= tolerance, f"relative error {error:.1e}"
    assert int(lengths[0]) > 5

"""Checkpoints as fairseq's speech_to_speech task would write them, made from `transformers` models by renaming.

Names follow fairseq's s2s_transformer.py, s2t_conformer.py and conformer_layer.py; Speech2Text is its s2t_transformer,
Wav2Vec2Conformer has its conformer blocks.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

UNITS, DIM = 7, 16
ARGS: dict[str, Any] = {
    "arch": "s2ut_transformer_fisher", "_name": "s2ut_transformer_fisher", "target_is_code": True,
    "target_code_size": UNITS, "n_frames_per_step": 1, "config_yaml": "config.yaml", "conv_version": "s2t_transformer",
    "conv_kernel_sizes": "5,5", "conv_channels": 12, "encoder_embed_dim": DIM, "encoder_ffn_embed_dim": 24,
    "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_normalize_before": True, "decoder_embed_dim": DIM,
    "decoder_ffn_embed_dim": 20, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_normalize_before": True,
    "decoder_learned_pos": False, "share_decoder_input_output_embed": False, "max_target_positions": 200,
    "no_scale_embedding": False, "activation_fn": "relu", "decoder_output_dim": DIM, "decoder_input_dim": DIM,
    "layernorm_embedding": False, "adaptive_input": False, "adaptive_softmax_cutoff": None, "dropout": 0.1,
    "target_speaker_embed": False,
}  # fmt: skip


def randomized(module: nn.Module, seed: int, spread: float = 0.3) -> nn.Module:
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * spread + name.endswith("norm.weight"))
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return module.eval()


def speech_to_text(*, seed: int = 0, tied: bool = False, symbols: int = UNITS, **others: Any) -> nn.Module:
    """<s>, <pad>, </s>, <unk>, then the symbols, as fairseq numbers them."""
    from transformers import Speech2TextConfig, Speech2TextForConditionalGeneration

    config = Speech2TextConfig(**{
        "vocab_size": symbols + 4, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
        "d_model": DIM, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 20, "conv_channels": 12,
        "input_feat_per_channel": 80, "max_source_positions": 400, "max_target_positions": 200, "dropout": 0.0,
        "attention_dropout": 0.0, "activation_dropout": 0.0, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,
        "tie_word_embeddings": tied, **others,
    })  # fmt: skip
    return randomized(Speech2TextForConditionalGeneration(config), seed)


def state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Under fairseq's names, with the buffers it has."""
    found = {"decoder.version": torch.tensor([3.0])}
    for key, tensor in model.state_dict().items():
        name = key.removeprefix("model.")
        name = re.sub(r"^encoder\.conv\.", "encoder.subsample.", name)
        name = re.sub(r"^encoder\.layers\.", "encoder.transformer_layers.", name)
        name = re.sub(r"^lm_head\.", "decoder.output_projection.", name)
        if "embed_positions" not in name:
            found[name] = tensor.detach().clone()
    return found


def conformer_layers(kind: str | None, *, seed: int = 0) -> nn.ModuleList:
    """Two blocks; kind: "relative", "rotary" or None."""
    from transformers import Wav2Vec2ConformerConfig
    from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoderLayer

    config = Wav2Vec2ConformerConfig(
        hidden_size=DIM, num_attention_heads=2, intermediate_size=24, conv_depthwise_kernel_size=5, hidden_dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0, hidden_act="swish", position_embeddings_type=kind,
        conformer_conv_dropout=0.0,
    )  # fmt: skip
    return randomized(nn.ModuleList(Wav2Vec2ConformerEncoderLayer(config) for _ in range(2)), seed)


def conformer_state(layers: nn.Module, *, espnet: bool) -> dict[str, Tensor]:
    found = {}
    for key, tensor in layers.state_dict().items():
        name = re.sub(r"(ffn[12])_layer_norm", r"\1.layer_norm", key)
        name = re.sub(r"intermediate_dense", "w_1", name)
        name = re.sub(r"output_dense", "w_2", name)
        if not espnet:
            name = re.sub(r"self_attn\.linear_(q|k|v|out)\.", r"self_attn.\1_proj.", name)
        found[f"encoder.conformer_layers.{name}"] = tensor.detach().clone()
    return found


def write(path: Path, state: dict[str, Tensor], **others: Any) -> Path:
    """As fairseq since 2021: the whole namespace as model and task of cfg."""
    values = {**ARGS, **others}
    cfg = {"model": argparse.Namespace(**values), "task": argparse.Namespace(**values)}
    torch.save({"args": None, "cfg": cfg, "model": state, "last_optimizer_state": None}, path)
    return path

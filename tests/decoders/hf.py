"""Small decoders of transformers with random weights, and ours with the same."""

from typing import Any

import torch
from torch import nn

from speechssl.decoders.transformer import Config, Model

NAMES = {
    "self_attn.q_proj": "attention.query", "self_attn.k_proj": "attention.key", "self_attn.v_proj": "attention.value",
    "self_attn.out_proj": "attention.out", "self_attn_layer_norm": "attention_norm",
    "encoder_attn.q_proj": "cross.query", "encoder_attn.k_proj": "cross.key", "encoder_attn.v_proj": "cross.value",
    "encoder_attn.out_proj": "cross.out", "encoder_attn_layer_norm": "cross_norm",
    "fc1": "ffn.up", "fc2": "ffn.down", "final_layer_norm": "ffn_norm",
}  # fmt: skip
SIZES: dict[str, Any] = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,
}  # fmt: skip


def speech_to_text(num_symbols: int, *, seed: int = 0, spread: float = 1.0, **others: Any) -> tuple[nn.Module, Model]:
    """Pre-norm, ReLU, sinusoidal positions; the whole decoder with its output. `end` is both its first and last."""
    from transformers import Speech2TextConfig, Speech2TextForConditionalGeneration

    torch.manual_seed(seed)
    config = Speech2TextConfig(
        vocab_size=num_symbols + 2, input_feat_per_channel=8, max_source_positions=400, pad_token_id=num_symbols + 1,
        bos_token_id=num_symbols, eos_token_id=num_symbols, decoder_start_token_id=num_symbols,
        tie_word_embeddings=False, scale_embedding=True, **{"max_target_positions": 200, **SIZES, **others},
    )  # fmt: skip
    theirs = Speech2TextForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            norm = name.endswith("norm.weight")
            parameter.copy_(torch.randn_like(parameter) * spread * 0.3 + norm)
        norm = theirs.model.decoder.layer_norm  # a channel that is always 1 keeps the padding symbol, theirs alone, out
        norm.weight[0], norm.bias[0] = 0, 1
        theirs.lm_head.weight[-1] = 0
        theirs.lm_head.weight[-1, 0] = -1e4
    ours = Model(
        Config(num_symbols, dim=config.d_model, ffn_dim=config.decoder_ffn_dim, num_layers=config.decoder_layers,
               num_heads=config.decoder_attention_heads, tied=False, max_positions=config.max_target_positions,
               first_position=num_symbols + 2),
        memory_dim=config.d_model,
    )  # fmt: skip
    source = theirs.model.decoder.state_dict()
    state = renamed({k: v for k, v in source.items() if k.startswith("layers.")})
    state["embedding.weight"] = source["embed_tokens.weight"][:-1]
    state["norm.weight"], state["norm.bias"] = source["layer_norm.weight"], source["layer_norm.bias"]
    state["output.weight"] = theirs.lm_head.weight[:-1]
    ours.load_state_dict(state)
    return theirs, ours.eval()


def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A decoder's blocks under our names."""
    found = {}
    for key, tensor in state.items():
        for theirs, ours in NAMES.items():
            before, dot, after = key.partition(f"{theirs}.")
            if dot and (not before or before.endswith(".")):
                key = f"{before}{ours}.{after}"
                break
        else:
            raise KeyError(key)
        found[key] = tensor
    return found

"""The key tables: foreign names of every family's tensors, per format. See `keys` for the language.

wav2vec 2.0, HuBERT, data2vec, UniSpeech-SAT and (but for its attention) WavLM share one set of names in each format.
"""

from speechssl.convert.keys import Table

_OUR_BLOCK = "transformer.layers.{i}."

# Tensors of pre-training and fine-tuning heads in fairseq checkpoints.
_FAIRSEQ_DROP = (
    "mask_emb", "mask_emb.*", "quantizer.*", "input_quantizer.*", "project_q.*", "project_inp.*", "project_hid.*",
    "target_glu.*", "final_proj.*", "label_embs_concat*", "_ema*", "spk_proj.*", "speaker_proj.*",
    "layer_norm_for_extract.*", "teacher.*", "regression_head.*",
)  # fmt: skip

_FAIRSEQ_FRONT = (
    ("feature_extractor.conv_layers.{i}.0.{p}", "conv.layers.{i}.conv.{p}"),
    ("feature_extractor.conv_layers.{i}.2.1.{p}", "conv.layers.{i}.norm.{p}"),
    ("feature_extractor.conv_layers.{i}.2.{p}", "conv.layers.{i}.norm.{p}"),
    ("layer_norm.{p}", "projection.norm.{p}"),
    ("post_extract_proj.{p}", "projection.linear.{p}"),
)
_FAIRSEQ_POSITION = (("encoder.pos_conv.0.{p}", "pos_conv.conv.{p}"),)
_FAIRSEQ_POSITION_BATCH_NORM = (
    ("encoder.pos_conv.0.{p}", "pos_conv.norm.{p}"),
    ("encoder.pos_conv.1.{p}", "pos_conv.conv.{p}"),
)
_FAIRSEQ_POSITION_STACK = (("encoder.pos_conv.{i}.0.{p}", "pos_conv.layers.{i}.conv.{p}"),)
_FAIRSEQ_BLOCKS = (
    ("encoder.layer_norm.{p}", "transformer.norm.{p}"),
    ("encoder.layers.{i}.self_attn.q_proj.{p}", _OUR_BLOCK + "attention.query.{p}"),
    ("encoder.layers.{i}.self_attn.k_proj.{p}", _OUR_BLOCK + "attention.key.{p}"),
    ("encoder.layers.{i}.self_attn.v_proj.{p}", _OUR_BLOCK + "attention.value.{p}"),
    ("encoder.layers.{i}.self_attn.out_proj.{p}", _OUR_BLOCK + "attention.out.{p}"),
    ("encoder.layers.{i}.self_attn_layer_norm.{p}", _OUR_BLOCK + "attention_norm.{p}"),
    ("encoder.layers.{i}.fc1.{p}", _OUR_BLOCK + "ffn.up.{p}"),
    ("encoder.layers.{i}.fc2.{p}", _OUR_BLOCK + "ffn.down.{p}"),
    ("encoder.layers.{i}.final_layer_norm.{p}", _OUR_BLOCK + "ffn_norm.{p}"),
    ("encoder.layers.0.self_attn.relative_attention_bias.weight", "transformer.relative_embedding.weight"),
    ("encoder.layers.{i}.self_attn.grep_linear.{p}", _OUR_BLOCK + "attention.gate.{p}"),
    ("encoder.layers.{i}.self_attn.grep_a", _OUR_BLOCK + "attention.gate_scale"),
    ("encoder.upsample.0.{p}", "upsample.{p}"),
)

_HF_DROP = ("masked_spec_embed", "adapter.*", "layer_norm_for_extract.*")
_HF_FRONT = (
    ("feature_extractor.conv_layers.{i}.conv.{p}", "conv.layers.{i}.conv.{p}"),
    ("feature_extractor.conv_layers.{i}.layer_norm.{p}", "conv.layers.{i}.norm.{p}"),
)
_HF_PROJECTION = (
    ("feature_projection.layer_norm.{p}", "projection.norm.{p}"),
    ("feature_projection.projection.{p}", "projection.linear.{p}"),
)
_HF_SEW_PROJECTION = (
    ("layer_norm.{p}", "projection.norm.{p}"),
    ("feature_projection.{p}", "projection.linear.{p}"),
)
_HF_POSITION = (
    ("encoder.pos_conv_embed.conv.{p}", "pos_conv.conv.{p}"),
    ("encoder.pos_conv_embed.batch_norm.{p}", "pos_conv.norm.{p}"),
    ("encoder.pos_conv_embed.layers.{i}.conv.{p}", "pos_conv.layers.{i}.conv.{p}"),
)
_HF_BLOCKS = (
    ("encoder.layer_norm.{p}", "transformer.norm.{p}"),
    ("encoder.layers.{i}.attention.q_proj.{p}", _OUR_BLOCK + "attention.query.{p}"),
    ("encoder.layers.{i}.attention.k_proj.{p}", _OUR_BLOCK + "attention.key.{p}"),
    ("encoder.layers.{i}.attention.v_proj.{p}", _OUR_BLOCK + "attention.value.{p}"),
    ("encoder.layers.{i}.attention.out_proj.{p}", _OUR_BLOCK + "attention.out.{p}"),
    ("encoder.layers.{i}.layer_norm.{p}", _OUR_BLOCK + "attention_norm.{p}"),
    ("encoder.layers.{i}.feed_forward.intermediate_dense.{p}", _OUR_BLOCK + "ffn.up.{p}"),
    ("encoder.layers.{i}.feed_forward.output_dense.{p}", _OUR_BLOCK + "ffn.down.{p}"),
    ("encoder.layers.{i}.final_layer_norm.{p}", _OUR_BLOCK + "ffn_norm.{p}"),
    ("encoder.layers.0.attention.rel_attn_embed.weight", "transformer.relative_embedding.weight"),
    ("encoder.layers.{i}.attention.gru_rel_pos_linear.{p}", _OUR_BLOCK + "attention.gate.{p}"),
    ("encoder.layers.{i}.attention.gru_rel_pos_const", _OUR_BLOCK + "attention.gate_scale"),
)
_UPSAMPLE = (("encoder.upsample.projection.{p}", "upsample.{p}"),)
# DeBERTa's names, the same in fairseq and Hugging Face.
_DEBERTA_BLOCKS = (
    ("encoder.encoder.rel_embeddings.weight", "transformer.relative_embedding.weight"),
    ("encoder.encoder.LayerNorm.{p}", "transformer.relative_norm.{p}"),
    ("encoder.encoder.layer.{i}.attention.self.query_proj.{p}", _OUR_BLOCK + "attention.query.{p}"),
    ("encoder.encoder.layer.{i}.attention.self.key_proj.{p}", _OUR_BLOCK + "attention.key.{p}"),
    ("encoder.encoder.layer.{i}.attention.self.value_proj.{p}", _OUR_BLOCK + "attention.value.{p}"),
    ("encoder.encoder.layer.{i}.attention.self.pos_key_proj.{p}", _OUR_BLOCK + "attention.pos_key.{p}"),
    ("encoder.encoder.layer.{i}.attention.self.pos_query_proj.{p}", _OUR_BLOCK + "attention.pos_query.{p}"),
    ("encoder.encoder.layer.{i}.attention.output.dense.{p}", _OUR_BLOCK + "attention.out.{p}"),
    ("encoder.encoder.layer.{i}.attention.output.LayerNorm.{p}", _OUR_BLOCK + "attention_norm.{p}"),
    ("encoder.encoder.layer.{i}.intermediate.dense.{p}", _OUR_BLOCK + "ffn.up.{p}"),
    ("encoder.encoder.layer.{i}.output.dense.{p}", _OUR_BLOCK + "ffn.down.{p}"),
    ("encoder.encoder.layer.{i}.output.LayerNorm.{p}", _OUR_BLOCK + "ffn_norm.{p}"),
)

_TORCHAUDIO_RENAMES = (("encoder.feature_projection.", "feature_projection."), ("encoder.transformer.", "encoder."))

_FAIRSEQ2_FRONT = "encoder_frontend."
_FAIRSEQ2_DROP = ("masker.*", "quantizer.*", "final_proj.*", "final_target_proj.*", "final_bn.*")


def fairseq(family: str, *, batch_norm: bool = False, stacked: bool = False) -> Table:
    """fairseq (and microsoft's and s3prl's copies of it); the positional convolution has three layouts."""
    position: tuple[tuple[str, str], ...] = _FAIRSEQ_POSITION
    if batch_norm:
        position = _FAIRSEQ_POSITION_BATCH_NORM
    elif stacked:
        position = _FAIRSEQ_POSITION_STACK
    blocks: tuple[tuple[str, str], ...] = _FAIRSEQ_BLOCKS
    if family == "sew_d":
        blocks = (*_DEBERTA_BLOCKS, ("encoder.upsample.0.{p}", "upsample.{p}"))
    # Unused by SEW-D's encoder, present in its checkpoints: the outer norm of the class it derives from.
    drop = (*_FAIRSEQ_DROP, "encoder.layer_norm.*") if family == "sew_d" else _FAIRSEQ_DROP
    return Table((*_FAIRSEQ_FRONT, *position, *blocks), drop)


def huggingface(family: str) -> Table:
    """Hugging Face transformers, without the head's prefix."""
    if family == "sew":
        return Table((*_HF_FRONT, *_HF_SEW_PROJECTION, *_HF_POSITION, *_HF_BLOCKS, *_UPSAMPLE), _HF_DROP)
    if family == "sew_d":
        drop = (*_HF_DROP, "encoder.layer_norm.*")  # see above
        return Table((*_HF_FRONT, *_HF_SEW_PROJECTION, *_HF_POSITION, *_DEBERTA_BLOCKS, *_UPSAMPLE), drop)
    return Table((*_HF_FRONT, *_HF_PROJECTION, *_HF_POSITION, *_HF_BLOCKS), _HF_DROP)


def torchaudio() -> Table:
    """torchaudio's `Wav2Vec2Model` (wav2vec 2.0, HuBERT, WavLM): Hugging Face's names one level deeper."""
    ours_of = dict(huggingface("wavlm").rules)
    rules = []
    for theirs, ours in ours_of.items():
        for new, old in _TORCHAUDIO_RENAMES:
            if theirs.startswith(old):
                theirs = new + theirs.removeprefix(old)
                break
        rules.append((theirs, ours))
    rules.append(("encoder.transformer.layers.{i}.attention.attention.out_proj.{p}", _OUR_BLOCK + "attention.out.{p}"))
    return Table(tuple(rules), ("aux.*", "mask_generator.*", "logit_generator.*"))


def fairseq2(*, conv_norm: str, norm_first: bool) -> Table:
    """fairseq2's wav2vec2 and wav2vec2_asr."""
    front = _FAIRSEQ2_FRONT
    norm = "layers.{i}.layer_norm.{p}" if conv_norm == "layer" else "layers.{i}.group_norm.{p}"
    rules = (
        (front + "feature_extractor.layers.{i}.conv.{p}", "conv.layers.{i}.conv.{p}"),
        (front + "feature_extractor." + norm, "conv.layers.{i}.norm.{p}"),
        (front + "post_extract_layer_norm.{p}", "projection.norm.{p}"),
        (front + "model_dim_proj.{p}", "projection.linear.{p}"),
        (front + "pos_encoder.conv.{p}", "pos_conv.conv.{p}"),
        (front + "pos_encoder.layers.{i}.conv.{p}", "pos_conv.layers.{i}.conv.{p}"),
        ("encoder.layer_norm.{p}" if norm_first else front + "layer_norm.{p}", "transformer.norm.{p}"),
        ("encoder.layers.{i}.self_attn.q_proj.{p}", _OUR_BLOCK + "attention.query.{p}"),
        ("encoder.layers.{i}.self_attn.k_proj.{p}", _OUR_BLOCK + "attention.key.{p}"),
        ("encoder.layers.{i}.self_attn.v_proj.{p}", _OUR_BLOCK + "attention.value.{p}"),
        ("encoder.layers.{i}.self_attn.output_proj.{p}", _OUR_BLOCK + "attention.out.{p}"),
        ("encoder.layers.{i}.self_attn_layer_norm.{p}", _OUR_BLOCK + "attention_norm.{p}"),
        ("encoder.layers.{i}.ffn.inner_proj.{p}", _OUR_BLOCK + "ffn.up.{p}"),
        ("encoder.layers.{i}.ffn.output_proj.{p}", _OUR_BLOCK + "ffn.down.{p}"),
        ("encoder.layers.{i}.ffn_layer_norm.{p}", _OUR_BLOCK + "ffn_norm.{p}"),
    )
    return Table(rules, _FAIRSEQ2_DROP)


def soft_vc() -> Table:
    """HuBERT-Soft: torch's own transformer layers behind HuBERT's front end."""
    block = "encoder.layers.{i}."
    rules = (
        ("feature_extractor.conv{i}.{p}", "conv.layers.{i}.conv.{p}"),
        ("feature_extractor.norm{i}.{p}", "conv.layers.{i}.norm.{p}"),
        ("feature_projection.norm.{p}", "projection.norm.{p}"),
        ("feature_projection.projection.{p}", "projection.linear.{p}"),
        ("positional_embedding.conv.{p}", "pos_conv.conv.{p}"),
        ("norm.{p}", "transformer.norm.{p}"),
        (block + "self_attn.q_proj.{p}", _OUR_BLOCK + "attention.query.{p}"),
        (block + "self_attn.k_proj.{p}", _OUR_BLOCK + "attention.key.{p}"),
        (block + "self_attn.v_proj.{p}", _OUR_BLOCK + "attention.value.{p}"),
        (block + "self_attn.out_proj.{p}", _OUR_BLOCK + "attention.out.{p}"),
        (block + "norm1.{p}", _OUR_BLOCK + "attention_norm.{p}"),
        (block + "linear1.{p}", _OUR_BLOCK + "ffn.up.{p}"),
        (block + "linear2.{p}", _OUR_BLOCK + "ffn.down.{p}"),
        (block + "norm2.{p}", _OUR_BLOCK + "ffn_norm.{p}"),
    )
    return Table(rules, ("masked_spec_embed", "proj.*", "label_embedding.*"))

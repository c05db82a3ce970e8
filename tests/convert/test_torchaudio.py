"""torchaudio's state dicts, against torchaudio with random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio.models as ta
from torch import nn

from speechssl import convert
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError
from tests.convert import oracles

CONV = [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]
SIZES: dict[str, Any] = {
    "extractor_conv_layer_config": CONV, "encoder_embed_dim": 32, "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 16, "encoder_pos_conv_groups": 4, "encoder_num_layers": 3, "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.0, "encoder_ff_interm_features": 48, "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0, "encoder_layer_drop": 0.0, "aux_num_out": None,
}  # fmt: skip
GROUP = {"extractor_mode": "group_norm", "extractor_conv_bias": False, "encoder_layer_norm_first": False}
LAYER = {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
WAVLM = {"encoder_num_buckets": 320, "encoder_max_distance": 800}


def wav2vec2(kind: dict[str, Any], **more: Any) -> nn.Module:
    model = ta.wav2vec2_model(**(SIZES | kind | more)).eval()
    oracles.randomize(model)
    return model


def wavlm(kind: dict[str, Any]) -> nn.Module:
    model = ta.wavlm_model(**(SIZES | kind | WAVLM)).eval()
    oracles.randomize(model)
    return model


def write(model: nn.Module, path: Path, hints: str = "num_heads = 4\n") -> Path:
    torch.save(model.state_dict(), path)
    if hints:
        path.with_suffix(".toml").write_text(hints)
    return path


@torch.no_grad()
def assert_same(pretrained: Pretrained, model: nn.Module) -> None:
    """torchaudio shows the output of each block, and a final output."""
    theirs, _ = model.extract_features(oracles.wave())
    ours, _ = pretrained.encoder.layers(oracles.wave())
    final, _ = pretrained.encoder(oracles.wave())
    for mine, other in [*zip(ours[1:], theirs, strict=True), (final, model(oracles.wave())[0])]:
        assert (mine - other).abs().max() / other.abs().max() <= 1e-5


@pytest.mark.parametrize("kind", [GROUP, LAYER], ids=["group", "layer"])
@pytest.mark.parametrize("make", [wav2vec2, wavlm], ids=["wav2vec2", "wavlm"])
def test_state_dict_gives_the_features_of_torchaudio(make: Any, kind: dict[str, Any], tmp_path: Path) -> None:
    model = make(kind)
    loaded = convert.load(write(model, tmp_path / "model.pth"), normalize=False)
    card = loaded.pretrained.card
    assert (loaded.format, card.family, card.normalize_eps) == ("torchaudio", make.__name__, 1e-5)
    assert_same(loaded.pretrained, model)


def test_fine_tuned_and_wrapped_models_give_their_encoder(tmp_path: Path) -> None:
    model = wav2vec2(GROUP, aux_num_out=5)
    loaded = convert.load(write(model, tmp_path / "asr.pth"), normalize=False)
    assert loaded.dropped == ("aux.weight", "aux.bias")
    wrapped = nn.ModuleDict({"wav2vec2": wav2vec2(GROUP), "logit_generator": nn.Linear(2, 2)})
    loaded = convert.load(write(wrapped, tmp_path / "hubert.pth"), normalize=False)
    assert loaded.dropped == ("logit_generator.weight", "logit_generator.bias")
    assert loaded.pretrained.card.family == "hubert"
    assert_same(loaded.pretrained, wrapped["wav2vec2"])


def test_normalisation_must_be_given_or_known(tmp_path: Path) -> None:
    path = write(wav2vec2(LAYER), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"--normalize yes\|no"):
        convert.load_encoder(path)
    write(wav2vec2(LAYER), path, "num_heads = 4\nnormalize = true\n")
    assert convert.load_encoder(path).card.normalize is True
    known = convert.load_encoder(write(wav2vec2(LAYER), tmp_path / "hubert_fairseq_large_ll60k.pth"))
    assert (known.card.normalize, known.card.family) == (True, "hubert")


@pytest.mark.parametrize(("hints", "message"), [
    ("", "num_heads = 12"), ("num_heads = 5", "multiple"), ("num_heads = 4\nfoo = 1", "foo"), ("= 4", "TOML"),
    ("num_heads = 4\ndim = 64", "shapes"),
])  # fmt: skip
def test_what_shapes_do_not_show_must_be_said_and_fit(hints: str, message: str, tmp_path: Path) -> None:
    path = write(wav2vec2(GROUP), tmp_path / "model.pth", hints)
    with pytest.raises(CheckpointError, match=message):
        convert.load_encoder(path, normalize=False)


def test_unusual_strides_must_be_said(tmp_path: Path) -> None:
    conv = [(16, 10, 5), *[(16, 3, 2)] * 4]
    model = wav2vec2(GROUP, extractor_conv_layer_config=conv)
    with pytest.raises(CheckpointError, match="strides"):
        convert.load_encoder(write(model, tmp_path / "model.pth"), normalize=False)
    write(model, tmp_path / "model.pth", f"num_heads = 4\nconv_layers = {[list(layer) for layer in conv]}\n")
    assert_same(convert.load_encoder(tmp_path / "model.pth", normalize=False), model)


def test_heads_of_released_widths_are_those_of_torchaudio() -> None:
    from torchaudio import pipelines

    from speechssl.convert.inferred import _HEADS

    bundles = [getattr(pipelines, name) for name in dir(pipelines)]
    params = [b._params for b in bundles if hasattr(b, "_params") and "encoder_embed_dim" in b._params]
    assert len(params) > 20
    for values in params:
        assert _HEADS[values["encoder_embed_dim"]] == values["encoder_num_heads"]
        assert values["encoder_layer_norm_first"] == (values["extractor_mode"] == "layer_norm")
        if "encoder_max_distance" in values:
            assert (values["encoder_num_buckets"], values["encoder_max_distance"]) == (320, 800)


def test_known_table_agrees_with_torchaudio_on_normalisation() -> None:
    from torchaudio import pipelines

    from speechssl.convert import known

    checked = 0
    for name in dir(pipelines):
        bundle = getattr(pipelines, name)
        found = known.find_by_file(getattr(bundle, "_path", None) or "")
        if found:
            assert found.normalize == bundle._normalize_waveform, name
            assert found.family == ("wavlm" if name.startswith("WAVLM") else found.family)
            checked += 1
    assert checked >= 13

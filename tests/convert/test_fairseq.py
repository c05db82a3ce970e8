"""fairseq checkpoints without fairseq: every family, every style of settings, pre-trained and fine-tuned."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from speechssl import convert
from speechssl.convert.fairseq import parse_conv_layers
from speechssl.errors import CheckpointError
from tests.convert import fairseq_files, oracles

NAMES = {  # variant -> name in fairseq
    "wav2vec2-base": "wav2vec2", "wav2vec2-lv60": "wav2vec2", "hubert-base": "hubert", "hubert-large": "hubert",
    "mhubert-147": "hubert", "data2vec": "data2vec_audio", "wavlm-base": "wavlm", "wavlm-large": "wavlm",
    "sew": "squeeze_wav2vec2", "sew-projected": "squeeze_wav2vec2", "sew-d": "squeeze_wav2vec2_deberta",
}  # fmt: skip


def checkpoint(variant: str, model: nn.Module, style: str, *, normalize: bool = True) -> dict[str, Any]:
    name = NAMES[variant]
    values = fairseq_files.settings(model, name)
    state = fairseq_files.state_dict(model) | fairseq_files.training_parts(name)
    task = {"_name": "audio_pretraining", "normalize": normalize, "data": "/elsewhere"}
    if style == "namespace":
        return {"args": fairseq_files.namespace(values, normalize=normalize), "cfg": None, "model": state}
    if style == "flat":
        return {"cfg": values | {"normalize": normalize}, "model": state}
    return {"args": None, "cfg": {"task": task, "model": values}, "model": state}


def write(tree: dict[str, Any], path: Path, style: str) -> Path:
    if style == "omegaconf":
        with fairseq_files.fake_omegaconf() as wrap:
            torch.save(tree | {"cfg": wrap(tree["cfg"])}, path)
    elif style == "stream":
        torch.save(tree, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(tree, path)
    return path


@pytest.mark.parametrize("variant", NAMES)
@pytest.mark.parametrize("style", ["dict", "omegaconf", "namespace", "flat"])
def test_checkpoint_gives_the_features_of_its_model(variant: str, style: str, tmp_path: Path) -> None:
    model = oracles.make(variant)
    path = write(checkpoint(variant, model, style), tmp_path / "model.pt", style)
    loaded = convert.load(path)
    card = loaded.pretrained.card
    assert (loaded.format, card.family) == ("fairseq", oracles.VARIANTS[variant][0])
    assert (card.normalize, card.normalize_eps) == (True, 1e-5)
    oracles.assert_same_features(loaded.pretrained, model)
    assert set(fairseq_files.training_parts(NAMES[variant])) <= set(loaded.dropped)
    assert "fairseq" not in sys.modules
    assert "omegaconf" not in sys.modules


def test_old_tar_stream_gives_the_same_model(tmp_path: Path) -> None:
    model = oracles.make("hubert-base")
    tree = checkpoint("hubert-base", model, "namespace", normalize=False)
    new = convert.load_encoder(write(tree, tmp_path / "new.pt", "zip"))
    old = convert.load_encoder(write(tree, tmp_path / "old.pt", "stream"))
    assert old.sha256 == new.sha256
    assert old.card.normalize is False


@pytest.mark.parametrize("style", ["dict", "namespace", "omegaconf"])
@pytest.mark.parametrize("variant", ["wav2vec2-base", "hubert-large"])
def test_fine_tuned_model_gives_its_encoder_and_reports_the_head(variant: str, style: str, tmp_path: Path) -> None:
    model = oracles.make(variant)
    inner = checkpoint(variant, model, style)
    state = {
        f"w2v_encoder.w2v_model.{k}": v for k, v in inner["model"].items() if k.startswith(("enc", "fe", "la", "po"))
    }
    state["w2v_encoder.proj.weight"] = torch.ones(5, 32)
    if style == "namespace":
        tree = {"args": fairseq_files.namespace({"_name": "wav2vec_ctc"}, normalize=True, w2v_args=inner["args"])}
    else:
        tree = {"cfg": {"task": {"_name": "audio_finetuning", "normalize": True},
                        "model": {"_name": "wav2vec_ctc", "w2v_path": "x.pt", "w2v_args": inner["cfg"]}}}  # fmt: skip
    loaded = convert.load(write(tree | {"model": state}, tmp_path / "ctc.pt", style))
    assert loaded.pretrained.card.family == oracles.VARIANTS[variant][0]
    assert "w2v_encoder.proj.weight" in loaded.dropped
    oracles.assert_same_features(loaded.pretrained, model)


def test_fine_tuned_model_without_its_settings_is_an_error(tmp_path: Path) -> None:
    state = fairseq_files.state_dict(oracles.make("hubert-base"))
    state = {f"w2v_encoder.w2v_model.{k}": v for k, v in state.items()}
    tree = {"cfg": {"task": {"normalize": False}, "model": {"w2v_args": None}}, "model": state}
    with pytest.raises(CheckpointError, match="w2v_args"):
        convert.load(write(tree, tmp_path / "ctc.pt", "dict"))


@pytest.mark.parametrize("variant", ["hubert-base", "wav2vec2-lv60"])
def test_s3prl_conversion_is_the_same_model(variant: str, tmp_path: Path) -> None:
    tree = checkpoint(variant, oracles.make(variant), "dict")
    original = convert.load_encoder(write(tree, tmp_path / "a.pt", "dict"))
    converted = {"task_cfg": tree["cfg"]["task"], "model_cfg": tree["cfg"]["model"], "model_weight": tree["model"],
                 "dictionaries_symbols": [["a", "b"]]}  # fmt: skip
    loaded = convert.load(write(converted, tmp_path / "b.pt", "dict"))
    assert loaded.format == "s3prl"
    assert loaded.pretrained.sha256 == original.sha256


def test_left_over_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    tree = checkpoint("hubert-base", oracles.make("hubert-base"), "dict")
    tree["model"]["encoder.layers.0.adapter_layer.W_a"] = torch.ones(2)
    with pytest.raises(CheckpointError, match="adapter_layer"):
        convert.load(write(tree, tmp_path / "model.pt", "dict"))


def test_silence_about_normalisation_is_an_error_unless_the_file_is_known(tmp_path: Path) -> None:
    tree = checkpoint("hubert-base", oracles.make("hubert-base"), "dict")
    del tree["cfg"]["task"]["normalize"]
    with pytest.raises(CheckpointError, match="--normalize"):
        convert.load(write(tree, tmp_path / "model.pt", "dict"))
    assert convert.load_encoder(tmp_path / "model.pt", normalize=True).card.normalize is True
    known = convert.load_encoder(write(tree, tmp_path / "hubert_base_ls960.pt", "dict"))
    assert known.card.normalize is False


@pytest.mark.parametrize("change", [
    {"encoder_layers": 2}, {"encoder_layers": None}, {"encoder_embed_dim": 64}, {"encoder_attention_heads": "4"},
    {"encoder_attention_heads": 3}, {"activation_fn": "relu"}, {"layer_type": "conformer"}, {"extractor_mode": "x"},
    {"conv_feature_layers": "__import__('os').system('touch /tmp/owned')"}, {"conv_feature_layers": "[(16, 10, 5)]"},
    {"conv_feature_layers": "[(1, 1, 1)] * 10 ** 9"}, {"conv_feature_layers": None}, {"conv_pos": 0},
    {"conv_pos": None}, {"layer_norm_first": "False"}, {"pos_conv_depth": 0},
    {"encoder_ffn_embed_dim": 10**9}, {"encoder_layers": 10**9},
], ids=str)  # fmt: skip
def test_settings_that_do_not_fit_are_an_error(change: dict[str, Any], tmp_path: Path) -> None:
    tree = checkpoint("hubert-base", oracles.make("hubert-base"), "dict")
    tree["cfg"]["model"] |= change
    with pytest.raises(CheckpointError):
        convert.load(write(tree, tmp_path / "model.pt", "dict"))


def test_weights_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    tree = checkpoint("hubert-base", oracles.make("hubert-base"), "dict")
    tree["model"]["encoder.layers.0.fc1.weight"][3, 3] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        convert.load(write(tree, tmp_path / "model.pt", "dict"))


@pytest.mark.parametrize(("text", "triples"), [
    ("[(512, 10, 5)] + [(512, 3, 2)] * 2 + [(512,2,2)]", [[512, 10, 5], [512, 3, 2], [512, 3, 2], [512, 2, 2]]),
    (" [(1, 2, 3), (4, 5, 6)] ", [[1, 2, 3], [4, 5, 6]]),
    ("2 * [(1, 2, 3)]", [[1, 2, 3], [1, 2, 3]]),
    ([(1, 2, 3)], [[1, 2, 3]]),
])  # fmt: skip
def test_convolutions_are_parsed_without_running_them(text: object, triples: list[list[int]]) -> None:
    assert parse_conv_layers(text, where="x") == triples


@pytest.mark.parametrize("text", ["", "x", "[(1,2)]", "[(1,2,3.0)]", "[(True,2,3)]", "[(1,2,3)] * -1", "1 + 2", 5,
                                  "(" * 9999, "1+" * 9999, "[(1,2,3)] * 64 * 64 * 64", "[(9**9,1,1)]", "[f(1)]",
                                  "[(1,2,-3)"])  # fmt: skip
def test_other_text_than_convolutions_is_an_error(text: object) -> None:
    with pytest.raises(CheckpointError, match="conv_feature_layers"):
        parse_conv_layers(text, where="x")

"""Hugging Face folders in and out, against `transformers` with random weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from speechssl import convert
from speechssl.convert import export_huggingface
from speechssl.errors import CheckpointError
from tests.convert import oracles

BACK = {"unispeech": hf.Wav2Vec2Model}  # comes back as the family it is


@pytest.mark.parametrize("name", oracles.VARIANTS)
def test_folder_gives_the_features_of_transformers(name: str, tmp_path: Path) -> None:
    model = oracles.make(name)
    loaded = convert.load(oracles.save(model, tmp_path))
    assert loaded.pretrained.card.family == oracles.VARIANTS[name][0]
    assert loaded.format == "huggingface"
    oracles.assert_same_features(loaded.pretrained, model)


@pytest.mark.parametrize("name", oracles.VARIANTS)
def test_export_loads_in_transformers_and_agrees(name: str, tmp_path: Path) -> None:
    first = convert.load_encoder(oracles.save(oracles.make(name), tmp_path / "in", normalize=True))
    export_huggingface.write(tmp_path / "out", first)
    model_class = BACK.get(name, oracles.VARIANTS[name][2])
    model, info = model_class.from_pretrained(tmp_path / "out", output_loading_info=True, attn_implementation="eager")
    assert not any(info.values()), info
    oracles.assert_same_features(first, model.eval())
    auto = hf.AutoModel.from_pretrained(tmp_path / "out")
    assert type(auto) is model_class
    assert hf.AutoFeatureExtractor.from_pretrained(tmp_path / "out").do_normalize is True
    second = convert.load_encoder(tmp_path / "out")
    assert second.sha256 == first.sha256, "a round trip changes no bit"


@pytest.mark.parametrize("name", ["wav2vec2-base", "wavlm-base", "data2vec", "mhubert-147"])
@pytest.mark.parametrize("options", [{"safe_serialization": False}, {"max_shard_size": "20KB"},
                                     {"safe_serialization": False, "max_shard_size": "20KB"}], ids=str)  # fmt: skip
def test_pickled_and_sharded_weights_are_the_same_model(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = oracles.make(name)
    plain = convert.load_encoder(oracles.save(model, tmp_path / "a"))
    other = convert.load_encoder(oracles.save(model, tmp_path / "b", **options))
    assert (tmp_path / "b" / "model.safetensors").exists() is False
    assert other.sha256 == plain.sha256


@pytest.mark.parametrize(("name", "head"), [
    ("wav2vec2-base", hf.Wav2Vec2ForPreTraining), ("wav2vec2-lv60", hf.Wav2Vec2ForCTC), ("sew", hf.SEWForCTC),
    ("wavlm-base", hf.WavLMForXVector), ("data2vec", hf.Data2VecAudioForCTC), ("hubert-base", hf.HubertForCTC),
    ("sew-d", hf.SEWDForCTC), ("unispeech-sat", hf.UniSpeechSatForPreTraining),
])  # fmt: skip
def test_models_with_a_head_give_their_encoder_and_report_the_head(name: str, head: Any, tmp_path: Path) -> None:
    model = oracles.make(name, model_class=head)
    loaded = convert.load(oracles.save(model, tmp_path))
    prefix = model.base_model_prefix.replace("-", "_")  # "sew-d" is not the attribute's name
    oracles.assert_same_features(loaded.pretrained, getattr(model, prefix))
    outside = [key for key in model.state_dict() if not key.startswith(prefix)]
    assert set(outside) <= set(loaded.dropped)


def test_old_weight_norm_names_and_half_precision_are_read(tmp_path: Path) -> None:
    model = oracles.make("hubert-base").half()
    folder = oracles.save(model, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    stem = "encoder.pos_conv_embed.conv."
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        tensors[stem + old] = tensors.pop(f"{stem}parametrizations.weight.{new}")
    save_file(tensors, folder / "model.safetensors")
    pretrained = convert.load_encoder(folder)
    assert {t.dtype for t in pretrained.encoder.state_dict().values()} == {torch.float32}
    oracles.assert_same_features(pretrained, model.float(), tolerance=1e-3)  # g / |v| is rounded to half by the oracle


def test_left_over_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = oracles.save(oracles.make("hubert-base"), tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layers.1.adapter_layer.linear_1.weight"] = torch.zeros(2, 2)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"encoder\.layers\.1\.adapter_layer\.linear_1\.weight"):
        convert.load_encoder(folder)


def test_missing_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = oracles.save(oracles.make("hubert-base"), tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layers.1.attention.k_proj.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"transformer\.layers\.1\.attention\.key\.bias"):
        convert.load_encoder(folder)


@pytest.mark.parametrize("change", [
    {"hidden_size": 64}, {"num_hidden_layers": 2}, {"num_hidden_layers": 10**9}, {"hidden_size": 10**9},
    {"num_attention_heads": 5}, {"num_attention_heads": 0}, {"conv_bias": True}, {"conv_dim": [16] * 6},
    {"conv_dim": "x"}, {"conv_kernel": [10, 3, 3, 3, 3, 2, "2"]}, {"do_stable_layer_norm": "yes"},
    {"hidden_act": "relu"}, {"feat_extract_norm": "batch"}, {"model_type": "bert"},
    {"num_conv_pos_embeddings": -16}, {"layer_norm_eps": None},
    {"num_conv_pos_embedding_groups": 3}, {"conv_pos_batch_norm": True}, {"intermediate_size": True},
], ids=str)  # fmt: skip
def test_config_that_does_not_fit_is_an_error(change: dict[str, Any], tmp_path: Path) -> None:
    folder = oracles.save(oracles.make("hubert-base"), tmp_path)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | change))
    with pytest.raises(CheckpointError):
        convert.load_encoder(folder)


def test_normalisation_is_never_guessed(tmp_path: Path) -> None:
    model = oracles.make("hubert-large")
    folder = oracles.save(model, tmp_path / "silent", normalize=None)
    with pytest.raises(CheckpointError, match=r"--normalize yes\|no"):
        convert.load_encoder(folder)
    assert convert.load_encoder(folder, normalize=True).card.normalize is True
    stated = oracles.save(model, tmp_path / "stated", normalize=True)
    assert convert.load_encoder(stated).card.normalize is True
    loaded = convert.load(stated, normalize=False)
    assert loaded.pretrained.card.normalize is False
    assert any("which is used" in note for note in loaded.notes)


def test_normalisation_of_a_group_norm_model_is_doubted_in_a_note(tmp_path: Path) -> None:
    loaded = convert.load(oracles.save(oracles.make("hubert-base"), tmp_path, normalize=True))
    assert loaded.pretrained.card.normalize is True
    assert any("trained without" in note for note in loaded.notes)


@pytest.mark.parametrize("normalize", [True, False])
def test_export_says_how_waveforms_are_normalised(normalize: bool, tmp_path: Path) -> None:
    first = convert.load_encoder(oracles.save(oracles.make("hubert-large"), tmp_path / "in", normalize=normalize))
    export_huggingface.write(tmp_path / "out", first)
    assert hf.AutoFeatureExtractor.from_pretrained(tmp_path / "out").do_normalize is normalize
    assert convert.load_encoder(tmp_path / "out").card.normalize is normalize


def test_normalised_features_are_those_of_the_feature_extractor(tmp_path: Path) -> None:
    model = oracles.make("hubert-large")
    folder = oracles.save(model, tmp_path, normalize=True)
    pretrained = convert.load_encoder(folder)
    wav = 0.05 * oracles.wave()[0] + 0.3
    values = hf.AutoFeatureExtractor.from_pretrained(folder)(wav.numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        theirs = model(values.input_values, output_hidden_states=True).hidden_states[2][0]
    ours = pretrained.features(wav, 2)
    assert ((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5


def test_shard_index_cannot_leave_the_folder(tmp_path: Path) -> None:
    folder = oracles.save(oracles.make("hubert-base"), tmp_path / "model", max_shard_size="20KB")
    index = folder / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    key = next(iter(values["weight_map"]))
    values["weight_map"][key] = "../secret.safetensors"
    index.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="not a file of this folder"):
        convert.load_encoder(folder)


def test_what_the_format_cannot_hold_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="mfcc"):
        export_huggingface.write(tmp_path / "out", convert.load_encoder("mfcc"))
    assert not (tmp_path / "out").exists()

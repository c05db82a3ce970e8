"""The unit model folder: what is saved comes back, and nothing else is accepted."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from speechssl import encoders
from speechssl.encoders import mfcc
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.quantizers.kmeans import KMeans
from speechssl.units.card import UnitModelCard, find, read_card
from speechssl.units.model import UnitModel


def mfcc_model(num_units: int = 12, seed: int = 0) -> UnitModel:
    config = {"num_mels": 20, "cmvn": True}
    pretrained = Pretrained(encoders.build("mfcc", config).eval(), EncoderCard("mfcc", config, name="mfcc"))
    centroids = torch.randn(num_units, 39, generator=torch.Generator().manual_seed(seed))
    return UnitModel(pretrained, 0, KMeans(centroids), UnitModelCard("test", "CC0-1.0", {"data": "random"}))


def wav(num_samples: int = 16000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples).astype(np.float32)


def test_a_saved_model_comes_back_with_the_same_hash_card_and_units(tmp_path: Path) -> None:
    model = mfcc_model()
    model.save(tmp_path / "m")
    loaded = UnitModel.load(tmp_path / "m")
    assert loaded.hash == model.hash
    assert loaded.card == model.card
    assert loaded(wav(), 16000) == model(wav(), 16000)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["card.json", "quantizer.safetensors"]


def test_units_are_the_nearest_centroids_of_the_layer() -> None:
    model = mfcc_model()
    features = model.pretrained.features(torch.from_numpy(wav()), 0).double()
    expected = torch.cdist(features, model.quantizer.centroids.double()).argmin(1)  # type: ignore[attr-defined]
    units = model(wav(), 16000)
    assert units.ids.tolist() == expected.tolist()
    assert (units.rate_hz, units.size, len(units)) == (50.0, 12, (16000 - 400) // 320 + 1)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        mfcc_model().save(tmp_path / name)
    for file in ("card.json", "quantizer.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_card_states_what_decides_the_units(tmp_path: Path) -> None:
    mfcc_model().save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["frame_rule"] == "floor((N - 400) / 320) + 1"
    assert (card["layer"], card["rate_hz"], card["num_units"], card["sample_rate"]) == (0, 50.0, 12, 16000)
    assert card["encoder"]["weights"] == "none"
    assert card["encoder"]["normalize"] is False
    assert card["quantizer"]["kind"] == "kmeans"


def test_the_hash_changes_with_codebook_and_encoder_setting_but_not_with_names() -> None:
    model = mfcc_model()
    other_encoder = Pretrained(encoders.build("mfcc", {}).eval(), EncoderCard("mfcc", {}))
    renamed = UnitModel(model.pretrained, 0, model.quantizer, UnitModelCard("another name"))
    assert renamed.hash == model.hash
    assert mfcc_model(seed=1).hash != model.hash
    assert UnitModel(other_encoder, 0, model.quantizer).hash != model.hash


def test_a_codebook_is_as_wide_as_its_layer() -> None:
    """CPC's convolutions and context have widths of their own."""
    values = {"conv_layers": [[8, 10, 5], [8, 8, 4]], "dim": 6}
    cpc = Pretrained(encoders.build("cpc", values).eval(), EncoderCard("cpc", values))
    for layer, channels in ((0, 8), (1, 6)):
        model = UnitModel(cpc, layer, KMeans(torch.randn(4, channels)))
        assert len(model(torch.randn(4000), 16000).ids)
        with pytest.raises(ConfigError, match=f"{channels} channels"):
            UnitModel(cpc, layer, KMeans(torch.randn(4, 7)))


def test_another_encoder_is_an_error_not_other_units(tmp_path: Path) -> None:
    mfcc_model().save(tmp_path)
    config = {"num_mels": 21, "cmvn": True}
    other = Pretrained(encoders.build("mfcc", config).eval(), EncoderCard("mfcc", config))
    with pytest.raises(CheckpointError, match="made for encoder mfcc"):
        UnitModel.load(tmp_path, encoder=other)
    normalized = dataclasses.replace(mfcc_model().pretrained.card, normalize=True)
    with pytest.raises(CheckpointError, match="normalisation"):
        UnitModel.load(tmp_path, encoder=Pretrained(mfcc_model().pretrained.encoder, normalized))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("layer", 1), ("layer", "0"), ("num_units", 13), ("rate_hz", 100.0), ("sample_rate", 8000)],
        *[("frame_rule", "?"), ("sha256", "0" * 64), ("format", "x"), ("encoder", {}), ("extra", 1)],
    ],
)
def test_a_changed_card_is_refused(tmp_path: Path, key: str, value: object) -> None:
    mfcc_model().save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**card, key: value}))
    with pytest.raises((CheckpointError, ConfigError)):
        UnitModel.load(tmp_path)


@pytest.mark.parametrize("kind", ["../kmeans", "os", "speechssl.quantizers.kmeans", "__init__", "", "kmeans.KMeans"])
def test_a_card_cannot_name_code_to_import(tmp_path: Path, kind: str) -> None:
    mfcc_model().save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    card["quantizer"]["kind"] = kind
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError):
        UnitModel.load(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, "null", '{"format": "speechssl-unit-model-1"}'])
def test_a_damaged_card_is_a_checkpoint_error(tmp_path: Path, content: str) -> None:
    mfcc_model().save(tmp_path)
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(CheckpointError):
        UnitModel.load(tmp_path)


def test_every_flipped_byte_of_the_quantizer_is_noticed(tmp_path: Path) -> None:
    mfcc_model().save(tmp_path)
    path = tmp_path / "quantizer.safetensors"
    original = path.read_bytes()
    for position in range(0, len(original), 37):
        path.write_bytes(original[:position] + bytes([original[position] ^ 4]) + original[position + 1 :])
        try:
            model = UnitModel.load(tmp_path)
        except CheckpointError:
            continue
        assert model.hash == mfcc_model().hash  # a byte that carries no number, such as the metadata


def test_a_missing_model_says_what_is_built_in(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no card\.json; built in"):
        find(tmp_path / "nothing")


def test_channels_and_layer_must_fit() -> None:
    model = mfcc_model()
    with pytest.raises(ConfigError, match="40 channels"):
        UnitModel(model.pretrained, 0, KMeans(torch.zeros(3, 40)))
    with pytest.raises(ConfigError, match=r"layers 0\.\.0"):
        UnitModel(model.pretrained, 1, model.quantizer)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros((2, 800), np.float32), 16000, "mono"),
        (np.zeros(800, np.int16), 16000, "32768"),
        (np.zeros(800, np.float32), None, "sample_rate"),
        (np.full(800, np.nan, np.float32), 16000, "NaN"),
    ],
)
def test_samples_that_could_be_misread_are_refused(samples: np.ndarray, rate: int | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        mfcc_model()(samples, rate)


@pytest.mark.parametrize("num_samples", [0, 1, 399])
def test_too_few_samples_for_a_frame_give_empty_units(num_samples: int) -> None:
    assert len(mfcc_model()(wav(num_samples), 16000)) == 0


class TinyEncoder(nn.Module):
    """One strided convolution with weights, in the shape of an Encoder."""

    sample_rate, hop, receptive_field, dim, num_layers = 16000, 320, 400, 8, 1

    def __init__(self) -> None:
        super().__init__()
        self.config = mfcc.Config()
        self.conv = nn.Conv1d(1, self.dim, self.receptive_field, self.hop)


def test_an_encoder_that_is_not_embedded_must_be_given_and_must_match(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pretrained = Pretrained(TinyEncoder().eval(), EncoderCard("mfcc", {}, name="a-tiny-one"))
    model = UnitModel(pretrained, 1, KMeans(torch.randn(4, 8)))
    model.save(tmp_path, embed_encoder=False)
    assert read_card(tmp_path).encoder.weights == "external"
    assert not (tmp_path / "encoder").exists()
    assert UnitModel.load(tmp_path, encoder=pretrained).hash == model.hash
    torch.manual_seed(1)
    with pytest.raises(CheckpointError, match="a-tiny-one"):
        UnitModel.load(tmp_path, encoder=Pretrained(TinyEncoder().eval(), pretrained.card))

"""`speechssl info`: encoders, unit models, k-means, known names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import speechssl
from speechssl.cli import main
from speechssl.quantizers.kmeans import KMeans
from speechssl.units.model import UnitModel
from tests.convert import oracles


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECHSSL_CACHE", str(tmp_path / "cache"))


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main(["info", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_encoder_says_what_decides_its_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = oracles.save(oracles.make("wav2vec2-lv60"), tmp_path / "model", normalize=True)
    code, out, _ = run(capsys, folder, "--json")
    values = json.loads(out)
    assert code == 0
    assert (values["family"], values["layers"], values["dim"]) == ("wav2vec2", 3, 32)
    assert (values["rate_hz"], values["hop_samples"], values["receptive_field_samples"]) == (50, 320, 400)
    assert values["receptive_field_ms"] == 25
    assert (values["normalize"], values["normalize_eps"]) == (True, 1e-7)
    encoder = speechssl.load_encoder(folder)
    assert values["sha256"] == encoder.sha256
    assert values["parameters"] == sum(t.numel() for t in encoder.encoder.state_dict().values())
    text = run(capsys, folder)[1]
    assert "50 Hz: every 320 samples" in text
    assert encoder.sha256 in text


def test_rate_of_squeezed_encoders_is_that_of_their_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = oracles.save(oracles.make("sew"), tmp_path / "model")
    values = json.loads(run(capsys, folder, "--json")[1])
    assert (values["rate_hz"], values["hop_samples"]) == (25, 640)


def test_known_name_is_told_without_network(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "hubert-base-ls960")
    assert code == 0
    assert "layer 6" in out
    assert "hubert-base-ls960-L9-km500: layer 9, 500 units" in out
    assert "offline was asked for" in out
    values = json.loads(run(capsys, "facebook/hubert-base-ls960", "--json")[1])
    assert (values["cached"], values["normalize"], len(values["kmeans"])) == (False, False, 5)


def test_known_kmeans_names_its_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "mhubert-base-vp-en-es-fr-L11-km1000")
    assert code == 0
    assert "mhubert-base-vp-en-es-fr, layer 11" in out


def test_known_list_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--known")
    assert code == 0
    values = json.loads(run(capsys, "--known", "--json")[1])
    assert len(values) > 30
    assert all(entry["name"] in out for entry in values)


def test_unit_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kmeans = KMeans(torch.randn(20, 39))
    UnitModel(speechssl.load_encoder("mfcc"), 0, kmeans).save(tmp_path / "units")
    code, out, _ = run(capsys, tmp_path / "units")
    assert code == 0
    assert "20, 50 Hz" in out
    values = json.loads(run(capsys, tmp_path / "units", "--json")[1])
    assert (values["kind"], values["num_units"], values["layer"]) == ("unit model", 20, 0)


def test_kmeans_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "km.npy", np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32))
    code, out, _ = run(capsys, tmp_path / "km.npy")
    assert (code, out) == (0, "k-means     km.npy: 50 units of 8 channels\n")


@pytest.mark.parametrize("argv", [[], ["--known", "mfcc"], ["absent-thing"], ["{tmp}/junk"]])
def test_nothing_to_tell_is_exit_code_2(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    code, out, err = run(capsys, *(a.format(tmp=tmp_path) for a in argv))
    assert (code, out) == (2, "")
    assert err.startswith("speechssl info: ")


def test_other_models_of_ours_say_what_their_card_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = {"format": "speechssl-unit-translator-1", "languages": ["cs", "nl"], "licence": "", "none": None,
            "many": list(range(9)), "model": {"dropout": {"residual": 0.25}}, "sha256": "a" * 64,
            "name": "there and back"}  # fmt: skip
    (tmp_path / "card.json").write_text(json.dumps(card))
    code, out, _ = run(capsys, tmp_path)
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0 and list(rows)[:3] == ["kind", "name", "sha256"]
    assert (
        rows["kind"] == "unit translator" and rows["model.dropout.residual"] == "0.25" and rows["languages"] == "cs, nl"
    )
    assert rows["many"].endswith("7, ... (9)") and not {"licence", "none", "format"} & set(rows)
    values = json.loads(run(capsys, tmp_path, "--json")[1])
    assert values["kind"] == "unit translator" and values["many"] == list(range(9))


def test_the_built_in_vocoder_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, Path(speechssl.__file__).parent / "assets" / "vocoder")
    assert code == 0 and "vocoder" in out.splitlines()[0] and "Kerstin" in out

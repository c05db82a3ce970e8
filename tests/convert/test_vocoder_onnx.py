"""Unit vocoders as ONNX graphs, run by ONNX Runtime where it is installed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.cli import main
from speechssl.convert import vocoder_onnx
from speechssl.errors import ConfigError
from speechssl.units import vocoder as folders
from speechssl.vocoders.unit_vocoder import Config, UnitVocoder
from tests.vocoders.test_unit_vocoder import OWN, SPECTRAL, WAVE, ids, make

VARIANTS = {
    "plain": {},
    "spectral": {"generator": SPECTRAL},
    "table": {"speakers": ("a", "b"), "pitch_bins": 5},
    "outside": {"speaker_inputs": 3, "pitch_channels": 2},
}


def test_convert_writes_a_graph_beside_the_card(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="pip install onnx")
    folders.save(tmp_path / "vocoder", make().float(), OWN)
    assert main(["convert", str(tmp_path / "vocoder"), str(tmp_path / "onnx"), "--to", "onnx"]) == 0
    card = json.loads((tmp_path / "onnx" / "card.json").read_text())
    assert card["units"]["sha256"] == "a" * 64
    weight = make().float().generator.last.weight.detach().numpy().tobytes()
    assert weight in (tmp_path / "onnx" / "vocoder.onnx").read_bytes()  # plain, not as length and direction


@pytest.mark.parametrize("count", [1, 2, 9])
def test_an_inverse_transform_by_products_is_the_generators(count: int) -> None:
    vocoder = make("spectral").float()
    frames = vocoder.frames(ids(count)[None])
    with torch.no_grad():
        torch.testing.assert_close(vocoder_onnx._Spectral(vocoder.generator)(frames), vocoder.generator(frames),
                                   atol=1e-5, rtol=1e-4)  # fmt: skip


def test_without_the_package_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"speechssl\[onnx\]"):
        vocoder_onnx.write(tmp_path / "x.onnx", make())


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_the_graph_says_what_torch_says_of_any_number_of_frames(variant: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="pip install onnx")
    runtime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    torch.manual_seed(0)
    vocoder = UnitVocoder(Config(num_units=7, dim=6, **({"generator": WAVE} | VARIANTS[variant]))).eval()  # type: ignore[arg-type]
    vocoder_onnx.write(tmp_path / "vocoder.onnx", vocoder)
    session = runtime.InferenceSession(tmp_path / "vocoder.onnx", providers=["CPUExecutionProvider"])
    for frames in (1, 23):
        given = vocoder_onnx.inputs(vocoder, frames=frames)
        given["ids"] = ids(frames)[None]
        for name in given.keys() & {"speaker", "pitch"}:
            given[name] = torch.ones_like(given[name])
        (found,) = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})
        with torch.no_grad():
            expected = vocoder(given["ids"], given.get("speaker"), pitch=given.get("pitch")).numpy()
        assert found.shape == (1, frames * 20)
        np.testing.assert_allclose(found, expected, atol=2e-6)

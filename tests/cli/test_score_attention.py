"""`speechssl score attention` on two tiny encoders."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl import encoders
from speechssl.cli import main
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.metrics.attention_similarity import HeadSimilarity
from speechssl.nn.attention_maps import attention_maps
from speechssl.nn.initialize import initialize
from tests.encoders.tiny import TINY


def encoder(folder: Path, family: str, seed: int) -> Pretrained:
    model = encoders.build(family, TINY[family][0])
    initialize(model, torch.Generator().manual_seed(seed))
    made = Pretrained(model.eval(), EncoderCard(family, TINY[family][0], name=family))
    pretrained.save(folder, made)
    return made


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for k in range(3):
        wav = np.random.default_rng(k).normal(size=5000 + 1000 * k) * 0.1
        soundfile.write(tmp_path / "in" / f"u{k}.wav", wav, 16_000)
    return tmp_path


def scored(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict:
    capsys.readouterr()
    assert main(["score", "attention", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_blocks_are_compared_with_themselves_and_with_another_model(
    speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = encoder(speech / "one", "hubert", 0), encoder(speech / "other", "wavlm", 1)
    found = scored(capsys, speech / "in", "--encoder", speech / "one")
    count = one.encoder.num_layers
    cells = {(row["x"], row["y"]): row["correlation"] for row in found["blocks"]}
    assert found["utterances"] == 3 and len(cells) == count**2
    assert [cells[k, k] for k in range(1, count + 1)] == pytest.approx([1] * count) and cells[1, 2] < 0.9
    pair = scored(capsys, speech / "in", "--encoder", speech / "one", "--other", speech / "other", "--layers", 2, 1)
    expected = HeadSimilarity()
    for k in range(3):
        wav = torch.from_numpy(soundfile.read(speech / "in" / f"u{k}.wav", dtype="float32")[0])
        left, right = (attention_maps(side.encoder, lambda side=side, wav=wav: side.all_layers(wav))
                       for side in (one, other))  # fmt: skip
        expected.add(left[1][0].numpy(), right[0][0].numpy())
    assert pair["blocks"] == [{"x": 2, "y": 1, "correlation": pytest.approx(expected.correlation(), abs=1e-5),
                               "overlap": pytest.approx(expected.overlap(), abs=1e-5)}]  # fmt: skip
    assert main(["score", "attention", str(speech / "in"), "--encoder", str(speech / "one")]) == 0
    assert "1.0000" in capsys.readouterr().out


def test_what_cannot_be_compared_is_said(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder(speech / "one", "hubert", 0)
    encoder(speech / "none", "tdnn", 0)
    assert main(["score", "attention", str(speech / "in"), "--encoder", str(speech / "none")]) == 2
    assert "a tdnn encoder has no attention" in capsys.readouterr().err
    wrong = ["score", "attention", str(speech / "in"), "--encoder", str(speech / "one"), "--layers", "1", "99"]
    assert main(wrong) == 2 and "blocks are 1.." in capsys.readouterr().err
    soundfile.write(speech / "in" / "short.wav", np.zeros(10), 16_000)
    found = scored(capsys, speech / "in", "--encoder", speech / "one", code=1)
    assert found["utterances"] == 3 and list(found["skipped"]) == ["short"]

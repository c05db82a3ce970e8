"""`speechssl speak` and `load_text_to_units`: words, files and folders to units and speech; what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import speechssl
from speechssl import cli
from speechssl.decoders import seq2seq, unit_seq2seq
from speechssl.decoders.search import Search
from speechssl.decoders.vocabulary import of_characters
from speechssl.errors import CheckpointError
from speechssl.generation.model import Output
from speechssl.generation.text_to_units import Speakers, TextToUnits
from speechssl.nn.adaptor import Config as Adaptor
from speechssl.nn.mel_definition import MelDefinition
from speechssl.units import mel_decoder, mel_vocoder, vocoder
from speechssl.vocoders.mel_decoder import Config as MelConfig
from speechssl.vocoders.mel_decoder import MelDecoder
from speechssl.vocoders.mel_vocoder import Config as MelVocoderConfig
from speechssl.vocoders.mel_vocoder import MelVocoder
from tests.cli.test_translate import GENERATOR, SPOKEN
from tests.cli.test_translate import vocoder as one_voice

__all__ = ["one_voice"]  # a fixture
SHORT = ["--max-tokens", "6", "--max-per-symbol", "0", "--beam", "2"]
MELS = MelConfig(num_units=9, num_mels=10, dim=16, ffn_dim=16, num_layers=1, num_heads=2)
SPEAKABLE = [*SHORT, "--min-tokens", "5"]


def model(folder: Path, unit_model: str | None = SPOKEN.sha256, *, told: bool = False, reduced: bool = True,
          size: int = 9) -> TextToUnits:  # fmt: skip
    torch.manual_seed(0)
    vocabulary = of_characters(["une grenouille"])
    shape = seq2seq.DecoderShape(dim=16, ffn_dim=16, num_layers=1, num_heads=2, max_positions=50)
    adaptor = Adaptor(strides=(), channels=16, dim=16, ffn_dim=16, num_layers=1, num_heads=2)
    parts = unit_seq2seq.Model(unit_seq2seq.Config(size, 2, adaptor, shape, len(vocabulary), 3 * told))
    found = TextToUnits(parts, vocabulary, ("es", "fr"), Output("units", reduced, SPOKEN.rate_hz, unit_model),
                        speakers=Speakers(("anna", "bert")) if told else None,
                        voices=torch.tensor([[5.0, 0, -5], [-5, 5, 0]]) if told else None)  # fmt: skip
    found.save(folder)
    return found


def speak(*arguments: Any) -> int:
    return cli.main(["speak", *map(str, arguments)])


def test_words_are_printed_as_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model(tmp_path / "model")
    loaded = speechssl.load_text_to_units(tmp_path / "model")
    search = Search(beam=2, max_tokens=6)
    assert speak("une", "grenouille", "--model", tmp_path / "model", "--language", "fr", *SHORT) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"text-{number} {' '.join(map(str, loaded(text, 'fr', search=search)))}"
                     for number, text in enumerate(("une", "grenouille"), 1)]  # fmt: skip


def test_texts_of_a_folder_are_said_in_their_languages_and_what_cannot_be_is_a_failure(tmp_path: Path) -> None:
    model(tmp_path / "model")
    data = tmp_path / "data"
    data.mkdir()
    (data / "text").write_text("a une\nb une\nempty\nodd Xavier\n")
    (data / "utt2lang").write_text("a es\nb fr\nempty fr\nodd es\n")
    start = [data, "--model", tmp_path / "model", *SHORT, "--num-best", 2]
    assert speak(*start, "-o", tmp_path / "out") == 1
    loaded, search = speechssl.load_text_to_units(tmp_path / "model"), Search(beam=2, max_tokens=6)
    lines = [line.split() for line in (tmp_path / "out" / "units").read_text().splitlines()]
    assert lines == [["a", *map(str, loaded("une", "es", search=search))],
                     ["b", *map(str, loaded("une", "fr", search=search))]]  # fmt: skip
    failures = (tmp_path / "out" / "failures.tsv").read_text()
    assert "empty\ttext\tan empty text" in failures and "odd\ttext\tnot in the vocabulary: 'X'" in failures
    assert len((tmp_path / "out" / "nbest.tsv").read_text().splitlines()) == 1 + 2 * 2
    before = (tmp_path / "out" / "units").read_bytes()
    assert speak(*start, "-o", tmp_path / "out") == 1 and (tmp_path / "out" / "units").read_bytes() == before
    assert speak(*start, "-o", tmp_path / "out", "--language", "fr") == 2, "a folder holds what it holds"
    assert speak(data / "text", *start[1:], "--language", "fr", "-o", tmp_path / "fr") == 1
    fr = (tmp_path / "fr" / "units").read_text().splitlines()
    assert [line.split()[1:] for line in fr] == [lines[1][1:]] * 2


def test_units_are_spoken_by_a_vocoder_of_their_own_model(one_voice: str, tmp_path: Path) -> None:
    model(tmp_path / "model")
    out = tmp_path / "out"
    assert speak("une grenouille", "--model", tmp_path / "model", "--language", "fr", "--vocoder", one_voice, "-o", out,
                 "--json", *SPEAKABLE) == 0  # fmt: skip
    units = [int(unit) for unit in (out / "units").read_text().split()[1:]]
    (name, path), *rest = [line.split(" ", 1) for line in (out / "speech" / "wav.scp").read_text().splitlines()]
    voice = speechssl.load_vocoder(one_voice)
    ids = np.array(units)[np.diff(units, prepend=-1) != 0]
    wanted = voice(torch.from_numpy(ids.repeat(voice.predict_durations(ids))))
    assert name == "text-1" and not rest
    found = speechssl.read_audio(path).samples
    np.testing.assert_allclose(found, wanted.clamp(-1, 1).numpy(), atol=1e-4)


def test_who_speaks_is_told_to_the_model_and_to_the_voice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = model(tmp_path / "model", told=True, reduced=False)
    start = ["une grenouille", "--model", tmp_path / "model", "--language", "fr", *SPEAKABLE]
    printed = {}
    np.save(tmp_path / "anna.npy", np.array([5.0, 0, -5], np.float32))
    for speaker in ("anna", "bert", str(tmp_path / "anna.npy")):
        assert speak(*start, "--speaker", speaker) == 0
        printed[speaker] = capsys.readouterr().out
    assert printed["anna"] == printed[str(tmp_path / "anna.npy")] != printed["bert"]
    torch.manual_seed(0)
    config = MelConfig(
        num_units=9, num_mels=10, dim=16, ffn_dim=16, num_layers=1, num_heads=2, speakers=("anna", "bert")
    )
    mels = MelDecoder(config).eval()
    assert mels.rate_hz == SPOKEN.rate_hz
    mel_decoder.save(tmp_path / "mels", mels, SPOKEN)
    waves = {}
    for speaker in ("anna", "bert"):
        out = tmp_path / speaker
        assert speak(*start, "--speaker", speaker, "--mel-decoder", tmp_path / "mels", "-o", out) == 0
        assert (out / "speech" / "utt2spk").read_text() == f"text-1 {speaker}\n"
        waves[speaker] = (out / "speech" / "wav.scp").read_text().split()[1]
    spectral = {"kind": "spectral", "channels": 8, "num_blocks": 1, "hop": 320, "window": 640}
    mel_vocoder.save(tmp_path / "behind", MelVocoder(MelVocoderConfig(config.mel_definition, 2, spectral)))
    mel_vocoder.save(tmp_path / "others", MelVocoder(MelVocoderConfig(MelDefinition(), 2, spectral)))
    told = [*start, "--speaker", "anna", "--mel-vocoder"]
    assert speak(*told, tmp_path / "behind", "--mel-decoder", tmp_path / "mels", "-o", tmp_path / "spoken") == 0
    path = (tmp_path / "spoken" / "speech" / "wav.scp").read_text().split()[1]
    assert len(speechssl.read_audio(path).samples) == len(speechssl.read_audio(waves["anna"]).samples)
    assert Path(path).read_bytes() != Path(waves["anna"]).read_bytes()
    for options, message in (([tmp_path / "others", "--mel-decoder", tmp_path / "mels"], "num_mels 80, not 10"),
                             ([tmp_path / "behind"], "give --mel-decoder, too")):  # fmt: skip
        assert speak(*told, *options, "-o", tmp_path / "no") == 2
        assert message in capsys.readouterr().err
    units = [len((tmp_path / speaker / "units").read_text().split()) - 1 for speaker in waves]
    samples = [len(speechssl.read_audio(path).samples) for path in waves.values()]
    assert samples == [count * found.output.rate_hz**-1 * mels.config.sample_rate for count in units]


def test_what_cannot_be_said_is_an_error_before_anything_is_written(
    one_voice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model(tmp_path / "model"), model(tmp_path / "foreign", "1" * 64), model(tmp_path / "unknown", None)
    model(tmp_path / "told", told=True), model(tmp_path / "many", size=10)
    torch.manual_seed(0)
    mels = MelDecoder(MELS).eval()
    mel_decoder.save(tmp_path / "mels", mels, SPOKEN)
    mute = vocoder.UnitVocoder(vocoder.Config(num_units=9, dim=4, generator=GENERATOR)).eval()
    vocoder.save(tmp_path / "mute", mute, SPOKEN)
    (tmp_path / "text").write_text("a une\n")
    voice = ["--vocoder", one_voice]
    for name, options, message in (
        ("model", [], "speaks es, fr: say which (--language)"),
        ("model", ["--language", "de"], "does not speak 'de', but es, fr"),
        ("model", ["--language", "fr", "--speaker", "anna"], "not told who speaks"),
        ("model", ["--language", "fr", *voice, "--speaker", "anna"], "can be nobody else"),
        ("told", ["--language", "fr"], "must be told who speaks"),
        ("foreign", ["--language", "fr", *voice], "units of unit model 1111"),
        ("unknown", ["--language", "fr", *voice], "does not say which unit model"),
        ("many", ["--language", "fr", *voice], "speaks 9 units, the model says 10"),
        ("model", ["--language", "fr", "--vocoder", tmp_path / "mute"], "predicts no durations"),
        ("model", ["--language", "fr", "--mel-decoder", tmp_path / "mels"], "runs are merged"),
        ("model", ["--language", "fr", "--beam", "0"], "num_best <= beam"),
        ("text", [], "no model from text to units there"),
    ):
        assert speak(tmp_path / "text", "--model", tmp_path / name, "-o", tmp_path / "out", *options) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
    start = ["--model", tmp_path / "model", "--language", "fr"]
    for given, message in (
        (["", *start], "an empty text"),
        (["Uhu", *start], "not in the vocabulary: 'U' (U+0055)"),
        ([tmp_path / "text", "une", *start], "one file or folder of texts, or texts themselves"),
        (["une", *start, "--json"], "need an output folder"),
        (["une", *start, *voice], "need an output folder"),
        (["une", *start, "--num-best", "2"], "no effect without an output folder"),
    ):
        assert speak(*given) == 2
        assert message in capsys.readouterr().err


def test_the_card_says_what_it_is_and_nothing_can_be_changed(tmp_path: Path) -> None:
    found = model(tmp_path / "model", told=True)
    path = tmp_path / "model" / "card.json"
    card = json.loads(path.read_text())
    assert (card["languages"], card["speakers"]["names"]) == (["es", "fr"], ["anna", "bert"])
    assert card["sha256"] == found.sha256 == TextToUnits.load(path.parent).sha256
    for old, new in (('"fr"', '"de"'), ('"anna"', '"lena"'), ('"ffn_dim": 16', '"ffn_dim": 17'), ("text-to", "to")):
        path.write_text(json.dumps(card).replace(old, new))
        with pytest.raises(CheckpointError):
            TextToUnits.load(path.parent)

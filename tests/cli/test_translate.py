"""`speechssl translate` and `load_translator`: what the model says, into a folder; what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import speechssl
from recipes.shared import make_encoder
from speechssl import cli
from speechssl.audio import write
from speechssl.decoders import seq2seq
from speechssl.decoders.search import Search
from speechssl.generation.model import Output, Seq2Seq
from speechssl.nn.adaptor import Config as Adaptor
from speechssl.units import mel_decoder
from speechssl.units import vocoder as vocoders
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.durations import Settings as DurationSettings
from speechssl.vocoders.mel_decoder import Config as MelConfig
from speechssl.vocoders.mel_decoder import MelDecoder
from speechssl.vocoders.unit_vocoder import Config, UnitVocoder

GENERATOR = {"kind": "wave", "channels": 32, "strides": [5, 4, 4, 4], "kernels": [3], "dilations": [1]}
SPOKEN = SpokenUnits(9, 50.0, "a" * 64, "test")


@pytest.fixture
def vocoder(tmp_path: Path) -> str:
    """The folder of an untrained one of nine units."""
    torch.manual_seed(0)
    module = UnitVocoder(Config(num_units=9, dim=4, generator=GENERATOR, durations=DurationSettings(hidden=4))).eval()
    vocoders.save(tmp_path / "vocoder", module, SPOKEN)
    return str(tmp_path / "vocoder")


def model(output: Output, num_symbols: int = 7) -> Seq2Seq:
    values = {"family": "conformer", "num_mels": 20, "num_layers": 0, "dim": 40, "projection": False}
    encoder, card = make_encoder(values, normalize=None, seed=0, purpose="test")
    torch.manual_seed(0)
    shape = seq2seq.DecoderShape(dim=16, ffn_dim=16, num_layers=1, num_heads=2, max_positions=500)
    adaptor = Adaptor(channels=16, dim=16, ffn_dim=16, num_layers=1, num_heads=2)
    parts = seq2seq.Model(seq2seq.Config(num_symbols, adaptor=adaptor, decoder=shape), encoder.dim)
    return Seq2Seq(encoder, card, parts, output)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and three recordings: two that can be used, one of 61 s."""
    model(Output("units", True, 50.0, "0" * 64)).save(tmp_path / "model")
    audio = tmp_path / "audio"
    audio.mkdir()
    rng = np.random.default_rng(0)
    for name, samples in (("a", 9000), ("b", 5000), ("long", 61 * 16000)):
        write(audio / f"{name}.wav", rng.normal(0, 0.1, samples).astype(np.float32), 16000)
    return tmp_path / "model", audio


def test_what_is_written_is_what_the_model_says_of_each_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    path, audio = folders
    options = ["--beam", "3", "--num-best", "2", "--max-tokens", "6", "--max-per-frame", "0"]
    out = tmp_path / "out"
    assert cli.main(["translate", str(audio), "--model", str(path), "-o", str(out), *options]) == 1
    translator = speechssl.load_translator(path)
    search = Search(beam=3, max_tokens=6)
    lines = [line.split(" ") for line in (out / "units").read_text().splitlines()]
    assert [name for name, *_ in lines] == ["a", "b"]
    for name, *units in lines:
        assert units == list(map(str, translator(audio / f"{name}.wav", search=search).tolist()))
    ranks = [line.split("\t") for line in (out / "nbest.tsv").read_text().splitlines()[1:]]
    assert [(row[0], row[1]) for row in ranks] == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    assert float(ranks[0][2]) >= float(ranks[1][2])
    assert "long\ttoo-long" in (out / "failures.tsv").read_text()
    before = (out / "units").read_bytes()
    assert cli.main(["translate", str(audio), "--model", str(path), "-o", str(out), *options]) == 1
    assert (out / "units").read_bytes() == before
    assert cli.main(["translate", str(audio), "--model", str(path), "-o", str(out)]) == 2  # another search


def test_what_cannot_be_said_is_an_error_before_anything_is_written(
    folders: tuple[Path, Path], vocoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, audio = folders
    start = ["translate", str(audio), "--model", str(path), "-o", str(tmp_path / "out")]
    for options, message in (
        (["--to", "text"], "--to text is not possible"),
        (["--to", "speech"], "needs a vocoder"),
        (["--vocoder", vocoder], "needs a vocoder"),
        (["--to", "speech", "--vocoder", vocoder], "they are not the same"),
        (["--speaker", "anna"], "--speaker has no effect without a voice"),
        (["--to", "speech", "--vocoder", vocoder, "--speaker", "anna"], "can be nobody else"),
        (["--to", "speech", "--mel-vocoder", vocoder], "give --mel-decoder, too"),
    ):
        assert cli.main([*start, *options]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
    for unit_model, message in (("1" * 64, "units of unit model 1111"), (None, "does not say which unit model")):
        model(replace(Output("units", True, 50.0), unit_model=unit_model), 9).save(tmp_path / "other")
        assert cli.main(["translate", str(audio), "--model", str(tmp_path / "other"), "-o", str(tmp_path / "out"),
                         "--to", "speech", "--vocoder", vocoder]) == 2  # fmt: skip
        assert message in capsys.readouterr().err


def test_units_of_the_vocoders_own_model_are_spoken(folders: tuple[Path, Path], vocoder: str, tmp_path: Path) -> None:
    model(Output("units", True, SPOKEN.rate_hz, SPOKEN.sha256), SPOKEN.num_units).save(tmp_path / "fitting")
    out = tmp_path / "out"
    code = cli.main(["translate", str(folders[1]), "--model", str(tmp_path / "fitting"), "-o", str(out), "--max-tokens",
                     "20", "--max-per-frame", "0", "--min-tokens", "15", "--to", "speech", "--vocoder", vocoder,
                     "--json"])  # fmt: skip
    assert code == 1
    vocoders.save(tmp_path / "strange", vocoders.load(vocoder).module, replace(SPOKEN, sha256=""))
    model(Output("units", True, 50.0), 9).save(tmp_path / "elsewhere")  # neither says whose units: who gives them knows
    assert cli.main(["translate", str(folders[1]), "--model", str(tmp_path / "elsewhere"), "-o", str(tmp_path / "two"),
                     "--max-tokens", "20", "--min-tokens", "15", "--to", "speech", "--vocoder",
                     str(tmp_path / "strange")]) == 1  # fmt: skip
    spoken = [line.split(" ")[0] for line in (out / "speech" / "wav.scp").read_text().splitlines()]
    assert spoken == ["a", "b"] and json.loads((out / "translate.json").read_text())["format"].startswith("speechssl")


def test_a_mel_decoder_speaks_units_of_all_frames_as_whoever_it_knows(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    config = MelConfig(
        num_units=9, num_mels=10, dim=16, ffn_dim=16, num_layers=1, num_heads=2, speakers=("anna", "bert")
    )
    mel_decoder.save(tmp_path / "mels", MelDecoder(config).eval(), SPOKEN)
    for reduced in (False, True):
        output = Output("units", reduced, SPOKEN.rate_hz, SPOKEN.sha256)
        model(output, SPOKEN.num_units).save(tmp_path / f"reduced-{reduced}")

    def translate(reduced: bool, *options: str) -> int:
        return cli.main(["translate", str(folders[1]), "--model", str(tmp_path / f"reduced-{reduced}"), "--max-tokens",
                         "20", "--max-per-frame", "0", "--min-tokens", "15", "--to", "speech", "--mel-decoder",
                         str(tmp_path / "mels"), *options])  # fmt: skip

    waves = {}
    for speaker in ("anna", "bert"):
        out = tmp_path / speaker
        assert translate(False, "--speaker", speaker, "-o", str(out)) == 1  # the recording of 61 s is left out
        assert (out / "speech" / "utt2spk").read_text() == f"a {speaker}\nb {speaker}\n"
        waves[speaker] = speechssl.read_audio((out / "speech" / "wav.scp").read_text().split()[1]).samples
    assert len(waves["anna"]) == len(waves["bert"]) and not np.array_equal(waves["anna"], waves["bert"])
    for reduced, options, message in (
        (False, [], "speaker None: not one of"), (True, ["--speaker", "anna"], "predicts no durations"),
    ):  # fmt: skip
        assert translate(reduced, *options, "-o", str(tmp_path / "none")) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "none").exists()

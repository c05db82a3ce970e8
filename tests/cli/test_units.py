"""The verbs units, features and verify as a user calls them: words in, files and exit codes out."""

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
from speechssl.extract.outputs import read_units
from speechssl.quantizers.kmeans import KMeans
from speechssl.units.model import UnitModel
from tests.extract.helpers import corpus, model

HUBERT = {
    "conv_layers": [[8, 10, 5], [8, 3, 2], [8, 3, 2], [8, 3, 2], [8, 3, 2], [8, 2, 2], [8, 2, 2]],
    "dim": 16, "ffn_dim": 32, "num_layers": 3, "num_heads": 2, "pos_conv_kernel": 16, "pos_conv_groups": 4,
}  # fmt: skip


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A folder of six recordings, and a unit model beside it."""
    corpus(tmp_path / "in", 6)
    model(tmp_path / "model")
    return tmp_path


def words(root: Path, *more: object) -> list[str]:
    return [str(w) for w in ("units", root / "in", "-o", root / "out", "--model", root / "model", *more)]


def test_a_folder_to_units_with_a_report_and_exit_code_0(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(speech, "--workers", "1", "--format", "text,jsonl")) == 0
    output = capsys.readouterr().out
    assert "units of 6 utterances" in output and "x real time" in output
    assert len((speech / "out" / "units").read_text().splitlines()) == 6
    assert main(["verify", str(speech / "out")]) == 0
    assert "files are as written" in capsys.readouterr().out


def test_skipped_utterances_are_exit_code_1_and_stand_in_the_json_report(
    speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (speech / "in" / "bad.wav").write_bytes(b"")
    assert main(words(speech, "--workers", "0", "--json")) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["failures"], report["finished"]) == (6, {"empty": 1}, True)
    assert main(words(speech, "--json")) == 1
    assert json.loads(capsys.readouterr().out)["nothing_to_do"]


def test_a_flipped_bit_makes_verify_fail(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(words(speech, "--workers", "0", "--quiet"))
    path = speech / "out" / "units"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert main(["verify", str(speech / "out")]) == 2
    assert "units: changed since it was written" in capsys.readouterr().out


def test_units_on_stdout(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((speech / "in" / "a").iterdir())[:2]
    (speech / "empty.wav").write_bytes(b"")
    code = main(["units", *map(str, files), str(speech / "empty.wav"), "-o", "-", "--model", str(speech / "model")])
    output = capsys.readouterr()
    unit_model = UnitModel.load(speech / "model")
    assert output.out == "".join(f"in/a/{path.stem} {unit_model(path).text()}\n" for path in files)
    assert "skipped: empty\tempty" in output.err
    assert code == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "4/4"], "expected I/N"),
        (["--shard", "x"], "expected I/N"),
        (["--workers", "-1"], "must be positive"),
        (["--window", "5", "--overlap", "3"], "more than twice"),
        (["--format", "csv"], "unknown format 'csv'"),
        (["--format", "text,text"], "each output format once"),
        (["--layer", "3"], "leave --layer and --kmeans out"),
        (["--shard-size", "0"], "at least 1"),
        (["--overwrite", "--shard", "0/2"], "remove the folder first"),
    ],
)
def test_senseless_words_are_exit_code_2_and_leave_no_folder(
    speech: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(words(speech, *more)) == 2
    assert message in capsys.readouterr().err
    assert not (speech / "out").exists()


def test_missing_input_and_missing_model_are_exit_code_2(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["units", str(speech / "nowhere"), "-o", str(speech / "out"), "--model", str(speech / "model")]) == 2
    assert main(["units", str(speech / "in"), "-o", str(speech / "out"), "--model", str(speech / "nowhere")]) == 2
    assert main(["verify", str(speech / "nowhere")]) == 2
    assert "no unit model there" in capsys.readouterr().err


def test_a_released_style_encoder_with_its_k_means_from_features_to_units(speech: Path) -> None:
    """`features` of a HuBERT, a codebook as .npy, `units`: the ids are the nearest centroids of layer 2."""
    torch.manual_seed(0)
    encoder = Pretrained(encoders.build("hubert", HUBERT).eval(), EncoderCard("hubert", HUBERT, name="tiny"))
    pretrained.save(speech / "hubert", encoder)
    features = ["features", str(speech / "in"), "-o", str(speech / "f"), "--encoder", str(speech / "hubert")]
    assert main([*features, "--workers", "0"]) == 2, "a layer must be said"
    assert main([*features, "--layer", "2", "--workers", "0", "--shard-size", "6", "--quiet"]) == 0
    frames = np.load(speech / "f" / "shards" / "features_0_1.npy")
    centroids = frames[:: max(1, len(frames) // 7)][:7]
    np.save(speech / "km.npy", centroids)
    units = ["units", str(speech / "in"), "-o", str(speech / "u"), "--encoder", str(speech / "hubert")]
    assert main([*units, "--layer", "2", "--kmeans", str(speech / "km.npy"), "--workers", "2", "--quiet"]) == 0
    expected = torch.cdist(torch.from_numpy(frames).double(), torch.from_numpy(centroids).double()).argmin(1)
    found = np.concatenate([units.ids for _, units in read_units(speech / "u")])
    assert found.tolist() == expected.tolist()
    unit_model = UnitModel(encoder, 2, KMeans(torch.from_numpy(centroids)))
    sidecar = json.loads((speech / "u" / "units.json").read_text())
    assert sidecar["model"]["unit_model"] == unit_model.hash
    assert sidecar["model"]["encoder"]["sha256"] == encoder.sha256
    unit_model.save(speech / "external", embed_encoder=False)
    again = [
        "units",
        str(speech / "in"),
        "-o",
        str(speech / "e"),
        "--model",
        str(speech / "external"),
        "--workers",
        "0",
    ]
    assert main(again) == 2, "its encoder is nowhere to be found"
    assert main([*again, "--encoder", str(speech / "hubert")]) == 0
    assert (speech / "e" / "units").read_bytes() == (speech / "u" / "units").read_bytes()


def test_pipes_are_refused_without_the_word(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (speech / "data").mkdir()
    (speech / "data" / "wav.scp").write_text(f"u1 touch {speech}/touched; cat {speech}/in/a/u000.wav |\n")
    assert main(["units", str(speech / "data"), "-o", str(speech / "out"), "--model", str(speech / "model")]) == 2
    assert "wav.scp:1" in capsys.readouterr().err
    assert not (speech / "touched").exists()


def test_a_kaldi_data_dir_with_segments(speech: Path) -> None:
    data = speech / "data"
    data.mkdir()
    soundfile.write(speech / "long.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 32000), 16000)
    (data / "wav.scp").write_text(f"rec {speech}/long.wav\n")
    (data / "segments").write_text("a rec 0.0 0.5\nb rec 0.5 1.5\n")
    assert (
        main(["units", str(data), "-o", str(speech / "out"), "--model", str(speech / "model"), "--workers", "0"]) == 0
    )
    samples = soundfile.read(speech / "long.wav", dtype="float32")[0]
    unit_model = UnitModel.load(speech / "model")
    expected = {"a": unit_model(samples[:8000], 16000), "b": unit_model(samples[8000:24000], 16000)}
    assert dict(read_units(speech / "out")) == expected

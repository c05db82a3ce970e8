"""`speechssl convert`: formats in and out, the report, and refusals."""

import json
from pathlib import Path

import pytest

import speechssl
from speechssl.cli import main
from tests.convert import oracles


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oracles.save(oracles.make("hubert-large"), tmp_path_factory.mktemp("model") / "hf", normalize=True)


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main(["convert", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_there_and_back_is_the_same_model(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sha256 = speechssl.load_encoder(source).sha256
    previous = source
    for to in ("speechssl", "huggingface", "speechssl"):
        destination = tmp_path / f"{to}-{previous.name}"
        code, out, _ = run(capsys, previous, destination, "--to", to)
        assert code == 0
        assert sha256 in out
        assert f"{destination} ({to})" in out
        previous = destination
    assert speechssl.load_encoder(previous).sha256 == sha256


def test_fairseq2_card_names_the_final_place(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, source, tmp_path / "fs2", "--to", "fairseq2")
    assert code == 0
    assert "zeros" in out
    card = json.loads((tmp_path / "fs2" / "card.yaml").read_text())
    assert card["checkpoint"] == (tmp_path / "fs2" / "model.safetensors").as_uri()
    assert speechssl.load_encoder(tmp_path / "fs2").card.normalize is True


def test_report_as_json(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, source, tmp_path / "out", "--normalize", "no", "--json")
    values = json.loads(out)
    assert code == 0
    assert (values["family"], values["format"], values["to"]) == ("hubert", "huggingface", "speechssl")
    assert values["normalize"] is False
    assert "masked_spec_embed" in values["left_out"]
    assert any("which is used" in note for note in values["notes"])
    assert speechssl.load_encoder(tmp_path / "out").card.normalize is False


def test_nothing_is_overwritten(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    code, _, err = run(capsys, source, tmp_path / "out")
    assert code == 2
    assert "nothing is overwritten" in err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["precious"]


def test_refused_model_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "mfcc", tmp_path / "out", "--to", "huggingface")
    assert code == 2
    assert "no model for mfcc" in err
    assert list(tmp_path.iterdir()) == []


def test_model_without_weights_is_written_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "mfcc", tmp_path / "out")[0] == 0
    assert speechssl.load_encoder(tmp_path / "out").sha256 == speechssl.load_encoder("mfcc").sha256


def test_missing_source_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, tmp_path / "absent.pt", tmp_path / "out", "--offline")
    assert code == 2
    assert "absent.pt" in err
    assert not (tmp_path / "out").exists()

"""`speechssl translate` and `load_translator` with a model of units: from units, from speech; what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import speechssl
from speechssl import cli
from speechssl.audio import write
from speechssl.decoders import seq2seq, unit_seq2seq
from speechssl.decoders.search import Search
from speechssl.errors import ConfigError, DataError
from speechssl.generation.model import Output
from speechssl.generation.unit_translator import UnitTranslator
from speechssl.nn.adaptor import Config as Adaptor
from tests.cli.test_translate import SPOKEN, vocoder

__all__ = ["vocoder"]  # a fixture
SHORT = ["--max-tokens", "6", "--max-per-frame", "0", "--beam", "2"]


def model(folder: Path, unit_model: str | None, size: int = 9) -> UnitTranslator:
    torch.manual_seed(0)
    shape = seq2seq.DecoderShape(dim=16, ffn_dim=16, num_layers=1, num_heads=2, max_positions=500)
    adaptor = Adaptor(strides=(), channels=16, dim=16, ffn_dim=16, num_layers=1, num_heads=2)
    parts = unit_seq2seq.Model(unit_seq2seq.Config(size, 3, adaptor, shape))
    output = Output("units", True, SPOKEN.rate_hz, unit_model)
    found = UnitTranslator(parts, ("es", "fr", "cs"), output, targets=("es", "fr"))
    found.save(folder)
    return found


def units(folder: Path, lines: str, unit_model: str | None, size: int = 9) -> Path:
    """An output folder of `speechssl units`, as far as it is looked at."""
    folder.mkdir()
    card = {"rate_hz": 50.0, "model": {"num_units": size, "unit_model": unit_model},
            "outputs": [{"format": "text", "merged": False}]}  # fmt: skip
    (folder / "units.json").write_text(json.dumps(card))
    (folder / "units").write_text(lines)
    return folder


def test_units_are_translated_into_the_wanted_language_and_none_is_a_failure(tmp_path: Path) -> None:
    model(tmp_path / "model", SPOKEN.sha256)
    given = units(tmp_path / "units", "a 1 1 2 3\nnothing\nb 5\n", SPOKEN.sha256)
    translator = speechssl.load_translator(tmp_path / "model")
    assert isinstance(translator, UnitTranslator)
    for language in ("es", "fr"):
        out = tmp_path / language
        start = ["translate", str(given), "--model", str(tmp_path / "model"), "-o", str(out)]
        assert cli.main([*start, "--target-language", language, *SHORT]) == 1
        lines = [line.split() for line in (out / "units").read_text().splitlines()]
        search = Search(beam=2, max_tokens=6)
        assert lines[0] == ["a", *map(str, translator([1, 2, 3], language, search=search).tolist())]
        assert lines[1] == ["b", *map(str, translator(np.array([5, 5]), language, search=search).tolist())]
        assert "nothing\tno-units" in (out / "failures.tsv").read_text() and len(lines) == 2
    one, other = ((tmp_path / language / "translate.json").read_text() for language in ("es", "fr"))
    assert one != other, "a folder says which language it has"


def test_units_of_the_vocoders_own_model_are_spoken(vocoder: str, tmp_path: Path) -> None:
    model(tmp_path / "model", SPOKEN.sha256)
    given = units(tmp_path / "units", "a 1 1 2 3\n", SPOKEN.sha256)
    start = ["translate", str(given), "--model", str(tmp_path / "model"), "-o", str(tmp_path / "out"), *SHORT]
    options = ["--min-tokens", "4", "--target-language", "fr", "--to", "speech", "--vocoder", vocoder]
    assert cli.main([*start, *options]) == 0
    assert (tmp_path / "out" / "speech" / "wav.scp").read_text().startswith("a ")


def test_recordings_go_through_the_unit_model_of_the_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    default = speechssl.load_unit_model("default")
    translator = model(tmp_path / "model", default.hash, default.size)
    (tmp_path / "audio").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 9000).astype(np.float32)
    write(tmp_path / "audio" / "a.wav", noise, 16000)
    start = ["translate", str(tmp_path / "audio"), "--target-language", "fr", *SHORT]
    assert cli.main([*start, "--model", str(tmp_path / "model"), "-o", str(tmp_path / "out")]) == 0
    made = default(tmp_path / "audio" / "a.wav")
    wanted = translator(made, "fr", search=Search(beam=2, max_tokens=6)).tolist()
    assert (tmp_path / "out" / "units").read_text().split() == ["a", *map(str, wanted)]
    model(tmp_path / "other", "c" * 64, default.size)
    for options, message in (([], "--units MODEL"), (["--units", "default"], "makes other units")):
        assert cli.main([*start, *options, "--model", str(tmp_path / "other"), "-o", str(tmp_path / "none")]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_what_cannot_be_translated_is_an_error_before_anything_is_written(
    vocoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    translator = model(tmp_path / "model", SPOKEN.sha256)
    good = units(tmp_path / "good", "a 1 2\n", SPOKEN.sha256)
    foreign, many = units(tmp_path / "foreign", "a 1\n", "d" * 64), units(tmp_path / "many", "a 1\n", None, 10)
    start = ["--model", str(tmp_path / "model"), "-o", str(tmp_path / "out"), *SHORT]
    for given, options, message in (
        (good, [], "into es, fr: say which (--target-language)"),
        (good, ["--target-language", "cs"], "does not translate into 'cs', but into es, fr"),
        (good, ["--target-language", "fr", "--units", "default"], "no effect on an output folder"),
        (good, ["--target-language", "fr", "--ctc-weight", "0.5"], "no CTC head"),
        (good, ["--target-language", "fr", "--to", "text"], "--to text is not possible"),
        (foreign, ["--target-language", "fr"], "units of another unit model"),
        (many, ["--target-language", "fr"], "a codebook of 10, not of 9"),
    ):
        assert cli.main(["translate", str(given), *start, *options]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="without units"):
        translator([], "fr")
    with pytest.raises(DataError, match=r"knows the units 0\.\.8"):
        translator([9], "fr")
    with pytest.raises(ConfigError, match="say which"):
        translator([1])


def test_translations_do_not_depend_on_the_neighbours(tmp_path: Path) -> None:
    into = model(tmp_path / "model", None).into("fr")
    rows = [np.array(row) for row in ([1, 2, 3, 4, 5], [6], [7, 8], [])]
    together = into.hypotheses_of(rows, Search(beam=2, max_tokens=8), empty=True)
    for row, found in zip(rows[:3], together, strict=False):
        (alone,) = into.hypotheses_of([row], Search(beam=2, max_tokens=8))
        assert [one.tokens for one in alone] == [one.tokens for one in found]
        assert alone[0].score == pytest.approx(found[0].score, abs=1e-5)
    assert together[3] == []

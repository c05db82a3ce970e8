"""`speechssl score units`: the numbers, what is reported as missing, exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest

from speechssl.cli import main

UNITS = '{"id": "u", "units": [0, 1], "rate_hz": 50.0, "num_units": 4}\n{"id": "v", "units": [1, 1], "rate_hz": 50.0, "num_units": 4}\n'  # noqa: E501
PHONES = "u a a a b\nv b b a b\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "units.jsonl").write_text(UNITS)
    (tmp_path / "phones.txt").write_text(PHONES)
    return str(tmp_path / "units.jsonl"), str(tmp_path / "phones.txt")


def test_prints_and_stores_the_hand_computed_example(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    units, phones = files
    out = tmp_path / "new" / "scores.json"
    assert main(["score", "units", units, "--phones", phones, "--json", "-o", str(out)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row == json.loads(out.read_text())
    assert row["pnmi"] == pytest.approx(1 - 0.75 * 0.9182958340544896)  # worked out in tests/metrics/test_units.py
    assert (row["phone_purity"], row["cluster_purity"], row["active_codes"]) == (0.75, 0.75, 2)
    assert row["bitrate"] == pytest.approx(75)
    assert main(["score", "units", units, "--phones", phones]) == 0
    text = capsys.readouterr().out
    assert "phone purity     0.750000" in text and "active codes     2 of 4" in text


def test_missing_utterances_are_reported_and_change_the_exit_code(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    units, phones = files
    Path(phones).write_text(PHONES.replace("v b b", "w b b"))
    assert main(["score", "units", units, "--phones", phones]) == 1
    text = capsys.readouterr().out
    assert "1 utterances without an alignment, 1 alignments without units, for example v, w" in text
    assert main(["score", "units", units, "--phones", phones, "--allow-missing", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["utterances"] == 1


def test_without_phones_only_what_needs_none(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "units", files[0], "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["pnmi"] is None and row["bitrate"] == pytest.approx(75)
    assert main(["score", "units", files[0]]) == 0
    assert "PNMI" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--phone-rate", "80"], "labels at 80 Hz do not fit units at 50 Hz"),
        (["--phone-rate", "50"], "a stated rate is wrong"),
        (["--unit-rate", "25"], "says rate_hz 50.0, not 25.0"),
        (["--phones-format", "word"], "unknown alignment format"),
        (["--phone-shift", "0.005"], "no whole number of label frames"),
    ],
)
def test_what_does_not_fit_is_an_error(
    options: list[str], message: str, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "units", files[0], "--phones", files[1], *options]) == 2
    assert message in capsys.readouterr().err


def test_nothing_to_score_is_an_error(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[1]).write_text("x a a\n")
    assert main(["score", "units", files[0], "--phones", files[1]]) == 2
    assert "2 utterances with units, 1 with an alignment, none with both" in capsys.readouterr().err
    assert main(["score", "units", files[0], "--phone-shift", "1"]) == 2
    assert "no effect without --phones" in capsys.readouterr().err


@pytest.mark.parametrize("formats", ["text", "jsonl,npz"])
@pytest.mark.parametrize("dedup", [False, True])
def test_scores_an_output_folder_of_speechssl_units(
    formats: str, dedup: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same scores whatever the format, and whether or not runs were merged."""
    import soundfile
    import torch

    from speechssl import api
    from speechssl.quantizers.kmeans import KMeans

    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "u.wav", rng.normal(size=16000) * 0.1, 16000)
    model = api.UnitModel(api.load_encoder("mfcc"), 0, KMeans(torch.randn(5, 39, generator=torch.manual_seed(0)) * 10))
    model.save(tmp_path / "model")
    arguments = ["units", str(tmp_path / "u.wav"), "--model", str(tmp_path / "model"), "-o", str(tmp_path / "out")]
    arguments += ["--format", formats, "--workers", "0", "--quiet", *(["--dedup"] if dedup else [])]
    assert main(arguments) == 0
    (tmp_path / "phones.tsv").write_text("u\t0\t0.5\ta\nu\t0.5\t1.0\tb\n")
    capsys.readouterr()
    assert main(["score", "units", str(tmp_path / "out"), "--phones", str(tmp_path / "phones.tsv"), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    ids = model(tmp_path / "u.wav").ids
    joint = np.zeros((2, 5), int)
    for t in range(2 * len(ids)):
        joint[int(t >= 50), ids[t // 2]] += 1
    assert row["phone_purity"] == pytest.approx(joint.max(0).sum() / joint.sum())
    assert row["seconds"] == pytest.approx(49 / 50)
    assert main(["score", "units", str(tmp_path / "out"), "--num-units", "5"]) == 2
    (tmp_path / "out" / "sha256sums").unlink()
    assert main(["score", "units", str(tmp_path / "out")]) == 2
    assert "not finished" in capsys.readouterr().err


@pytest.mark.corpus
def test_published_scores_from_the_command_line(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = shared / "golden" / "spidr"
    arguments = ["score", "units", str(golden / "units-kmeans.jsonl.gz"), "--phones", str(golden / "phones.jsonl.gz")]
    assert main([*arguments, "--num-units", "256", "--unit-rate", "50"]) == 0
    text = capsys.readouterr().out
    for line in ("PNMI             0.636159", "phone purity     0.672862", "cluster purity   0.144676",
                 "perplexity       233.9696", "bitrate          210.511976 bit/s"):  # fmt: skip
        assert line in text

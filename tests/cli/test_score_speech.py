"""speechssl score speech: synthetic against real recordings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechssl.cli import main
from speechssl.cli._scores._judges import plain
from speechssl.metrics.cepstral import align, distortion, mel_cepstra


def tone(hz: float, seconds: float, seed: int) -> np.ndarray:
    time = np.arange(round(16000 * seconds)) / 16000
    return 0.2 * sum(np.sin(2 * np.pi * hz * k * time) / k for k in (1, 2, 3)) + np.random.default_rng(seed).normal(
        0, 0.01, len(time)
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tones, made an octave higher and a tenth longer; one more on either side."""
    root = tmp_path_factory.mktemp("speech")
    for side, factor, longer in (("real", 1, 1.0), ("made", 2, 1.1)):
        (root / side).mkdir()
        for number, hz in enumerate((100, 160)):
            soundfile.write(root / side / f"u{number}.wav", tone(hz * factor, 0.6 * longer, number), 16000)
        soundfile.write(root / side / f"only_{side}.wav", tone(100, 0.3, 9), 16000)
    return root


def score(folders: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    code = main(["score", "speech", str(folders / "real"), str(folders / "made"), "--json", *options])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else {"error": captured.err}


def test_everything_is_as_it_was_made(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("librosa")
    code, row = score(folders, capsys)
    assert code == 1 and row["one_side_only"] == 2 and row["utterances"] == 2
    assert row["duration_error"] == pytest.approx(0.1, abs=1e-3)
    assert row["duration_ratio"] == pytest.approx(1.1, abs=1e-3)
    assert row["f0_rmse_cents"] == pytest.approx(1200, rel=0.02) and row["f0_gross_error"] == 1.0
    assert row["f0_correlation"] == pytest.approx(1.0, abs=0.01) and row["f0_voicing_error"] < 0.1
    assert row["f0_median_semitones"] == pytest.approx(12, abs=0.3)
    assert row["f0_spread_semitones"] == pytest.approx(row["f0_real_spread_semitones"], abs=0.3)
    low, high = row["intervals"]["f0_rmse_cents"]
    assert low <= row["f0_rmse_cents"] <= high and high == pytest.approx(1200, rel=0.02)


def test_the_distortion_is_over_all_aligned_frames(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, row = score(folders, capsys, "--no-f0", "--allow-missing")
    pairs = []
    for number in range(2):
        one, other = (mel_cepstra(soundfile.read(folders / side / f"u{number}.wav")[0], 16000)
                      for side in ("real", "made"))  # fmt: skip
        path = align(one, other)
        pairs.append((one[path.one], other[path.other]))
    expected = distortion(*(np.concatenate(side) for side in zip(*pairs, strict=True)))
    assert code == 0 and row["mcd_db"] == pytest.approx(expected, rel=1e-4) and "f0_rmse_hz" not in row
    assert score(folders, capsys, "--no-f0", "--align", "none")[1]["mcd_db"] > row["mcd_db"]


def test_figures_have_intervals_and_another_system_is_compared_on_the_same_utterances(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored, other = tmp_path / "made.json", tmp_path / "other"
    code, row = score(folders, capsys, "--no-f0", "--allow-missing", "-o", str(stored))
    assert code == 0 and "each" not in row
    each = json.loads(stored.read_text())["each"]
    assert set(each) == {"u0", "u1"} and each["u0"]["made_s"] == pytest.approx(0.66)
    low, high = row["intervals"]["mcd_db"]
    ends = sorted(one["mcd_db"] for one in each.values())  # of two utterances a draw has either or both
    assert [low, high] == pytest.approx(ends) and low < row["mcd_db"] < high
    other.mkdir()
    for number, hz in enumerate((100, 160)):  # as long as the real one
        soundfile.write(other / f"u{number}.wav", tone(2 * hz, 0.6, number), 16000)
    command = ["score", "speech", str(folders / "real"), str(other), "--no-f0", "--allow-missing"]
    command += ["--other", str(stored)]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["both"] == 2 and set(found["differences"]) == {"mcd_db", "duration_error", "duration_ratio"}
    difference = found["differences"]["duration_ratio"]
    assert difference["difference"] == pytest.approx(-0.1) and difference["share_below"] == 1
    assert difference["interval"] == pytest.approx([-0.1, -0.1])
    assert main(command) == 0
    said = capsys.readouterr().out
    assert (
        f"beside {stored}, 2 utterances of both" in said and "made / real in time      -0.100 [-0.100, -0.100]" in said
    )


@pytest.mark.parametrize(("text", "said"), [
    (None, "No such file"), ("{", "no figures of each"), ('{"mcd_db": 1.0}', "no figures of each"),
    ('{"each": {"u0": 3}}', "no figures of each"), ('{"each": {"stranger": {"mcd_db": 1, "frames": 3}}}', "none of"),
])  # fmt: skip
def test_what_is_no_other_system_is_refused(
    text: str | None, said: str, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "other.json").write_text(text)
    code, row = score(folders, capsys, "--no-f0", "--allow-missing", "--other", str(tmp_path / "other.json"))
    assert code == 2 and said in row["error"]


def test_the_same_speech_has_no_distance_and_units_have_a_bitrate(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = str(folders / "real")
    assert main(["units", real, "-o", str(tmp_path / "units"), "--workers", "0", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["score", "speech", real, real, "--no-f0", "--units", str(tmp_path / "units")]) == 0
    lines = capsys.readouterr().out
    assert "distortion  0.00 dB" in lines and "made / real in time      1.000" in lines
    assert main(["score", "units", str(tmp_path / "units"), "--json"]) in (0, 1)
    expected = json.loads(capsys.readouterr().out)["bitrate"]
    assert f"{expected:.1f} bit/s" in lines


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cer", "text"), "go together"),
        (("--units", "nowhere"), "nowhere"),
        (("--similarity",), "resemblyzer"),
        (("--dnsmos",), "speechmos"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    options: tuple[str, ...], said: str, folders: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for package in ("resemblyzer", "speechmos.dnsmos", "speechmos"):
        monkeypatch.setitem(__import__("sys").modules, package, None)
    code, row = score(folders, capsys, "--no-f0", *options)
    assert code == 2 and said in row["error"]


def test_nothing_in_common_is_an_error(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "other.wav", tone(100, 0.3, 9), 16000)
    assert main(["score", "speech", str(folders / "real"), str(tmp_path), "--no-f0"]) == 2
    assert "nothing to compare" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "package"), [("--similarity", "resemblyzer"), ("--dnsmos", "speechmos.dnsmos")])
def test_other_packages_judge_where_they_are_installed(
    option: str, package: str, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(package, reason=f"pip install {package}")
    real = str(folders / "real")
    assert main(["score", "speech", real, real, "--no-f0", "--json", option]) == 0
    row = json.loads(capsys.readouterr().out)
    if option == "--similarity":
        assert row["similarity"] == pytest.approx(1.0, abs=1e-4)
    else:
        assert 1 <= row["dnsmos_made"] <= 5


def test_texts_are_compared_without_case_and_punctuation() -> None:
    assert plain(" Größe, 3 Äpfel!  ") == "größe 3 äpfel"

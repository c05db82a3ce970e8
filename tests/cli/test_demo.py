"""`speechssl demo` and `speechssl report`: from nothing, from a user's folder, from an output folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl import encoders
from speechssl.cli import main
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.quantizers.kmeans import KMeans
from speechssl.units.card import UnitModelCard
from speechssl.units.model import UnitModel
from tests.report.chromium import BROWSER, Browser
from tests.report.pages import Document

EVIL = "<img src=x onerror=alert(1)> \x1b[31m &quot;"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    pretrained = Pretrained(encoders.build("mfcc", {}).eval(), EncoderCard("mfcc", {}, name="mfcc"))
    samples = torch.randn(80000, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.001, 0.3, 80000)
    frames = pretrained.features(samples, 0)
    UnitModel(pretrained, 0, KMeans(frames[::8].clone()), UnitModelCard("tiny", "CC0-1.0", {"data": "noise"})).save(
        folder
    )
    return str(folder)


def write_wav(path: Path, seconds: float = 1.0, rate: int = 16000, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(len(path.name)).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, noise, rate, subtype="PCM_16")


def test_without_apt_and_network_sentences_are_synthesised_and_called_so(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["demo", "--output", str(tmp_path / "out"), "--model", model, "--num", "3"]) == 0
    said = capsys.readouterr().out
    assert "apt-get is not on the PATH" in said and "SYNTHETIC" in said
    assert str(tmp_path / "out" / "report.html") in said and "bit/s" in said and "real-time factor" in said
    assert [line.split()[0] for line in said.splitlines() if line.startswith("synthetic/")] == [
        f"synthetic/{k:02d}" for k in (1, 2, 3)
    ]
    document = Document((tmp_path / "out" / "report.html").read_text())
    assert document.text("h1") == ["Units of synthetic sentences"]
    assert "Synthetic speech, not recordings" in document.text("p", class_="warning")
    assert len(document.all("audio")) == len(document.all("svg", class_="line labels")) == 3


def test_units_on_the_page_are_those_in_the_folder_and_on_the_terminal(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two words"):
        write_wav(tmp_path / "in" / f"{name}.wav", 1.2)
    assert main(["demo", "-o", str(tmp_path / "out"), "--model", model, "--audio", str(tmp_path / "in")]) == 0
    said = capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "out/units/units.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["one", "two words"]
    texts = Document((tmp_path / "out/report.html").read_text()).text("p", class_="ids")
    loaded = UnitModel.load(model)
    for row, text in zip(rows, texts, strict=True):
        expected = loaded(tmp_path / "in" / f"{row['id']}.wav").dedup().text()
        assert text == expected and f"{row['id']}  1.18 s  {' '.join(expected.split()[:16])}" in said


def test_a_folder_with_a_broken_and_a_stereo_file_gives_a_page_with_a_row_for_the_failure(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "in/good.wav")
    write_wav(tmp_path / "in/stereo.wav", rate=44100, channels=2)
    (tmp_path / "in/broken.wav").write_bytes((tmp_path / "in/good.wav").read_bytes()[:9000])
    assert main(["demo", "-o", str(tmp_path / "out"), "--model", model, "--audio", str(tmp_path / "in")]) == 1
    assert "skipped broken: truncated: " in capsys.readouterr().out
    document = Document((tmp_path / "out/report.html").read_text())
    assert "broken" in document.text("th") and "truncated" in document.text("code")
    assert document.text("h3") == ["good", "stereo"] and len(document.all("audio")) == 2
    notes = " ".join(document.text("p", class_="note"))
    assert "2 channels" in notes and "44100" in notes


def test_names_of_files_become_neither_markup_nor_terminal_commands(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "in" / f"{EVIL}.wav")
    (tmp_path / "in" / f"broken {EVIL}.wav").write_bytes(b"RIFF")
    assert main(["demo", "-o", str(tmp_path / "out"), "--model", model, "--audio", str(tmp_path / "in")]) == 1
    assert "\x1b" not in capsys.readouterr().out
    document = Document((tmp_path / "out/report.html").read_text())
    assert document.text("h3") == [EVIL] and f"broken {EVIL}" in document.text("th")
    assert not document.handlers() and all(u.startswith(("data:", "#")) for u in document.urls())


def test_nothing_usable_is_exit_code_2_and_still_a_page_that_says_why(model: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.wav").write_bytes(b"RIFF")
    assert main(["demo", "-o", str(tmp_path / "out"), "--model", model, "--audio", str(tmp_path / "in")]) == 2
    document = Document((tmp_path / "out/report.html").read_text())
    assert "No utterance gave units." in document.text("p") and "broken" in document.text("th")


def test_the_demo_can_be_run_again_with_other_recordings_and_takes_the_first_num(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(4):
        write_wav(tmp_path / "in" / f"{k}.wav", 0.5)
    arguments = ["demo", "-o", str(tmp_path / "out"), "--model", model]
    assert main([*arguments, "--audio", str(tmp_path / "in")]) == 0
    capsys.readouterr()
    assert main([*arguments, "--audio", str(tmp_path / "in"), "--num", "2"]) == 0
    assert "the first 2 of 4 recordings" in capsys.readouterr().out
    assert Document((tmp_path / "out/report.html").read_text()).text("h3") == ["0", "1"]
    assert main([*arguments, "--num", "0"]) == 2


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)")
def test_the_demo_page_works_in_a_browser(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out/report.html"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        main(["demo", "-o", str(tmp_path / "out"), "--model", model, "--num", "2", "--offline"])
    with Browser(path) as browser:
        browser.wait_for("[...document.querySelectorAll('audio')].filter(a => a.readyState > 0).length == 2")
        browser.run("document.querySelector('audio').play()")
        browser.wait_for("/unit \\d+ .*label [A-Z]+ /.test(document.querySelector('.readout').textContent)")
        browser.wait_for("document.querySelector('audio').ended")
        assert not browser.errors and all(url.startswith(("file:", "data:")) for url in browser.requests)


@pytest.fixture(scope="module")
def output(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of `speechssl units` beside the recordings it was made of."""
    root = tmp_path_factory.mktemp("corpus")
    for name in ("a", "b", "c"):
        write_wav(root / "in" / f"{name}.wav", 0.8)
    assert (
        main(["units", str(root / "in"), "-o", str(root / "out"), "--model", model, "--workers", "0", "--quiet"]) == 0
    )
    return root / "out"


def test_an_output_folder_is_drawn_with_labels_and_the_model_s_card(model: str, output: Path, tmp_path: Path) -> None:
    (tmp_path / "phones.ctm").write_text("a 1 0.00 0.30 AH\na 1 0.30 0.50 S\n")
    page = tmp_path / "page.html"
    arguments = ["report", str(output), "-o", str(page), "--model", model, "--labels", str(tmp_path / "phones.ctm")]
    assert main([*arguments, "--title", "My <units>"]) == 0
    document = Document(page.read_text())
    assert document.text("h1") == ["My <units>"] and document.text("h3") == ["a", "b", "c"]
    assert len(document.all("audio")) == 3 and len(document.all("svg", class_="line labels")) == 1
    assert "AH, 0.00–0.30 s" in document.text("title") and "noise" in document.text("td")
    assert "Similar units have similar colours." in "".join(document.text("p", class_="help"))


def test_chosen_utterances_are_drawn_but_all_are_counted(output: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(output), "-o", str(page), "--id", "c", "--id", "a"]) == 0
    document = Document(page.read_text())
    assert document.text("h3") == ["a", "c"]
    assert "3 utterances" in document.text("dd")
    assert "1 more utterance is counted but not drawn." in document.text("p", class_="note")
    assert "Similar units" not in "".join(document.text("p", class_="help"))  # another model: its codebook is unknown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--id", "nobody"], "no units of utterance 'nobody'"),
        (["--num", "0"], "at least 1"),
        (["--model", "nowhere"], "nowhere"),
        (["--labels", "nowhere.ctm"], "nowhere.ctm"),
    ],
)
def test_wrong_arguments_are_told(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["report", str(output), "-o", str(tmp_path / "page.html"), *arguments]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "page.html").exists()


def test_another_model_than_the_units_own_is_refused(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrained = Pretrained(encoders.build("mfcc", {}).eval(), EncoderCard("mfcc", {}, name="mfcc"))
    UnitModel(pretrained, 0, KMeans(torch.eye(39)[:5])).save(tmp_path / "other")
    assert main(["report", str(output), "-o", str(tmp_path / "p.html"), "--model", str(tmp_path / "other")]) == 2
    assert "made by another model" in capsys.readouterr().err


def test_recordings_that_moved_are_missed_and_found_again(model: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "in/a.wav")
    units = ["units", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", model, "--workers", "0", "--quiet"]
    assert main(units) == 0
    (tmp_path / "in").rename(tmp_path / "moved")
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "out"), "-o", str(page)]) == 0
    document = Document(page.read_text())
    assert not document.all("audio") and document.text("h3") == ["a"]
    assert "The recordings are not where they were" in page.read_text()
    assert main(["report", str(tmp_path / "out"), "-o", str(page), "--input", str(tmp_path / "moved")]) == 0
    assert len(Document(page.read_text()).all("audio")) == 1


def test_audio_is_drawn_straight_away(model: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 31.0)
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "a.wav"), "-o", str(page), "--model", model, "--workers", "0"]) == 0
    document = Document(page.read_text())
    assert "the first 30.0 s of 31.0 s are shown" in document.text("p", class_="note")
    assert "31.0 s" in document.text("dd")[0]


def test_an_output_of_features_is_refused(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(tmp_path / "in/a.wav")
    features = ["features", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", model, "--workers", "0"]
    assert main(features) == 0
    assert main(["report", str(tmp_path / "out"), "-o", str(tmp_path / "p.html")]) == 2
    assert "features, not units" in capsys.readouterr().err

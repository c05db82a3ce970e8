"""`speechssl gallery`: systems side by side, and what one of them lacks."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.cli import main
from speechssl.report import gallery
from speechssl.report.gallery import Row, Sound, render
from tests.report.pages import Document

EVIL = "<script>alert(1)</script>"


def data(folder: Path, names: list[str], seed: int) -> Path:
    folder.mkdir()
    for number, name in enumerate(names):
        noise = 0.1 * np.random.default_rng(seed + number).standard_normal(8000)
        soundfile.write(folder / f"{name}.wav", noise, 16_000)
    return folder


def test_a_page_has_a_player_for_every_sound_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, made = data(tmp_path / "real", ["a", "b"], 0), data(tmp_path / "made", ["b", "c"], 5)
    out = tmp_path / "page.html"
    assert main(["gallery", f"real={real}", f"made={made}", "-o", str(out), "--title", EVIL]) == 1
    assert "2 utterances by 2 systems, 1 sounds are missing" in capsys.readouterr().out
    document = Document(out.read_text())
    assert document.text("h3") == ["a", "b"] and document.text("h4") == ["real", "made"] * 2
    players = [a["aria-label"] for a in document.all("audio")]
    assert players == ["Play real: a", "Play real: b", "Play made: b"]
    assert len({a["src"] for a in document.all("audio")}) == 3
    assert document.text("h1") == [EVIL] and not document.all("script")
    assert "made: a: not there" in "".join(document.text("p", class_="note"))


def test_utterances_are_chosen_by_id_and_unknown_ones_refused(tmp_path: Path) -> None:
    real, out = data(tmp_path / "real", ["a", "b"], 0), tmp_path / "page.html"
    assert main(["gallery", f"real={real}", "-o", str(out), "--id", "b"]) == 0
    assert Document(out.read_text()).text("h3") == ["b"]
    assert main(["gallery", f"real={real}", "-o", str(out), "--id", "z"]) == 2
    assert main(["gallery", f"{real}", "-o", str(out)]) == 2
    assert main(["gallery", f"x={real}", f"x={real}", "-o", str(out)]) == 2


def test_a_page_that_grows_too_large_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(str(n), {"s": Sound(np.zeros(800, np.float32), 16_000)}) for n in range(4)]
    whole = render(rows, ["s"], title="t")
    assert len(Document(whole).all("audio")) == 4
    monkeypatch.setattr(gallery, "MAX_BYTES", 2)
    small = Document(render(rows, ["s"], title="t"))
    assert small.text("h3") == ["0"] and "3 more utterances" in "".join(small.text("p", class_="note"))

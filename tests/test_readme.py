"""What the README shows is what happens."""

import re
from pathlib import Path

import numpy as np
import pytest

from speechssl import audio, cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_five_lines_of_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = re.search(r"```python\n(.*?)```", README, flags=re.S)
    assert block is not None
    wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    audio.write(tmp_path / "speech.wav", wave, 16000)
    monkeypatch.chdir(tmp_path)
    exec(compile(block[1], "README.md", "exec"), {})
    *ids, bitrate = capsys.readouterr().out.split()
    assert all(0 <= int(unit) < 100 for unit in ids)
    assert float(bitrate) > 0


def test_every_verb_is_in_the_table() -> None:
    for verb in cli.verbs():
        assert f"speechssl {verb}" in README, verb


def test_links_lead_to_files() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

"""egs/asterisk/normalizer: whose units a recording learns, and the table."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.egs.test_local import EGS
from tests.egs.test_resynth import loaded

LOCAL = EGS / "asterisk" / "normalizer" / "local"


@pytest.mark.parametrize(("voices", "kept"), [("paola", ["paola-a-b"]), ("carlo paola", ["carlo-a-b", "paola-a-b"])])
def test_every_recording_of_the_voices_learns_the_references_units(
    tmp_path: Path, voices: str, kept: list[str]
) -> None:  # fmt: skip
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "wav.scp").write_text("carlo-a-b /x/carlo-a-b.wav\npaola-a-b /x/paola-a-b.wav\n")
    (tmp_path / "in" / "utt2spk").write_text("carlo-a-b carlo\npaola-a-b paola\n")
    subprocess.run([LOCAL / "pairs.sh", tmp_path / "in", "carlo", voices, tmp_path / "out"], check=True)
    tables = {path.name: path.read_text().splitlines() for path in (tmp_path / "out").iterdir()}
    assert tables == {
        "wav.scp": [f"{name} /x/{name}.wav" for name in kept],
        "utt2spk": [f"{name} {name.split('-')[0]}" for name in kept],
        "utt2content": [f"{name} carlo-a-b" for name in kept],
    }


def test_the_table_shows_rates_and_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rate in (("raw.between", 0.5), ("normalizer.between", 0.25), ("normalizer.other", 0.4), ("chance", 0.9)):
        row = {"unit_error_rate": rate, "low": rate - 0.1, "high": rate + 0.1, "utterances": 60}
        (tmp_path / f"{name}.json").write_text(json.dumps(row))
    assert loaded(LOCAL / "table.py").main(str(tmp_path), "carlo", "paola", "raw normalizer") == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| raw | 50.0 [40.0, 60.0] | - | - | 60 |",
        "| normalizer | 25.0 [15.0, 35.0] | 40.0 [30.0, 50.0] | - | 60 |",
        "| carlo's other prompts | - | - | 90.0 [80.0, 100.0] | 60 |",
    ]

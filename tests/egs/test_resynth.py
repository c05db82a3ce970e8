"""Scripts of egs/kerstin/resynth, on a miniature made here."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl import cli
from tests.egs.test_local import EGS, python

LOCAL = EGS / "kerstin" / "resynth" / "local"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Nine sentences in Kerstin's layout."""
    folder = tmp_path / "kerstin"
    (folder / "verified").mkdir(parents=True)
    random, lines = np.random.default_rng(0), []
    for number in range(9):
        lines.append(f"de-{number}|Satz {number}, größer|er.\n")
        soundfile.write(folder / "verified" / f"de-{number}.opus", random.normal(0, 0.1, 8000 + number), 16000,
                        format="OGG", subtype="OPUS")  # fmt: skip
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return folder


def test_sentences_become_three_data_dirs_without_overlap(corpus: Path, tmp_path: Path) -> None:
    done = python(LOCAL / "prepare_data.py", "--corpus", corpus, "--valid", "2", "--test", "3", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    seen: list[str] = []
    for part, count in (("train", 4), ("valid", 2), ("test", 3)):
        folder = tmp_path / "data" / part
        assert cli.main(["data", "check", str(folder)]) == 0
        texts = dict(line.split(" ", 1) for line in (folder / "text").read_text().splitlines())
        assert len(texts) == count and all(text == f"Satz {name[-1]}, größer|er." for name, text in texts.items())
        seen += texts
    assert len(set(seen)) == 9
    assert python(LOCAL / "prepare_data.py", "--corpus", corpus, tmp_path / "other").returncode == 2
    (corpus / "verified" / "de-3.opus").unlink()
    done = python(LOCAL / "prepare_data.py", "--corpus", corpus, "--valid", "1", "--test", "1", tmp_path / "other")
    assert done.returncode == 2 and "8 recordings for 9 lines" in done.stderr


def test_griffin_lim_gives_the_mels_back_and_the_length() -> None:
    librosa = pytest.importorskip("librosa")
    spec = importlib.util.spec_from_file_location("griffin_lim", LOCAL / "griffin_lim.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    time = np.arange(8001) / 16000
    wave = 0.3 * np.sin(2 * np.pi * 220 * time) + 0.1 * np.sin(2 * np.pi * 1500 * time)
    found = script.inverted(wave.astype(np.float32), 30)
    mels = [librosa.feature.melspectrogram(y=one, sr=16000, n_fft=1024, hop_length=256, n_mels=80, power=1.0)[:, 4:-4]
            for one in (wave, found)]  # fmt: skip
    assert len(found) == 8001 and np.linalg.norm(mels[0] - mels[1]) < 0.2 * np.linalg.norm(mels[0])


def test_the_table_has_the_columns_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(json.dumps({"mcd_db": 0.0, "f0_correlation": None}))
    (tmp_path / "kept.json").write_text(json.dumps({"mcd_db": 5.128, "bitrate": 190.4, "f0_correlation": 0.5}))
    done = python(LOCAL / "table.py", tmp_path, "real kept")
    assert done.stdout.splitlines() == [
        "| | bit/s | MCD dB | F0 correlation |", "|---|---:|---:|---:|", "| real | - | 0.00 | - |",
        "| kept | 190 | 5.13 | 0.50 |",
    ]  # fmt: skip

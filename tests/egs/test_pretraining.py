"""The pre-training recipes, from raw audio to an encoder that loads, on a LibriSpeech-shaped miniature."""

import json
from pathlib import Path

import pytest

from speechssl.encoders import pretrained
from tests.egs.test_recipes import make_librispeech, run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_librispeech(tmp_path_factory.mktemp("corpus") / "LibriSpeech")


def test_hubert_learns_from_mfccs_and_then_from_itself(corpus: Path, tmp_path: Path) -> None:
    options = ("--corpus", corpus, "--train", "train-clean-100", "--tiny", "true", "--data", tmp_path / "data", "--exp",
               tmp_path / "exp")  # fmt: skip
    done = run("librispeech/hubert", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    exp = tmp_path / "exp" / "tiny"
    for number, units in ((1, 8), (2, 12)):
        card = json.loads((exp / f"labels{number}" / "units.json").read_text())
        assert card["rate_hz"] == 50 and len((exp / f"labels{number}" / "units").read_text().splitlines()) == 12
        assert json.loads((exp / f"kmeans{number}" / "card.json").read_text())["num_units"] == units
        assert json.loads((exp / f"iteration{number}" / "result.json").read_text())["update"] == 12
        assert pretrained.load(exp / f"iteration{number}" / "encoder").encoder.num_layers == 2
    assert "layer" in (exp / "kmeans2" / "card.json").read_text()
    again = run("librispeech/hubert", *options, cwd=tmp_path)
    assert again.stdout.count("done before") == 9 and "update" not in again.stdout


def test_wav2vec2_learns(corpus: Path, tmp_path: Path) -> None:
    done = run("librispeech/wav2vec2", "--corpus", corpus, "--train", "train-clean-100", "--tiny", "true", "--data",
               tmp_path / "data", "--exp", tmp_path / "exp", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "exp" / "tiny" / "wav2vec2" / "result.json").read_text())
    assert result["update"] == 12
    assert pretrained.load(tmp_path / "exp" / "tiny" / "wav2vec2" / "encoder").encoder.num_layers == 2


def test_without_the_corpus_they_say_so(tmp_path: Path) -> None:
    for recipe in ("librispeech/hubert", "librispeech/wav2vec2"):
        refused = run(recipe, "--corpus", "nowhere", cwd=tmp_path)
        assert refused.returncode == 2 and "--corpus must name" in refused.stderr
    help_text = run("librispeech/hubert", "--help", cwd=tmp_path).stdout
    assert "--gpus 8" in help_text and "shellcheck" not in help_text

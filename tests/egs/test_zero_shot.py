"""egs/tuxpaint/zero_shot on a miniature, from captions to the table; its parts with figures that are known."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from speechssl import encoders
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from tests.egs.test_recipes import RATE, speak
from tests.encoders.tiny import TINY

pytest.importorskip("phonemizer")
pytest.importorskip("espeakng_loader")
pytest.importorskip("panphon")
EGS = Path(__file__).parents[2] / "egs" / "tuxpaint" / "zero_shot"
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
CAPTIONS = {"es": ("Una vaca", "Un gato"), "ca": ("Una vaca", "Un gat")}


def run(*command: str | Path) -> str:
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def make_stamps(folder: Path, pictures: int) -> Path:
    import soundfile

    rng = np.random.default_rng(0)
    for i in range(pictures):
        stamp = folder / "usr/share/tuxpaint/stamps/animals" / f"animal{i}"
        stamp.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{language}.utf8={words[i % 2]}{', sí' * (i % 3)}." for language, words in CAPTIONS.items()]
        stamp.with_suffix(".txt").write_text("\n".join(["An animal.", *lines]) + "\n", encoding="utf-8")
        for language in CAPTIONS:
            soundfile.write(f"{stamp}_desc_{language}.ogg", speak(rng)[0], RATE, format="OGG", subtype="VORBIS")
    return folder


def test_it_runs_from_captions_to_the_table(tmp_path: Path) -> None:
    stamps = make_stamps(tmp_path / "stamps", 20)
    encoder = encoders.build("tdnn", TINY["tdnn"][0])
    pretrained.save(tmp_path / "encoder", Pretrained(encoder, EncoderCard("tdnn", TINY["tdnn"][0])))
    printed = run(EGS / "run.sh", "--stamps", stamps, "--data", tmp_path / "data", "--exp", tmp_path / "exp",
                  "--tiny", "true", "--languages", "es ca", "--left-out", "es", "--tune-on", "ca", "--seeds", "0 1",
                  "--beam", "4", "--precision", "fp32", "--encoder", tmp_path / "encoder")  # fmt: skip
    assert "es left out" in printed and "| nearest by features |" in printed and "| ca |" in printed
    captions = tmp_path / "data/tiny/captions"
    parts = {part: (captions / "es" / part / "utt2picture").read_text() for part in ("train", "valid", "test")}
    pictures = {part: {line.split()[1] for line in text.splitlines()} for part, text in parts.items()}
    assert pictures["test"] and not pictures["test"] & (pictures["train"] | pictures["valid"])
    heard = (tmp_path / "data/tiny/joint/es/train/text").read_text()
    assert "ca-" in heard and "es-" not in heard
    scores = json.loads((tmp_path / "exp/tiny/scores/es.json").read_text())["languages"]
    assert scores["es"]["random"]["seeds"] == 2 and {"phone_lm", "word_lm"} <= set(scores["es"])
    assert set(scores["ca"]) == {"greedy"}


def test_captions_that_cannot_be_read_are_left_out_with_the_reason(tmp_path: Path) -> None:
    stamps = make_stamps(tmp_path / "stamps", 20)
    folder = stamps / "usr/share/tuxpaint/stamps/animals"
    (folder / "animal1.txt").write_text("A dollar ($1).\nes.utf8=Un dólar ($1).\n", encoding="utf-8")
    (folder / "animal2.txt").unlink()
    printed = run(EGS / "local/prepare_data.py", stamps, tmp_path / "out", "--languages", "es")
    assert "es: 18 captions" in printed
    rows = [line.split("\t") for line in (tmp_path / "out/es/left_out.tsv").read_text().splitlines()]
    assert [row[:2] for row in rows] == [["animals-animal1", "'(': nobody knows how it was read"],
                                         ["animals-animal2", "no text"]]  # fmt: skip


def test_scores_are_edits_over_lengths_and_means_over_seeds(tmp_path: Path) -> None:
    texts, phones = tmp_path / "exp/texts/es/es", tmp_path / "data/phones/es/test"
    for folder in (texts, phones):
        folder.mkdir(parents=True)
    (phones / "text").write_text("u1 a b c d\nu2 a a\n")
    (texts / "features").write_text("u1 a b c d\nu2 a\n")  # 1 error of 6
    (texts / "random.s0").write_text("u1 a x c d\nu2 a a a\n")  # 2
    (texts / "random.s1").write_text("u1\nu2\n")  # 6
    printed = run(EGS / "local/score.py", "es", tmp_path / "data", tmp_path / "exp", tmp_path / "out.json")
    scores = json.loads((tmp_path / "out.json").read_text())["languages"]["es"]
    assert scores["features"]["rate"] == pytest.approx(1 / 6)
    assert scores["random"]["rate"] == pytest.approx(8 / 12) and scores["random"]["rates"] == pytest.approx([2 / 6, 1])
    assert scores["random"]["difference"][0] == pytest.approx(8 / 12 - 1 / 6)
    assert "| random map | 66.7 [" in printed


def test_texts_of_the_test_are_not_known(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("decode", EGS / "local/decode.py")
    assert spec is not None and spec.loader is not None
    decode = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = decode
    spec.loader.exec_module(decode)
    for part, text in (("test", "t1 u n a\nt2 l a\n"), ("train", "a u n a\nb l o\nc u n a\n")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "text").write_text(text)
    assert decode.unseen(tmp_path, "test") == ["l o"]

"""The codec recipe, from free speech to recordings that were coded, on a miniature made here."""

import json
from pathlib import Path

import numpy as np
import soundfile

from tests.egs.test_recipes import RATE, run, speak, table


def test_free_speech_becomes_codes_and_speech_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "corpora" / "kerstin" / "verified" / f"u{number}.opus"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speak(rng)[0], RATE, format="OGG", subtype="OPUS")
    options = ("--corpora", "corpora", "--tiny", "true", "--data", tmp_path / "data", "--exp", tmp_path / "exp")
    done = run("tiny/codec", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first, last = table(done.stdout)[2:]
    assert first.split("|")[1].strip() == "0" and last.split("|")[1].strip() == "4"
    assert float(last.split("|")[4]) == 1200
    exp, valid = tmp_path / "exp" / "tiny", tmp_path / "data" / "tiny" / "valid" / "wav.scp"
    assert json.loads((exp / "codec" / "result.json").read_text())["update"] == 4
    again = dict(line.split(maxsplit=1) for line in (exp / "again" / "wav.scp").read_text().splitlines())
    originals = dict(line.split(maxsplit=1) for line in valid.read_text().splitlines())
    assert again.keys() == originals.keys() and again
    for name, path in again.items():
        assert soundfile.info(path).frames == soundfile.info(originals[name]).frames
    second = run("tiny/codec", *options, cwd=tmp_path)
    assert second.stdout.count("done before") == 4 and table(second.stdout) == table(done.stdout)


def test_without_speech_it_says_so(tmp_path: Path) -> None:
    refused = run("tiny/codec", "--corpora", "nowhere", cwd=tmp_path)
    assert refused.returncode == 2 and "--corpora must name" in refused.stderr

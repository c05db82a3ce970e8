"""The recipes that train small encoders over log-mel frames, on miniatures made here."""

import json
from pathlib import Path

import numpy as np
import soundfile

import speechssl
from tests.egs.test_recipes import RATE, make_mboshi, run, speak, table


def test_mboshi_objectives_are_trained_scored_and_put_into_a_table(tmp_path: Path) -> None:
    make_mboshi(tmp_path / "corpus")
    options = ("--corpus", "corpus", "--objectives", "hubert", "--untrained", "untrained", "--num-units", 8,
               "--tiny", "true", "--workers", 0, "--data", tmp_path / "data", "--exp", tmp_path / "exp")  # fmt: skip
    done = run("mboshi/ssl", *options, "--phone-shift", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    exp = tmp_path / "exp" / "tiny"
    assert [row.split()[1] for row in table(done.stdout)[2:]] == ["mfcc", "untrained", "hubert"]
    scores = {name: json.loads((exp / "scores" / f"{name}.json").read_text()) for name in ("mfcc", "hubert")}
    assert len(scores["mfcc"]["layers"]) == 1 and len(scores["hubert"]["layers"]) == 5
    assert scores["mfcc"]["probe"] > 0.8 and scores["mfcc"]["pnmi"] > 0.5  # MFCCs tell these phones apart
    best = scores["hubert"]["best_layer"]
    assert scores["hubert"]["probe"] == max(layer["probe"] for layer in scores["hubert"]["layers"])
    assert scores["hubert"]["pnmi"] == scores["hubert"]["layers"][best]["pnmi"]
    assert 0 <= scores["mfcc"]["abx_frames_within"] < 0.3 and 0 <= scores["mfcc"]["abx_frames_across"] < 0.3


def test_free_speech_becomes_a_unit_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corpora = tmp_path / "corpora"
    for folder, names in (("kerstin/verified", ["a b", "c"]), ("librispeech_subset/dev", ["84-1-0", "26-1-0"]),
                          ("speech_to_intent/speech", ["x"])):  # fmt: skip
        (corpora / folder).mkdir(parents=True)
        for name in names:
            path = corpora / folder / f"{name.replace(' ', '_')}.opus"
            soundfile.write(path, speak(rng)[0], RATE, format="OGG", subtype="OPUS")
    (corpora / "fsdd/recordings").mkdir(parents=True)
    for index in (3, 7, 8):
        soundfile.write(corpora / f"fsdd/recordings/5_eva_{index}.flac", speak(rng)[0][::2], RATE // 2)
    prompts = tmp_path / "prompts" / "msu_ru_nsh_clunits" / "wav"
    prompts.mkdir(parents=True)
    soundfile.write(prompts / "ru_0001.wav", speak(rng)[0], RATE)
    make_mboshi(tmp_path / "mboshi")
    done = run("tiny/ssl", "--corpora", "corpora", "--prompts", "prompts", "--mboshi", "mboshi", "--tiny", "true",
               "--data", tmp_path / "data", "--exp", tmp_path / "exp", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.split()[1] for row in table(done.stdout)[2:]] == ["plain_mfcc_model", "mfcc_model", "model"]
    languages = dict(
        line.split()
        for split in ("train", "valid")
        for line in (tmp_path / "data" / "tiny" / split / "utt2lang").read_text().splitlines()
    )
    assert languages == {
        "kerstin-a_b": "de", "kerstin-c": "de", "ls-84-1-0": "en", "ls-26-1-0": "en", "sti-x": "en",
        "fsdd-5_eva_7": "en", "fsdd-5_eva_8": "en", "festvox-ru-ru_0001": "ru",
    }  # fmt: skip
    for split in ("train", "valid"):
        for line in (tmp_path / "data" / "tiny" / split / "wav.scp").read_text().splitlines():
            assert soundfile.info(line.split(maxsplit=1)[1]).samplerate == 16_000
    model = speechssl.load_unit_model(tmp_path / "exp" / "tiny" / "model")
    assert model(corpora / "kerstin/verified/c.opus").size == 8


def test_without_speech_they_say_so(tmp_path: Path) -> None:
    refused = run("tiny/ssl", "--corpora", "nowhere", cwd=tmp_path)
    assert refused.returncode == 2 and "--corpora must name" in refused.stderr
    refused = run("mboshi/ssl", "--corpus", "nowhere", cwd=tmp_path)
    assert refused.returncode == 2 and "--corpus must name" in refused.stderr
    (tmp_path / "empty").mkdir()
    refused = run("tiny/ssl", "--corpora", "empty", "--data", tmp_path / "d", "--exp", tmp_path / "e", cwd=tmp_path)
    assert refused.returncode != 0 and "none of kerstin" in refused.stderr

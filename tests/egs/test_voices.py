"""Data of egs/ljspeech and egs/vctk, whose corpora are elsewhere: their layouts in small."""

from pathlib import Path

import numpy as np
import soundfile

from speechssl import cli
from tests.egs.test_local import EGS, python
from tests.egs.test_s2ut import table

LJSPEECH, VCTK = (
    EGS / "ljspeech" / "resynth" / "local" / "prepare_data.py",
    EGS / "vctk" / "vc" / "local" / "prepare_data.py",
)


def record(path: Path, rate: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, rate // 2), rate, subtype="PCM_16")


def test_ljspeech_is_resampled_and_its_texts_are_those_with_numbers_spelled_out(tmp_path: Path) -> None:
    corpus = tmp_path / "LJSpeech-1.1"
    for number in range(6):
        record(corpus / "wavs" / f"LJ001-{number}.wav", 22050, number)
    lines = [f'LJ001-{number}|In 14{number}5, "quoted"|In fourteen {number}5, "quoted"\n' for number in range(6)]
    (corpus / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    done = python(LJSPEECH, "--corpus", corpus, "--valid", "1", "--test", "2", "--limit", "2", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = {}
    for part, count in (("train", 2), ("valid", 1), ("test", 2)):
        assert cli.main(["data", "check", str(tmp_path / "data" / part)]) == 0
        found = table(tmp_path / "data" / part / "text")
        assert len(found) == count and not set(found) & set(said)
        said |= found
        assert set(table(tmp_path / "data" / part / "utt2spk").values()) == {"lj"}
    assert all(text == f'In fourteen {name[-1]}5, "quoted"' for name, text in said.items())
    for path in (tmp_path / "data" / "audio").iterdir():
        assert soundfile.info(path).samplerate == 16000 and abs(soundfile.info(path).frames - 8000) <= 1
    done = python(LJSPEECH, "--corpus", tmp_path, tmp_path / "other")
    assert done.returncode == 2 and "LJSpeech-1.1" in done.stderr


def test_nobody_learns_from_what_everybody_reads_last_and_texts_must_agree(tmp_path: Path) -> None:
    corpus = tmp_path / "VCTK"
    for seed, speaker in enumerate(("p1", "p2", "s5", "p315")):
        for number in (1, 2, 3, 23, 24, 25):
            name = f"{speaker}_{number:03}"
            record(corpus / "wav48_silence_trimmed" / speaker / f"{name}_mic1.flac", 48000, seed)
            record(corpus / "wav48_silence_trimmed" / speaker / f"{name}_mic2.flac", 48000, seed)
            if speaker == "p315":
                continue
            text = corpus / "txt" / speaker / f"{name}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(f"Sentence  {number}{' of mine' * (number in (23, 25) and speaker == 'p2')}\n")
    options = ["--corpus", corpus, "--held-out", "2", "--valid", "1"]
    done = python(VCTK, *options, "--voices", "p1 s5", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "3 speakers, 6 recordings without a text, 2 sentences of the test" in done.stdout
    train, valid = (table(tmp_path / "data" / part / "text") for part in ("train", "valid"))
    assert len(train) == 9 and len(valid) == 3 and not set(train) & set(valid)
    assert not [name for name in (*train, *valid) if name.endswith(("_023", "_024"))]
    assert table(tmp_path / "data" / "train" / "utt2spk")["s5_001" if "s5_001" in train else "s5_002"] == "s5"
    for voice in ("p1", "s5"):
        assert table(tmp_path / "data" / "test" / voice / "text") == {"023": "Sentence 23", "024": "Sentence 24"}
        assert f"/{voice}_023.wav" in table(tmp_path / "data" / "test" / voice / "wav.scp")["023"]
    assert python(VCTK, *options, "--voices", "p1 p2", tmp_path / "apart").returncode == 0
    assert set(table(tmp_path / "apart" / "test" / "p2" / "text")) == {"024"}
    for voices, reason in (("p1 p9", "no speaker p9"), ("p1 p315", "no speaker p315")):
        done = python(VCTK, *options, "--voices", voices, tmp_path / "other")
        assert done.returncode == 2 and reason in done.stderr
    assert python(VCTK, "--corpus", tmp_path, tmp_path / "other").returncode == 2

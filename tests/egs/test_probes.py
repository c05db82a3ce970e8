"""The recipes that find digits, speakers and languages of whole utterances, on miniatures made here."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl import cli
from tests.egs.test_local import EGS, python
from tests.egs.test_recipes import run, table

FSDD = EGS / "fsdd" / "probes" / "local" / "prepare_data.py"
TABLE = EGS / "utils" / "class_table.py"
VOICES = {"en_US_f_Allison": 1.0, "es_MX_f_Allison": 1.0, "fr_CA_f_June": 1.3, "it_IT_m_Carlo": 0.6,
          "ru_RU_f_IvrvoiceRU": 1.6}  # fmt: skip


def tones(rng: np.random.Generator, hertz: float, rate: int, noise: float = 0.02) -> np.ndarray:
    time_s = np.arange(int(0.4 * rate)) / rate
    tone = sum(np.sin(2 * np.pi * hertz * k * time_s) for k in (1, 2, 3)) * 0.1
    return tone + rng.normal(size=len(time_s)) * noise


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Three digits by three speakers, as pitches; each next speaker's are a little higher and noisier."""
    rng = np.random.default_rng(0)
    (tmp_path / "fsdd" / "recordings").mkdir(parents=True)
    for digit, hertz in enumerate((200, 500, 1100)):
        for number, speaker in enumerate(("ann", "bob", "eva")):
            for index in (*range(5), *range(5, 13)):
                wave = tones(rng, hertz * (1 + 0.08 * number), 8000, 0.01 * 3**number)
                soundfile.write(tmp_path / f"fsdd/recordings/{digit}_{speaker}_{index}.flac", wave, 8000)
    return tmp_path


def test_digits_become_data_dirs_by_the_official_split(digits: Path) -> None:
    done = python(FSDD, digits / "fsdd", digits / "data")
    assert done.returncode == 0, done.stderr
    for part, expected in (("train", 72), ("test", 45), ("all", 117)):
        folder = digits / "data" / part
        assert cli.main(["data", "check", str(folder)]) == 0
        rows = [line.split() for line in (folder / "utt2digit").read_text().splitlines()]
        assert len(rows) == expected and all(name.split("-")[1] == digit for name, digit in rows)
        if part != "all":
            assert {int(name.split("-")[2]) < 5 for name, _ in rows} == {part == "test"}
    assert python(FSDD, digits / "data", digits / "d").returncode == 2
    (digits / "fsdd/recordings/hello.flac").write_bytes(b"")
    assert "not named DIGIT_SPEAKER_INDEX" in python(FSDD, digits / "fsdd", digits / "d").stderr


def test_digits_and_speakers_from_audio_to_the_table(digits: Path) -> None:
    options = ("--corpus", "fsdd", "--tiny", "true", "--encoders", "mfcc", "--units", "mfcc", "--tasks",
               "speaker digit_si", "--data", digits / "data", "--exp", digits / "exp")  # fmt: skip
    done = run("fsdd/probes", *options, cwd=digits)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table(done.stdout)]
    assert rows[0] == ["", "speaker", "digit_si"]
    assert [row[0] for row in rows[2:]] == ["mfcc_mean", "mfcc_units", "chance", "95 %, at most ±"]
    assert float(rows[2][1]) > 50 and rows[4][1] == "33.3" and rows[5][2] == "-"
    assert float(rows[2][2].split()[0]) > 80
    scores = digits / "exp" / "tiny" / "scores"
    assert set(json.loads((scores / "mfcc_units.digit_si.s0.json").read_text())["folds"]) == {"ann", "bob", "eva"}
    assert json.loads((scores / "mfcc_mean.speaker.s0.json").read_text())["utterances"] == 3 * 3 * 3  # --limit 3
    again = run("fsdd/probes", *options, cwd=digits)
    assert (
        table(again.stdout) == table(done.stdout) and again.stdout.count("done before") == 9
    )  # data, encoder (twice), codebook, units, 4 scores


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Prompts in five languages as G.722, and one Russian speaker."""
    av = pytest.importorskip("av", reason="G.722 needs PyAV: pip install av")
    rng = np.random.default_rng(0)
    for voice, factor in VOICES.items():
        folder = tmp_path / "debs/usr/share/asterisk/sounds" / voice
        (folder / "digits").mkdir(parents=True)
        names = [f"p{i}" for i in range(10)] + ["digits/1"] + (["alone"] if factor == 0.6 else [])
        for number, name in enumerate(names):
            wave = tones(rng, (200 + 30 * number) * factor * (1.1 if voice.startswith("es") else 1), 16_000)
            with av.open(str(folder / f"{name}.g722"), "w", format="g722") as file:
                stream = file.add_stream("g722", rate=16_000, layout="mono")
                frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], "s16", "mono")
                frame.sample_rate = 16_000
                for packet in [*stream.encode(frame), *stream.encode(None)]:
                    file.mux(packet)
    (tmp_path / "debs/festvox/msu_ru_nsh_clunits/wav").mkdir(parents=True)
    for i in range(3):
        soundfile.write(tmp_path / f"debs/festvox/msu_ru_nsh_clunits/wav/ru_{i}.wav", tones(rng, 400, 16_000), 16_000)
    return tmp_path


def test_languages_from_prompts_to_the_table(prompts: Path) -> None:
    done = run("asterisk/langid", "--prompts", "debs", "--tiny", "true", "--encoders", "mfcc", "--units", "default",
               "--tasks", "same_voice transfer", "--neighbours", 1, "--data", prompts / "data", "--exp",
               prompts / "exp", cwd=prompts)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table(done.stdout)]
    assert rows[0] == ["", "same_voice", "transfer@festvox_ru"]
    assert [row[0] for row in rows[2:]] == ["mfcc_mean", "default_units", "chance", "95 %, at most ±"]
    assert rows[4][1:] == ["50.0", "-"]
    data = prompts / "data" / "tiny"
    sides = {part: (data / "s0" / part / "utt2lang").read_text().splitlines() for part in ("train", "test")}
    said = {part: {line.split()[0].rpartition("_")[2].partition("-")[2] for line in own} for part, own in sides.items()}
    assert not said["train"] & said["test"] and "digits-1" in said["train"] | said["test"]
    assert (
        len(said["train"]) == 9 and len(said["test"]) == 2 and "alone" not in said["train"]
    )  # which Italian alone has
    assert len(sides["test"]) == 10 and {line.split()[1] for line in sides["test"]} == {"en", "es", "fr", "it", "ru"}
    voice = [line.split() for line in (data / "s0" / "test" / "same_voice").read_text().splitlines()]
    assert len(voice) == 4 and {language for _, language in voice} == {"en", "es"}
    transfer = json.loads((prompts / "exp/tiny/scores/mfcc_mean.transfer.s0.json").read_text())
    assert transfer["by"]["festvox_ru"]["utterances"] == 3 and transfer["train_utterances"] == 45


def test_without_their_speech_they_say_so(tmp_path: Path) -> None:
    refused = run("fsdd/probes", "--corpus", "nowhere", cwd=tmp_path)
    assert refused.returncode == 2 and "--corpus must name" in refused.stderr
    refused = run("asterisk/langid", cwd=tmp_path)
    assert refused.returncode == 2 and "--prompts must name" in refused.stderr
    (tmp_path / "empty").mkdir()
    refused = run(
        "asterisk/langid", "--prompts", "empty", "--data", tmp_path / "d", "--exp", tmp_path / "e", cwd=tmp_path
    )
    assert refused.returncode != 0 and "0 prompts that all of en, es, fr, it, ru have" in refused.stderr
    (tmp_path / "fsdd").mkdir()
    wrong = run("fsdd/probes", "--corpus", "fsdd", "--data", tmp_path / "d", "--exp", tmp_path / "e", cwd=tmp_path)
    assert wrong.returncode != 0 and "must name FSDD's folder" in wrong.stderr


def test_the_table_by_hand(tmp_path: Path) -> None:
    def score(name: str, **values: object) -> None:
        (tmp_path / name).write_text(json.dumps({"majority": 0.1, "interval": [0.4, 0.6], **values}))

    score("a.x.s0.json", accuracy=0.5, by={"g": {"accuracy": 0.25, "majority": 0.0, "interval": [0.0, 0.5]}})
    score("a.x.s1.json", accuracy=0.7, by={"g": {"accuracy": 0.25, "majority": 0.0, "interval": [0.1, 0.4]}})
    score("a.y.s0.json", accuracy=0.9, folds={"s": 0.2, "t": 0.6}, fold_mean=0.4)
    score("a.y.s1.json", accuracy=0.9, folds={"s": 0.6, "t": 1.0}, fold_mean=0.8)
    assert python(TABLE, tmp_path, "a", "x x@g y", "0 1").stdout.splitlines() == [
        "| | x | x@g | y |",
        "|---|---:|---:|---:|",
        "| a | 60.0 [50.0, 70.0] | 25.0 | 60.0 [40.0, 80.0] (40.0 to 80.0) |",
        "| chance | 10.0 | - | 10.0 |",
        "| 95 %, at most ± | 10.0 | 25.0 | - |",
    ]
    score("b.x.s0.json", accuracy=0.5, each_layer=[0.1, 0.3])
    score("b.y.s0.json", accuracy=0.5, each_layer=[0.25])
    assert python(TABLE, tmp_path, "b", "x y", "0").stdout.splitlines()[2:5] == [
        "| b | 50.0 | 50.0 |",
        "| layer 0 alone | 10.0 | 25.0 |",
        "| layer 1 alone | 30.0 | - |",
    ]
    assert python(TABLE).returncode == 1

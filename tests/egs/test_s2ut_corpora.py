"""Recipes of speech-to-unit translation on corpora that are elsewhere, or of more than two languages: miniatures."""

import json
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl import cli
from tests.egs.test_asr import run
from tests.egs.test_local import EGS, python
from tests.egs.test_s2ut import table

ASTERISK, CVSS, FISHER, MBOSHI = (
    EGS / name / "local" / "prepare_pairs.py"
    for name in ("asterisk/s2ut", "cvss/s2ut", "fisher/s2ut", "mboshi/s2ut_mb-fr")
)
VOICES = {"en": "en_US_f_Allison", "fr": "fr_CA_f_June", "es": "es_MX_f_Allison"}
PARTS = ("train", "valid", "test")
SAID = {"a": "Press one.", "b": "press 1", "c": "2nd", "d": "second", "tone": "[a tone]", "beep": "beep",
        "long": "Long.", "other": "Other lengths.", "untold": ""}  # fmt: skip


def noise(seconds: float, seed: int, channels: int = 1) -> np.ndarray:
    """Bursts of several pitches, so that there are units to tell apart."""
    random = np.random.default_rng(seed)
    pitch = np.repeat(random.integers(1, 6, int(seconds * 10) + 1), 1600)[: int(seconds * 16000)]
    wave = 0.3 * np.sin(np.cumsum(2 * np.pi * 200 * pitch / 16000)) + random.normal(0, 0.01, len(pitch))
    return np.stack([wave] * channels, 1) if channels > 1 else wave


def prompts(folder: Path) -> Path:
    """G.722 as the packages lay it, 8 kB a second; a dozen prompts more than SAID, each with its own text."""
    said = SAID | {f"n{number}": f"number {number}" for number in range(12)}
    for seed, (language, voice) in enumerate(VOICES.items()):
        for name in said:
            size = {"long": 200_000, "other": 40_000 if language == "en" else 8_000}.get(name, 8_000)
            path = folder / "usr/share/asterisk/sounds" / voice / "digits" / f"{name}.g722"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes())
    (folder / "core-sounds-en.txt").write_text("; a comment\n" + "".join(f"digits/{n}: {t}\n" for n, t in said.items()))
    return folder


def test_prompts_that_say_the_same_are_in_one_part_and_several_languages_have_one_target(tmp_path: Path) -> None:
    pytest.importorskip("av")
    corpus = prompts(tmp_path / "corpus")
    done = python(
        ASTERISK, "--corpus", corpus, "--source", "es fr", "--target", "en", "--held-out", "0.2", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert "2 longer than 20 s, 4 no speech, 2 of other lengths, 2 without a text" in done.stdout
    part_of: dict[str, str] = {}
    for part in PARTS:
        source, target = (tmp_path / "out" / part / side for side in ("source", "target"))
        assert cli.main(["data", "check", str(source)]) == 0 and cli.main(["data", "check", str(target)]) == 0
        assert not (source / "text").exists() and table(source / "translation") == table(target / "text")
        part_of |= dict.fromkeys(table(source / "wav.scp"), part)
    assert len(part_of) == 2 * (12 + 4) and {name[:2] for name in part_of} == {"es", "fr"}
    for one, other in (("a", "b"), ("c", "d")):
        assert len({part_of[f"{language}-digits-{name}"] for language in ("es", "fr") for name in (one, other)}) == 1
    assert all(part_of[f"es-digits-n{n}"] == part_of[f"fr-digits-n{n}"] for n in range(12))


def test_what_a_corpus_lacks_is_named(tmp_path: Path) -> None:
    corpus = prompts(tmp_path / "corpus")
    for script, arguments, message in (
        (ASTERISK, ("--source", "ru"), "no prompts in ru: the package is asterisk-core-sounds-ru-g722"),
        (ASTERISK, ("--source", "en"), "give languages that differ"),
        (CVSS, (), "*/es/validated.tsv: 0 such files"),
        (CVSS, ("--target", "fr"), "CVSS translates into English"),
        (FISHER, (), "must hold LDC2010S01, LDC2010T04 and fisher-callhome-corpus"),
        (MBOSHI, (), "utterances.tsv: no such file"),
        (MBOSHI, ("--target", "en"), "the corpus has mb and its translations, fr"),
    ):
        done = python(script, "--corpus", corpus, *arguments, tmp_path / "out")
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_options_of_speech_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    script = EGS / "asterisk" / "s2ut" / "run.sh"
    for options, message in (
        (("--recognizer", "whisper"), "give both, or --voice true"),
        (("--voice", "true", "--vocoder", "default"), "give one of them"),
        (("--source", "es fr", "--systems", "ssl+bart"), "know one source language"),
    ):
        done = subprocess.run([script, "--corpus", tmp_path, *options], capture_output=True, text=True)
        assert done.returncode == 2 and message in done.stderr
    shown = subprocess.run([script, "--help"], capture_output=True, text=True).stdout
    assert shown.startswith("Asterisk's telephone prompts") and "--voice true" in shown and "set -e" not in shown


def cvss(folder: Path) -> Path:
    """Common Voice 4 and CVSS-C: a clip without a line in Common Voice, sentences in two parts, a target too short."""
    voices, translated = folder / "cv-corpus-4-2019-12-10" / "es", folder / "cvss_c_es_en_v1.0"
    (voices / "clips").mkdir(parents=True)
    rows = ["client_id\tpath\tsentence\tup_votes"]
    for place, part in enumerate(("train", "dev", "test")):
        (translated / part).mkdir(parents=True)
        lines = []
        for number in range(4):
            name = f"common_voice_es_{10 * place + number}.mp3"
            soundfile.write(voices / "clips" / name, noise(1.0, number), 16000, format="MP3")
            soundfile.write(
                translated / part / f"{name}.wav", noise(0.04 if (place, number) == (0, 3) else 0.8, number), 24000
            )
            rows.append(f'c{number}\t{name}\tUna "frase {number}\t2')
            lines.append(f"{name}\tone sentence {number if place else place}\n")
        (translated / f"{part}.tsv").write_text("".join(lines) + ("lost.mp3\tlost\n" if part == "train" else ""))
    (voices / "validated.tsv").write_text("\n".join(rows) + "\n")
    return folder


def test_cvss_keeps_its_own_parts_and_says_what_is_left_out(tmp_path: Path) -> None:
    done = python(CVSS, "--corpus", cvss(tmp_path / "corpus"), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "12 pairs; 8 have a text that another part has too, and stay" in done.stdout
    assert "common_voice_es_3: left out" in done.stdout and "too short for units" in done.stdout
    assert [len(table(tmp_path / "out" / part / "source" / "wav.scp")) for part in PARTS] == [3, 4, 4]
    test = tmp_path / "out" / "test"
    assert table(test / "source" / "text")["common_voice_es_21"] == "una frase 1"
    assert table(test / "target" / "text")["common_voice_es_21"] == "one sentence 1"
    assert table(test / "source" / "utt2spk")["common_voice_es_21"] == "c1"


def fisher(folder: Path) -> Path:
    """Conversations of two channels: speech in the first or in the second; each line of a transcript is 0.6 s."""
    texts, ldc = folder / "fisher-callhome-corpus", folder / "LDC2010T04" / "data" / "transcripts"
    for path in (texts / "mapping", texts / "corpus" / "ldc", ldc, folder / "LDC2010S01" / "DISC1"):
        path.mkdir(parents=True)
    for place, part in enumerate(("train", "dev", "test")):
        name = f"2005_{place}_fsp"
        lines = [";;MM sectionTypes\tx", "file;unicode\tchannel;int\tstart;float"]
        for number in range(6):
            channel, text = int(number == 5), f"<b>¿Qué</b> (({place}{number}))"
            times = f"{0.6 * number:.2f}\t{0.6 * (number + 1):.2f}"
            lines.append(f"{name}.sph\t{channel}\t{times}\ts\tx\tx\t{text}")
        (ldc / f"{name}.tdf").write_text("\n".join(lines) + "\n")
        (texts / "mapping" / f"fisher_{part}").write_text(f"{name} 1_2\n{name} 3\n{name} 5_6\n{name} 6\n")
        english = "".join(f"What {place}{number}?\n" for number in range(4))
        (texts / "corpus" / "ldc" / f"fisher_{part}.en{'' if place == 0 else '.0'}").write_text(english)
        both = noise(3.6, place, 2)
        both[: 5 * 9600, 1] = both[5 * 9600 :, 0] = 0
        soundfile.write(folder / "LDC2010S01" / "DISC1" / f"{name}.sph", both, 16000, format="NIST", subtype="ULAW")
        for number in ("1_2", "3", "6"):
            (folder / "spoken" / part).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / "spoken" / part / f"{name}-{number}.wav", noise(0.7, place), 22050)
    return folder


def test_fisher_is_cut_by_its_transcripts_one_channel_at_a_time(tmp_path: Path) -> None:
    done = python(FISHER, "--corpus", fisher(tmp_path / "corpus"), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "9 pairs" in done.stdout and "3 more recordings" in done.stdout, "segments over both channels"
    dev = tmp_path / "out" / "valid"
    assert table(dev / "source" / "text") == {
        "2005_1_fsp-1_2": "qué 10 qué 11",
        "2005_1_fsp-3": "qué 12",
        "2005_1_fsp-6": "qué 15",
    }
    assert table(dev / "target" / "text")["2005_1_fsp-6"] == "what 13"
    assert table(dev / "source" / "utt2spk")["2005_1_fsp-6"] == "2005_1_fsp-1"
    waves = {name: soundfile.read(path)[0] for name, path in table(dev / "source" / "wav.scp").items()}
    assert [len(waves[f"2005_1_fsp-{lines}"]) for lines in ("1_2", "3", "6")] == [19200, 9600, 9600]
    assert all(np.abs(wave).mean() > 0.05 for wave in waves.values()), "the channel that speaks"


def test_fisher_is_trained_with_the_papers_tasks(tmp_path: Path) -> None:
    run(EGS / "fisher" / "s2ut" / "run.sh", "--corpus", fisher(tmp_path / "corpus"), "--tiny", "true", "--data",
        tmp_path / "data", "--exp", tmp_path / "exp", "--stop-stage", "3")  # fmt: skip
    assert (tmp_path / "exp/tiny/train/scratch/model/card.json").exists()
    settings = tomllib.loads((tmp_path / "exp/tiny/train/scratch/config.toml").read_text())
    tasks = {task["name"]: (task["kind"], task["weight"]) for task in settings["settings"]["tasks"]}
    assert tasks == {
        "source_letter": ("attention", 8.0),
        "target_letter": ("attention", 8.0),
        "decoder_target": ("ctc", 1.6),
    }
    assert settings["data"]["tasks"]["source_letter"] == "source" and settings["encoder"]["family"] == "fbank"
    assert settings["settings"]["adaptor"]["num_layers"] == 12 and settings["search"]["beam"] == 10


def mboshi(folder: Path) -> Path:
    rows = ["utt_id\tsplit\tspeaker\tmboshi\tfrench"]
    for number in range(60):
        split = "dev" if number < 6 else "train"
        (folder / split).mkdir(parents=True, exist_ok=True)
        french = {5: "", 6: "phrase 0 ."}.get(number, f"l &apos; phrase {number} .")
        french = "phrase 0" if number == 0 else french
        rows.append(f"a_{number}\t{split}\ta\tw {number}\t{french}")
        soundfile.write(folder / split / f"a_{number}.wav", noise(0.5, number), 16000)
    (folder / "utterances.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_mboshi_is_paired_with_french_that_a_machine_says(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    done = python(MBOSHI, "--corpus", mboshi(tmp_path / "corpus"), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "59 pairs; 1 left out" in done.stdout, "what dev says, too"
    assert set(table(tmp_path / "out/test/source/text")) == {f"a_{number}" for number in range(5)}
    train, valid = (table(tmp_path / "out" / part / "target" / "text") for part in ("train", "valid"))
    assert "a_6" not in train | valid and valid and len(train) + len(valid) == 53
    assert train["a_7"] == "l phrase 7"
    first = table(tmp_path / "out/train/target/wav.scp")["a_7"]
    assert soundfile.info(first).samplerate == 16000 and soundfile.info(first).duration > 0.3


def test_floors_have_the_texts_of_the_targets_they_say(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("a 1 1 2\nb 3\nc 1 2 2\n")
    (tmp_path / "test").write_text("x 5\ny 6\n")
    (tmp_path / "text").write_text("a hello\nb no\nc hi\n")
    script = EGS / "utils" / "unit_floors.py"
    assert (
        python(script, tmp_path / "train", tmp_path / "test", "--texts", tmp_path / "text", tmp_path / "out").returncode
        == 0
    )
    assert table(tmp_path / "out/frequent-test/text") == {"x": "hello", "y": "hello"}
    units, texts = (table(tmp_path / "out/random-test" / file) for file in ("units", "text"))
    assert all({"1 2": ("hello", "hi"), "3": ("no",)}[units[name]].count(texts[name]) for name in "xy")
    (tmp_path / "train").write_text("a\nb\n")
    done = python(script, tmp_path / "train", tmp_path / "test", tmp_path / "out")
    assert done.returncode == 2 and "no target of training has a unit" in done.stderr


def test_the_table_has_rows_of_speech_alone(tmp_path: Path) -> None:
    score = {"score": 50.0, "low": 40.0, "high": 60.0, "signature": "tok:13a", "length_ratio": 1.254}
    (tmp_path / "ssl-test.json").write_text(json.dumps({"bleu": score, "empty": 1, "utterances": 3}))
    (tmp_path / "original-test.asr.json").write_text(
        json.dumps({"bleu": score, "chrf": score, "empty": 0, "utterances": 3})
    )
    done = python(EGS / "utils" / "bleu_table.py", tmp_path, "test", "ssl original resynthesis")
    assert done.stdout.splitlines()[2:] == [
        "| ssl | 50.00 [40.00, 60.00] | 1.25 | - | - | - | - | 1 of 3 |",
        "| original | - | - | 50.00 [40.00, 60.00] | 50.00 [40.00, 60.00] | - | - | 0 of 3 |",
        "| resynthesis | - | - | - | - | - | - | - |",
        "tok:13a",
    ]


def test_the_best_of_several_searches_is_that_with_the_best_bleu(tmp_path: Path) -> None:
    for name, score in (("a", 9.5), ("b", 10.5), ("c", 10.5)):
        (tmp_path / name).write_text(json.dumps({"bleu": {"score": score}}))
    done = python(EGS / "utils" / "best_bleu.py", *(f"{name}p={tmp_path / name}" for name in "abc"))
    assert done.stdout == "bp\n"

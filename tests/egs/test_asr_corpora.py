"""egs/kerstin/asr on a miniature from recordings to errors; egs/fillets/asr: which clips become which utterances."""

import json
import re
from pathlib import Path

import numpy as np
import soundfile

from speechssl import cli
from tests.egs.test_asr import run
from tests.egs.test_local import EGS, python
from tests.egs.test_s2ut import speak, table

PLAIN, PAIRS = EGS / "utils" / "plain_parts.py", EGS / "fillets" / "local" / "prepare_pairs.py"
PARTS = ("train", "valid", "test")


def test_kerstin_runs_from_recordings_to_errors_and_again_for_nothing(tmp_path: Path) -> None:
    lines = []
    (tmp_path / "kerstin" / "verified").mkdir(parents=True)
    for number in range(14):
        lines.append(f"de-{number}|Größe {'sa'[number % 2] * (number + 1)} – „Nu“!\n")
        samples = np.random.default_rng(number).normal(0, 0.1, 16000)
        soundfile.write(tmp_path / "kerstin" / "verified" / f"de-{number}.opus", samples, 16000, format="OGG",
                        subtype="OPUS")  # fmt: skip
    (tmp_path / "kerstin" / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    command = [EGS / "kerstin" / "asr" / "run.sh", "--corpus", tmp_path / "kerstin", "--data", tmp_path / "data",
               "--exp", tmp_path / "exp", "--tiny", "true"]  # fmt: skip
    printed = run(*command)
    texts = table(tmp_path / "data/tiny/plain/test/text")
    assert len(texts) == 3 and all(re.fullmatch("größe (s+|a+) nu", text) for text in texts.values())
    exp = tmp_path / "exp" / "tiny"
    found = {how: json.loads((exp / "scores" / f"{how}.s0.json").read_text()) for how in ("greedy", "lm")}
    assert found["greedy"]["not_scored"] == {"missing": 0, "extra": 2, "duplicate": 0} != found["lm"]["not_scored"]
    assert all(scores["utterances"] == 3 and f"seed 0, {how}:" in printed for how, scores in found.items())
    tuned = json.loads((exp / "texts/s0/decoder.json").read_text())["tuned"]
    assert tuned["best"]["cer"] <= tuned["greedy"]["cer"] and tuned["trials"] == 10
    assert tuned["texts"] == str(tmp_path / "data/tiny/plain/valid/text")
    card = json.loads((exp / "train/s0/recognizer/card.json").read_text())["training"]
    assert card["train"] == str(tmp_path / "data/tiny/plain/train") and card["utterances"] == 8
    assert run(*command, "--stop-stage", "2").count("done before") == 7


def test_no_text_of_one_part_is_said_in_another_however_it_is_written(tmp_path: Path) -> None:
    texts = {
        "test": ["Ahoj!", "Ahoj.", "…"],
        "valid": ["ahoj", "Dobrý den"],
        "train": ["AHOJ", "dobry den", "Dobrý, den", "'t Is zo'n  „X“", "- ?"],
    }
    for part, said in texts.items():
        (tmp_path / "in" / part).mkdir(parents=True)
        rows = [f"{part}-{number}" for number in range(len(said))]
        for file, values in (("text", said), ("wav.scp", [f"/a/{row}.wav" for row in rows]), ("utt2spk", "xyxyx")):
            lines = "".join(f"{row} {value}\n" for row, value in zip(rows, values, strict=False))
            (tmp_path / "in" / part / file).write_text(lines, encoding="utf-8")
    done = python(PLAIN, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert table(tmp_path / "out/test/text") == {"test-0": "ahoj", "test-1": "ahoj"}
    assert table(tmp_path / "out/valid/text") == {"valid-1": "dobrý den"}
    assert table(tmp_path / "out/train/text") == {"train-1": "dobry den", "train-3": "t is zo'n x"}
    assert table(tmp_path / "out/train/wav.scp") == {name: f"/a/{name}.wav" for name in ("train-1", "train-3")}
    assert table(tmp_path / "out/train/spk2utt") == {"y": "train-1 train-3"}
    assert "train: 2 left out that another part says, 1 without a letter" in done.stdout
    assert "valid: 1 left out that another part says, 0 without a letter" in done.stdout
    (tmp_path / "in" / "valid" / "text").write_text("valid-0 ahoj\n")
    done = python(PLAIN, tmp_path / "in", tmp_path / "none")
    assert (
        done.returncode == 2 and "valid: nothing is left of 1 texts" in done.stderr and not (tmp_path / "none").exists()
    )
    (tmp_path / "in" / "valid" / "text").unlink()
    done = python(PLAIN, tmp_path / "in", tmp_path / "none")
    assert done.returncode == 2 and "text" in done.stderr and "Traceback" not in done.stderr


def game(folder: Path) -> Path:
    """Twelve levels; of clips a, b, untold and one that only Czech has in levels 3 and 12, which has no pair."""
    for level in range(13):
        for language in ("cs", "nl"):
            clips = ["c"] if level == 12 else ["a", "b"] + ["c"] * (level == 3)
            script = folder / "usr" / "script" / f"l{level}" / f"dialogs_{language}.lua"
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text("\n".join(
                f'dialogId("{name}", "{"font_big" if name == "a" else ""}", "English, \\"quoted\\"")\n'
                f'dialogStr("{language} \\"{level}\\", {name}!")\n' for name in clips
            ), encoding="utf-8")  # fmt: skip
            for clip in [*clips, "untold"]:
                if clip != "c" or language == "cs":
                    speak(folder / "usr" / "sound" / f"l{level}" / language / f"{clip}.ogg")
    (folder / "usr" / "sound" / "l0" / "cs" / "b.ogg").write_bytes(b"")
    return folder


def test_fillets_has_levels_where_the_pairs_of_the_translators_have_them(tmp_path: Path) -> None:
    corpus = game(tmp_path / "game")
    for name in ("", "-cs", "-nl"):
        (corpus / f"fillets-ng-data{name}.done").touch()  # what debian_packages.sh has fetched
    done = python(PAIRS, "--corpus", corpus, tmp_path / "pairs")
    assert done.returncode == 0, done.stderr
    levels = {part: {name.split("-")[0] for name in table(tmp_path / "pairs" / part / "source/text")} for part in PARTS}
    for language, extra in (("cs", {"l12"}), ("nl", set())):
        data = tmp_path / "data" / language
        printed = run(EGS / "fillets/asr/run.sh", "--corpus", corpus, "--download", "true", "--language", language,
                      "--data", tmp_path / "data", "--exp", tmp_path / "exp", "--stop-stage", "0")  # fmt: skip
        told = 24 + 2 * (language == "cs")
        assert f"{told} clips with text, 13 without" in printed
        assert ("l0-b: left out" in printed) == (language == "cs")
        for part in PARTS:
            assert cli.main(["data", "check", str(data / "plain" / part)]) == 0
            texts = table(data / "plain" / part / "text")
            found = {name.split("-")[0] for name in texts}
            assert found == levels[part] | (extra if part == "train" else set())
            assert all(text == f"{language} {name[1:-2]} {name[-1]}" for name, text in texts.items())
            if part == "train":
                names, speakers = set(texts), set(table(data / "plain" / part / "utt2spk").values())
                assert ("l12-c" in names) == (language == "cs")
                assert speakers == {f"{language}-font_big", f"{language}-nobody"}
        assert sum(len(table(data / "plain" / part / "text")) for part in PARTS) == told - (language == "cs")


def test_a_folder_without_the_game_is_refused(tmp_path: Path) -> None:
    done = python(PAIRS.with_name("prepare_data.py"), "--corpus", tmp_path, "--language", "cs", tmp_path / "out")
    assert done.returncode == 2 and "fillets-ng-data-nl" in done.stderr and not (tmp_path / "out").exists()

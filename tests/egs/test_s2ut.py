"""The recipes of speech-to-unit translation: their scripts, and from recordings to the table, on miniatures."""

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
from tests.egs.test_resynth import loaded

FILLETS, TUXPAINT = (EGS / name / "local" / "prepare_pairs.py" for name in ("fillets", "tuxpaint"))
FLOORS = EGS / "utils" / "unit_floors.py"


def speak(path: Path, samples: int = 3000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(0, 0.1, samples)
    soundfile.write(path, noise, 16000, format="OGG", subtype="VORBIS")


def table(path: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())


def test_dialogues_become_pairs_and_no_level_or_line_is_in_two_parts(tmp_path: Path) -> None:
    game = tmp_path / "game"
    for level in range(10):
        for language in ("cs", "nl"):
            lines = []
            for clip in range(3):
                said = "Ahoj!" if clip == 0 and level in (0, 1) else f'{language} \\"{level}\\", {clip}.'
                lines.append(f'dialogId("c-{clip}", "font_small", "in English (really)")\ndialogStr("{said}")\n')
                if (level, clip, language) != (2, 1, "nl"):  # one is not spoken
                    speak(game / "sound" / f"level{level}" / language / f"c-{clip}.ogg")
            script = game / "script" / f"level{level}" / f"dialogs_{language}.lua"
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text("\n".join(lines), encoding="utf-8")
    done = python(FILLETS, "--corpus", game, "--held-out", "0.2", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "29 pairs" in done.stdout
    levels, lines, total = [], [], 0
    for part in ("train", "valid", "test"):
        source, target = (tmp_path / "out" / part / side for side in ("source", "target"))
        assert cli.main(["data", "check", str(source)]) == 0 and cli.main(["data", "check", str(target)]) == 0
        texts = table(source / "text")
        assert table(source / "translation") == table(target / "text") and set(texts) == set(table(target / "wav.scp"))
        levels.append({name.split("-")[0] for name in texts})
        lines.append(set(texts.values()))
        total += len(texts)
    assert not levels[0] & levels[1] and not (levels[0] | levels[1]) & levels[2]
    assert not lines[0] & lines[1] and not (lines[0] | lines[1]) & lines[2]
    assert f"{29 - total} left out" in done.stdout
    assert python(FILLETS, "--corpus", tmp_path / "out", tmp_path / "none").returncode == 2


def test_dialogues_of_one_language_are_found_with_their_texts_in_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"cs": ("Ahoj!", "Kde jsi?", "Tady."), "nl": ("Hallo!", "Waar ben je?", "Hier."), "en": ("a", "b", "c")}
    for language, said in texts.items():
        script = tmp_path / "game" / "script" / "wreck" / f"dialogs_{language}.lua"
        script.parent.mkdir(parents=True, exist_ok=True)
        lines = [f'dialogId("w-{place}", "font_big", "x")\ndialogStr("{line}")\n' for place, line in enumerate(said)]
        script.write_text("\n".join(lines), encoding="utf-8")
    sound = tmp_path / "game" / "sound" / "wreck"
    for language, name in (("cs", "w-0"), ("nl", "w-0"), ("cs", "w-1"), ("nl", "w-2"), ("cs", "w-9")):
        speak(sound / language / f"{name}.ogg")  # both have the first, nobody wrote down the last
    monkeypatch.syspath_prepend(str(FILLETS.parent))  # as it is where a script is run
    script = loaded(FILLETS.with_name("prepare_spoken.py"))
    found = {half.id: half for half in script.find(tmp_path, "cs", "nl")}
    assert set(found) == {"wreck-w-1", "wreck-w-2"}
    assert (found["wreck-w-1"].recorded, found["wreck-w-1"].texts) == (0, ("Kde jsi?", "Waar ben je?"))
    assert (found["wreck-w-2"].recorded, found["wreck-w-2"].texts) == (1, ("Tady.", "Hier."))
    assert found["wreck-w-2"].path == sound / "nl" / "w-2.ogg"


def test_captions_are_in_one_part_whatever_pictures_have_them(tmp_path: Path) -> None:
    stamps = tmp_path / "stamps" / "animals"
    for number in range(12):
        caption = number // 2  # two pictures each
        for language in ("es", "fr"):
            speak(stamps / f"p{number}_desc_{language}.ogg")
        text = f"English\nes.utf8=¡El {caption}!\nfr.utf8=Le {caption}.\n"
        (stamps / f"p{number}.txt").write_text(text if number else "English\n", encoding="utf-8")
    (stamps / "p11_desc_fr.ogg").write_bytes(b"OggS")
    done = python(TUXPAINT, "--corpus", tmp_path, "--held-out", "0.2", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "11 pairs; 0 left out" in done.stdout and "1 more recordings of both languages have no text" in done.stdout
    assert "animals-p11: left out" in done.stdout
    said = [set(table(tmp_path / "out" / part / "source" / "text").values()) for part in ("train", "valid", "test")]
    assert all(said) and sum(map(len, said)) == 6 and not said[0] & said[1] and not (said[0] | said[1]) & said[2]


def test_what_is_said_by_a_machine_is_in_no_part_that_is_scored(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    stamps = tmp_path / "stamps"

    def picture(name: str, texts: tuple[str, str], *languages: str) -> None:
        for place, language in enumerate(languages):
            seconds = 0.8 + (7 * place + sum(map(ord, name))) % 10 / 20
            speak(stamps / f"{name}_desc_{language}.ogg", int(16000 * seconds))
        (stamps / f"{name}.txt").write_text(f"English\nes.utf8={texts[0]}\nfr.utf8={texts[1]}\n", encoding="utf-8")

    for number in range(12):
        picture(f"p{number}", (f"El {number}.", f"Le {number}."), "es", "fr")
    pairs = tmp_path / "pairs"
    assert python(TUXPAINT, "--corpus", tmp_path, "--held-out", "0.2", pairs).returncode == 0
    held = {part: next(iter(table(pairs / part / "source" / "text").values())) for part in ("valid", "test")}
    picture("leak-source", (held["valid"].upper() + "!", "Autre chose."), "fr")
    picture("leak-target", ("Otra cosa.", held["test"].replace("el", "Le")), "es")
    picture("new", ("Una casa.", "Une maison."), "fr")
    picture("other", ("Un gato.", "Un chat."), "es")
    picture("endless", ("Un perro " * 60, "Un chien."), "fr")
    picture("silent", ("...", "Un chien."), "fr")
    done = python(TUXPAINT.with_name("prepare_spoken.py"), "--corpus", tmp_path, "--source", "es", "--target", "fr",
                  "--pairs", pairs, "--train", pairs / "train", "--deviations", "6", tmp_path / "said")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "said" / "report.json").read_text())
    assert report["reasons"] == {
        "leak-source": "held_out", "leak-target": "held_out", "new": "kept", "other": "kept", "endless": "ratio",
        "silent": "not_said"}  # fmt: skip
    assert "6 sentences recorded in one language: 2 kept" in done.stdout
    scored = {text for part in ("valid", "test") for side in ("source", "target")
              for text in table(pairs / part / side / "text").values()}  # fmt: skip
    for side in ("source", "target"):
        folder = tmp_path / "said" / side
        assert cli.main(["data", "check", str(folder)]) == 0
        texts = table(folder / "text")
        assert len(texts) == len(table(pairs / "train" / side / "text")) + 2 and not scored & set(texts.values())
    assert table(tmp_path / "said" / "source" / "translation") == table(tmp_path / "said" / "target" / "text")


def test_floors_are_the_most_frequent_target_and_random_ones(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("a 1 1 2\nb 3\nc 1 2 2\n")  # 1 2 comes twice once runs are merged
    (tmp_path / "test").write_text("x 5\ny 6\n")
    assert python(FLOORS, tmp_path / "train", tmp_path / "test", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "frequent-test" / "units").read_text() == "x 1 2\ny 1 2\n"
    drawn = table(tmp_path / "out" / "random-test" / "units")
    assert set(drawn) == {"x", "y"} and set(drawn.values()) <= {"1 2", "3"}
    (tmp_path / "train").write_text("a 1 2 3 4\nb 1 2 3 5\nc 7 8 9 5\n")  # b has the fewest edits to the others
    assert python(FLOORS, tmp_path / "train", tmp_path / "test", tmp_path / "out").returncode == 0
    assert table(tmp_path / "out" / "frequent-test" / "units")["x"] == "1 2 3 5"


def sing(path: Path, seed: int) -> None:
    """Half a second of a few notes, so that there are units to tell apart."""
    notes = np.random.default_rng(seed).integers(5, size=5).repeat(1600)
    wave = 0.3 * np.sin(np.cumsum(2 * np.pi * (150 + 300 * notes) / 16000))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, 16000, format="OGG", subtype="VORBIS")


def test_one_script_makes_the_table_of_any_system_and_checks_what_can_be_learned(tmp_path: Path) -> None:
    for number in range(12):
        for place, language in enumerate(("es", "fr")):
            sing(tmp_path / "stamps" / "a" / f"p{number}_desc_{language}.ogg", 2 * number + place)
        text = f"English\nes.utf8=¡El {number:04b}!\nfr.utf8=Le {number:04b}.\n"
        (tmp_path / "stamps" / "a" / f"p{number}.txt").write_text(text, encoding="utf-8")
    sing(tmp_path / "more" / "one.ogg", 99)
    command = [EGS / "tuxpaint" / "s2ut_es-fr" / "run.sh", "--corpus", tmp_path, "--data", tmp_path / "data", "--exp",
               tmp_path / "exp", "--tiny", "true"]  # fmt: skip
    printed = run(*command, "--systems", "ssl+multitask+bart+lna unit+bt", "--monolingual", f"fr={tmp_path}/more")
    table = printed[printed.index("| test: system") :].splitlines()
    names = ["ssl+multitask+bart+lna", "unit+bt", "frequent", "random"]
    assert [row.split(" | ")[0] for row in table[2:6]] == [f"| {name}" for name in names]
    exp = tmp_path / "exp" / "tiny"
    learned = tomllib.loads((exp / "unit_bart" / "config.toml").read_text())["data"]["train"]
    assert list(learned) == ["es", "fr"] and [len(folders) for folders in learned.values()] == [1, 2]
    settings = tomllib.loads((exp / "train" / "ssl+multitask+bart+lna" / "config.toml").read_text())
    assert settings["decoder"]["checkpoint"] == str(exp / "unit_bart" / "decoder")
    assert settings["settings"]["trained"] == "lna_d" and len(settings["settings"]["tasks"]) == 2
    assert "adaptor" in settings["settings"] and settings["encoder"] == {"checkpoint": "default"}
    steps = [tomllib.loads((exp / "train" / name / "config.toml").read_text()) for name in ("unit", "unit+bt")]
    assert [step["start"] for step in steps] == [str(exp / name / "model") for name in ("unit_bart", "train/unit")]
    assert not steps[0]["data"]["monolingual"]
    assert steps[1]["data"]["monolingual"] == learned and list(steps[1]["data"]["train"]) == ["es", "fr"]
    printed = run(*command, "--systems", "unit", "--no-repeats", "0 2", "--stage", "4", "--stop-stage", "4")
    scores = {name: json.loads((exp / f"tuned/unit-1-{name}.json").read_text())["bleu"]["score"] for name in "02"}
    best = "2" if scores["2"] > scores["0"] else "0"
    assert f"unit: --beam 2 --length-penalty 1 --no-repeat {best}\n" in printed
    assert f"--length-penalty 1 --no-repeat {best}" in (exp / "translated/unit-test.done").read_text()
    hearing = ("--vocoder", "default", "--recognizer", "train")
    run(*command, "--systems", "ssl", *hearing, "--stage", "2", "--stop-stage", "2")
    card = json.loads((exp / "recognizer" / "recognizer" / "card.json").read_text())
    assert card["training"]["train"] == str(tmp_path / "data" / "tiny" / "plain" / "train")
    run(*command, "--systems", "stacked", "--overfit", "3", "--stop-stage", "3")
    settings = tomllib.loads((exp / "overfit-3" / "train" / "stacked" / "config.toml").read_text())
    assert settings["settings"]["decoder"]["stack"] == 5 and settings["data"]["reduced"] is False
    assert settings["data"]["train"].endswith("pairs-first3/source") and settings["settings"]["smoothing"] == 0
    assert set(settings["dropout"].values()) == set(settings["settings"]["dropout"].values()) == {0}


def test_systems_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    script = EGS / "tuxpaint" / "s2ut_es-fr" / "run.sh"
    for systems, message in (("unit+bart", "joined with bt and aug only"), ("ssl+bt", "bt is joined with unit only"),
                             ("scratch no-such", "not of no-such")):  # fmt: skip
        done = subprocess.run([script, "--corpus", tmp_path, "--systems", systems], capture_output=True, text=True)
        assert done.returncode == 2 and message in done.stderr
    done = subprocess.run([EGS / "asterisk" / "s2ut" / "run.sh", "--corpus", tmp_path, "--systems", "ssl+aug"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2 and "aug: this corpus has no" in done.stderr

"""`speechssl score utterances` and `score neighbours` from audio and units to labels."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl import convert
from speechssl.audio import read
from speechssl.cli import main
from speechssl.metrics.utterance_probe import fit_utterance_probe, pool

RATE = 16_000


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two words, said by three speakers of other pitches; the words differ in the order of their sounds, too."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    words, speakers = [], []
    for part, count in (("train", 10), ("test", 4)):
        (folder / part).mkdir()
        for i in range(2 * 3 * count):
            word, speaker = i % 2, i // 2 % 3
            name = f"{part}{i:02}"
            time_s = np.arange(int(rng.uniform(0.2, 0.3) * RATE)) / RATE
            sounds = [sum(np.sin(2 * np.pi * f * (1 + 0.1 * speaker) * time_s) for f in pair)
                      for pair in ((300, 900), (250, 2400))]  # fmt: skip
            wave = np.concatenate([sounds[word], sounds[word], sounds[1 - word]]) * 0.1
            soundfile.write(folder / part / f"{name}.wav", wave + rng.normal(size=len(wave)) * 0.03, RATE)
            words.append(f"{name} {'ab'[word]}")
            speakers.append(f"{name} s{speaker}")
    (folder / "utt2word").write_text("\n".join(words) + "\n")
    (folder / "utt2spk").write_text("\n".join(speakers) + "\n")
    return folder


def scored(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict:
    capsys.readouterr()
    assert main(["score", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_probe_finds_words_and_is_the_one_that_the_library_learns(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (speech / "test", "--train", speech / "train", "--encoder", "mfcc", "--labels", speech / "utt2word")
    found = scored(capsys, "utterances", *where, "--l2", 0.01, "-o", tmp_path / "new/out.json", "--answers",
                   tmp_path / "answers.tsv")  # fmt: skip
    assert found == json.loads((tmp_path / "new/out.json").read_text())
    assert (found["utterances"], found["train_utterances"], found["majority"]) == (24, 60, 0.5)
    assert found["accuracy"] > 0.9 and found["labels"] == ["a", "b"] and found["layer_weights"] == [1]
    rows = [line.split("\t") for line in (tmp_path / "answers.tsv").read_text().splitlines()]
    assert found["accuracy"] == sum(label == said for _, label, said in rows) / 24
    encoder = convert.load_encoder("mfcc")
    paths = [sorted((speech / part).iterdir()) for part in ("train", "test")]
    train, test = (torch.stack([pool(encoder.all_layers(torch.from_numpy(read(p).samples))) for p in own]).float()
                   for own in paths)  # fmt: skip
    probe = fit_utterance_probe(train, torch.arange(60) % 2, l2=0.01)
    assert [said for _, _, said in rows] == ["ab"[i] for i in probe.predict(test).tolist()]


def test_the_penalty_is_chosen_where_nobody_tests(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels of the test part turned round: everything that was learned stays the same."""
    labels = [line.split() for line in (speech / "utt2word").read_text().splitlines()]
    (speech / "turned").write_text("".join(f"{u} {'ba'['ab'.index(w)] if u[1] == 'e' else w}\n" for u, w in labels))
    where = ("utterances", speech / "test", "--train", speech / "train", "--encoder", "mfcc", "--pooling", "mean_std")
    one = scored(capsys, *where, "--labels", speech / "utt2word")
    other = scored(capsys, *where, "--labels", speech / "turned", "--train-labels", speech / "utt2word")
    assert one["l2"] == other["l2"] and one["accuracy"] == 1 - other["accuracy"] > 0.9


def test_every_speaker_is_tested_on_what_the_others_teach(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--encoder", "mfcc", "--l2", 0.01)
    row = scored(capsys, "utterances", speech / "train", *common, "--labels", speech / "utt2word", "--folds",
                 speech / "utt2spk")  # fmt: skip
    assert list(row["folds"]) == ["s0", "s1", "s2"] and set(row["train_utterances"].values()) == {40}
    assert row["fold_mean"] == pytest.approx(sum(row["folds"].values()) / 3) and row["utterances"] == 60
    speakers = dict(line.split() for line in (speech / "utt2spk").read_text().splitlines())
    words = [line.split() for line in (speech / "utt2word").read_text().splitlines()]
    for part, keep in (("in", True), ("out", False)):
        (tmp_path / part).write_text("".join(f"{u} {w}\n" for u, w in words if (speakers[u] == "s1") == keep))
    alone = scored(capsys, "utterances", speech / "train", "--train", speech / "train", *common, "--labels",
                   tmp_path / "in", "--train-labels", tmp_path / "out", "--allow-missing")  # fmt: skip
    assert alone["accuracy"] == row["folds"]["s1"] and alone["in_both"] == 0 and alone["without_label"] == 60
    who = scored(capsys, "utterances", speech / "train", *common, "--labels", speech / "utt2spk", "--folds",
                 speech / "utt2spk")  # fmt: skip
    assert who["accuracy"] == 0 and who["never_learned"] == 60  # nobody can know a speaker who was never heard


def test_layers_together_and_each_alone(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = (speech / "test", "--train", speech / "train", "--encoder",
             Path(convert.__file__).parents[1] / "assets/default/encoder", "--labels", speech / "utt2word")  # fmt: skip
    row = scored(capsys, "utterances", *where, "--each-layer", "--layer-norm", "--l2", 0.1)
    assert len(row["each_layer"]) == len(row["layer_weights"]) == 6 and sum(row["layer_weights"]) == pytest.approx(1)
    one = scored(capsys, "utterances", *where, "--layer", 5, "--layer-norm", "--l2", 0.1)
    assert one["accuracy"] == row["each_layer"][5] and one["layer_weights"] == [1]
    assert row["accuracy"] > 0.9 and row["largest_gradient"] < 1e-4
    assert main(["score", "utterances", *map(str, where), "--layer", "6"]) == 2
    assert "has layers 0 to 5" in capsys.readouterr().err


def test_the_same_speech_in_both_is_told_and_what_cannot_be_used_is_listed(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = (speech / "utt2word").read_text().splitlines()
    (tmp_path / "some").write_text("\n".join(labels[1:]) + "\n")
    command = ["score", "utterances", str(speech / "train"), "--train", str(speech / "train"), "--encoder", "mfcc",
               "--labels", str(tmp_path / "some"), "--l2", "1"]  # fmt: skip
    assert main(command) == 1
    told = capsys.readouterr().out
    assert "59 ids were learned from and tested" in told and "2 utterances without a label, for example train00" in told
    assert main([*command, "--allow-missing"]) == 0
    lengths = sorted(soundfile.info(path).duration for path in (speech / "train").iterdir())
    assert main([*command, "--allow-missing", "--max-s", str(lengths[-2] + 1e-4)]) == 1
    assert "skipped: train" in capsys.readouterr().err
    assert main([*command, "--max-s", "0.1"]) == 2
    assert "too-long" in capsys.readouterr().err


def test_validation_takes_whole_groups(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("utterances", speech / "test", "--train", speech / "train", "--encoder", "mfcc", "--labels",
             speech / "utt2word", "--validation-groups")  # fmt: skip
    assert scored(capsys, *where, speech / "utt2spk")["accuracy"] > 0.9
    (speech / "few").write_text("train00 s0\n")
    assert main(["score", *map(str, where), str(speech / "few")]) == 2
    assert "has no group of 59 utterances" in capsys.readouterr().err


UNITS = "x1 1 1 2 3\nx2 1 2 2 3 3\ny1 7 8\ny2 7 7 8 8 9\n"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    (tmp_path / "units.txt").write_text(UNITS)
    (tmp_path / "asked.txt").write_text("p 1 2 2\nq 8 9\n")
    (tmp_path / "labels").write_text("x1 x\nx2 x\ny1 y\ny2 y\np x\nq x\n")
    (tmp_path / "groups").write_text("x1 g\nx2 h\ny1 g\ny2 g\n")
    return tmp_path


def test_neighbours_by_hand(units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """p is 1 edit of 3 from x1 and x2, q 1 of 2 from y1 and 1 of 3 from y2."""
    common = ("--labels", units / "labels", "--num-units", 10, "-k", 1)
    row = scored(capsys, "neighbours", units / "asked.txt", "--train", units / "units.txt", *common)
    assert (row["accuracy"], row["majority"], row["labels"]) == (0.5, 1.0, ["x", "y"])
    assert row["confusion"] == [[1, 1], [0, 0]] and row["train_utterances"] == 4 and not row["leave_one_out"]
    (units / "by").write_text("p one\nq two\n")
    by = scored(
        capsys, "neighbours", units / "asked.txt", "--train", units / "units.txt", *common, "--by", units / "by"
    )
    assert {group: (own["accuracy"], own["said"], own["majority"]) for group, own in by["by"].items()} == {
        "one": (1.0, {"x": 1}, 1.0), "two": (0.0, {"y": 1}, 1.0)}  # fmt: skip
    assert by["by"]["two"]["interval"] == pytest.approx([0, 0.7935], abs=1e-4)
    alone = scored(capsys, "neighbours", units / "units.txt", *common, "--answers", units / "answers")
    assert alone["accuracy"] == 1 and alone["leave_one_out"]
    assert (units / "answers").read_text() == "x1\tx\tx\nx2\tx\tx\ny1\ty\ty\ny2\ty\ty\n"
    folds = scored(capsys, "neighbours", units / "units.txt", *common, "--folds", units / "groups")
    assert folds["folds"] == {"g": 1 / 3, "h": 1.0} and folds["train_utterances"] == {"g": 1, "h": 3}
    assert main(["score", "neighbours", str(units / "asked.txt"), "--train", str(units / "units.txt"),
                 *map(str, common), "--plain"]) == 0  # fmt: skip
    assert "confused         x taken for y 1 times" in capsys.readouterr().out


def test_utterances_without_a_label_change_the_exit_code(units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (units / "labels").write_text("x1 x\nx2 x\ny2 y\n")
    command = ["score", "neighbours", str(units / "units.txt"), "--labels", str(units / "labels"), "--num-units", "10",
               "-k", "1"]  # fmt: skip
    assert main(command) == 1
    assert "1 utterances without a label, for example y1" in capsys.readouterr().out
    assert main([*command, "--allow-missing"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("neighbours", "units.txt", "--folds", "groups", "--train", "units.txt"), "exclude each other"),
        (("neighbours", "units.txt", "--train-labels", "labels"), "no effect without --train"),
        (("neighbours", "units.txt", "-k", "0"), "must be at least 1"),
        (("neighbours", "units.txt", "-k", "9"), "needs at least 9"),
        (("neighbours", "units.txt", "-k", "4"), "fewer than 4 neighbours"),
        (("neighbours", "units.txt", "--folds", "none"), "no group of 4 utterances"),
        (("neighbours", "units.txt", "--folds", "one"), "into one group"),
        (("neighbours", "other.txt"), "none of its 1 utterances has a label"),
        (("neighbours", "asked.txt", "--train", "large.jsonl"), "says num_units 20, not 10"),
        (("utterances", "in", "--encoder", "mfcc"), "give --train TRAIN"),
        (("utterances", "in", "--encoder", "mfcc", "--train", "in", "--l2", "1", "--validation-groups", "x"), "beside"),
        (("utterances", "in", "--encoder", "mfcc", "--train", "in", "--layer", "0", "--each-layer"), "no effect"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    units: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (units / "none").write_text("z g\n")
    (units / "one").write_text("x1 g\nx2 g\ny1 g\ny2 g\n")
    (units / "other.txt").write_text("z 1\n")
    (units / "large.jsonl").write_text('{"id": "x1", "units": [1], "num_units": 20, "rate_hz": 50}\n')
    monkeypatch.chdir(units)
    size = ("--num-units", "10") if arguments[0] == "neighbours" else ()
    assert main(["score", *arguments, "--labels", "labels", *size]) == 2
    assert message in capsys.readouterr().err

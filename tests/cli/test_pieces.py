"""`speechssl pieces`: learn, encode, decode; what comes back scores as what went in."""

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from speechssl.cli import main
from speechssl.extract.outputs import read_units
from speechssl.units.piece_training import LONGEST_SENTENCE


def rows_of(words: int, utterances: int) -> dict[str, list[int]]:
    """Frames of units: words of three units out of 8, each unit held for some frames."""
    random = np.random.default_rng(0)
    known = [random.permutation(8)[:3] for _ in range(words)]
    made = {}
    for number in range(utterances):
        units = np.concatenate([known[word] for word in random.integers(0, words, 12)])
        made[f"u{number}"] = np.repeat(units, random.integers(1, 4, len(units))).tolist()
    return made


@pytest.fixture
def units(tmp_path: Path) -> Path:
    path = tmp_path / "units.txt"
    lines = [" ".join([name, *map(str, frames)]) for name, frames in rows_of(4, 30).items()]
    path.write_text("\n".join([*lines, "silent", ""]))
    return path


def learn(units: Path, *options: str, pieces: int = 12) -> Path:
    folder = units.parent / "model"
    command = ["pieces", "train", str(units), "-o", str(folder), "--pieces", str(pieces), "--unit-rate", "50"]
    assert main([*command, "--num-units", "8", *options]) == 0
    return folder


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_what_is_decoded_is_what_was_encoded(
    kind: str, units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = learn(units, "--kind", kind)
    assert f"{kind}, 12 pieces of 8 units, the longest of " in capsys.readouterr().out
    pieces, back = tmp_path / "new" / "pieces.jsonl", tmp_path / "back.jsonl"
    assert main(["pieces", "encode", str(units), "--model", str(folder), "-o", str(pieces), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in pieces.read_text().splitlines()]
    frames = rows_of(4, 30)
    assert [row["id"] for row in rows] == [*frames, "silent"] and rows[-1]["pieces"] == []
    assert told["pieces"] == sum(len(row["pieces"]) for row in rows) < told["units"]
    assert told["units"] == sum(len(piece) for row in rows for piece in row["durations"])
    assert told["seconds"] == sum(map(len, frames.values())) / 50
    assert told["bitrate"] == pytest.approx(np.log2(12) * told["pieces"] / told["seconds"])

    assert main(["pieces", "decode", str(pieces), "--model", str(folder), "-o", str(back)]) == 0
    assert f"31 utterances, {sum(map(len, frames.values()))} frames" in capsys.readouterr().out
    decoded = [json.loads(line) for line in back.read_text().splitlines()]
    assert {row["id"]: np.repeat(row["units"], row["durations"]).tolist() for row in decoded} == frames | {"silent": []}
    scores = []
    for source, options in ((units, ["--num-units", "8", "--unit-rate", "50"]), (back, [])):
        assert main(["score", "units", str(source), "--json", *options]) == 0
        scores.append(json.loads(capsys.readouterr().out))
        assert scores[-1].pop("made_by") == [{"input": str(source)}]
    assert scores[0] == scores[1]
    assert not list(tmp_path.glob(".tmp*"))


def test_text_is_for_language_models(units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, pieces = learn(units), tmp_path / "pieces.txt"
    command = ["pieces", "encode", str(units), "--model", str(folder), "--format", "text", "-o"]
    assert main([*command, str(pieces)]) == 0
    assert pieces.read_text().startswith("u0 ") and pieces.read_text().endswith("silent\n")
    capsys.readouterr()
    assert main([*command, "-"]) == 0
    shown = capsys.readouterr()
    assert shown.out == pieces.read_text() and "units per piece" in shown.err
    assert main(["pieces", "decode", str(pieces), "--model", str(folder), "-o", "-"]) == 0
    shown = capsys.readouterr()
    assert "31 of them have no durations" in shown.err
    first = json.loads(shown.out.split("\n")[0])
    deduplicated = [unit for unit, _ in groupby(rows_of(4, 30)["u0"])]
    assert first["units"] == deduplicated and set(first["durations"]) == {1}


def test_an_output_folder_of_units_goes_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from speechssl import audio

    random = np.random.default_rng(0)
    (tmp_path / "wav").mkdir()
    for number in range(3):
        audio.write(tmp_path / "wav" / f"{number}.wav", random.normal(0, 0.1, 16000).astype(np.float32), 16000)
    out, folder, pieces = tmp_path / "units", tmp_path / "model", tmp_path / "pieces.jsonl"
    assert main(["units", str(tmp_path / "wav"), "-o", str(out), "--workers", "0", "--quiet"]) == 0
    assert main(["pieces", "train", str(out), "-o", str(folder), "--pieces", "104"]) == 0
    card = json.loads((folder / "card.json").read_text())
    assert card["unit_model"] == json.loads((out / "job.json").read_text())["model"]["unit_model"]
    assert main(["pieces", "encode", str(out), "--model", str(folder), "-o", str(pieces)]) == 0
    assert main(["pieces", "decode", str(pieces), "--model", str(folder), "-o", str(tmp_path / "back")]) == 0
    back = map(json.loads, (tmp_path / "back").read_text().splitlines())
    assert {row["id"]: np.repeat(row["units"], row["durations"]).tolist() for row in back} == {
        name: found.frames().tolist() for name, found in read_units(out)
    }
    capsys.readouterr()
    card["unit_model"] = "0" * 64
    (folder / "card.json").write_text(json.dumps(card))
    assert main(["pieces", "encode", str(out), "--model", str(folder), "-o", str(pieces)]) == 2
    assert "the same numbers mean other sounds" in capsys.readouterr().err


def test_info_tells_what_a_piece_model_is(units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = learn(units)
    capsys.readouterr()
    assert main(["info", str(folder)]) == 0
    assert "12 (bpe) of 8 units at 50 Hz" in capsys.readouterr().out
    assert main(["info", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_pieces"] == 12


def test_a_share_of_the_utterances_is_chosen_by_their_ids(units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learn(units, "--share", "0.5", "--json", pieces=10)
    half = json.loads(capsys.readouterr().out)["training"]["utterances"]
    learn(units, "--share", "1", "--json", "--overwrite", pieces=10)
    assert 5 < half < 26 and json.loads(capsys.readouterr().out)["training"]["utterances"] == 31
    lines = units.read_text().split("\n")
    units.write_text("\n".join([*reversed(lines[:-1]), ""]))
    learn(units, "--share", "0.5", "--json", "--overwrite", pieces=10)
    assert json.loads(capsys.readouterr().out)["training"]["utterances"] == half


def test_utterances_that_were_cut_are_told(units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with units.open("a") as file:
        file.write("long " + "0 1 2 3 " * LONGEST_SENTENCE + "\n")
    learn(units)
    assert "1 utterances had more than 4096 units and were learned from in parts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pieces", "8"], "so 9 is the least"),
        (["--pieces", "9999"], "pieces at the most, not 9999"),
        (["--pieces", "12", "--share", "0"], "--share 0.0"),
        (["--pieces", "12", "--share", "1e-18"], "no units to learn pieces from, in 0 utterances"),
        (["--pieces", "12", "--longest", "0"], "at most 0 units"),
    ],
)
def test_what_cannot_be_learned_leaves_nothing(
    options: list[str], message: str, units: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = units.parent / "model"
    command = ["pieces", "train", str(units), "-o", str(folder), "--num-units", "8", "--unit-rate", "50", *options]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in units.parent.iterdir()] == ["units.txt"]


def test_what_is_there_is_not_overwritten_unasked(units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = learn(units)
    command = ["pieces", "train", str(units), "-o", str(folder), "--pieces", "11"]
    assert main([*command, "--num-units", "8", "--unit-rate", "50"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert json.loads((folder / "card.json").read_text())["num_pieces"] == 12


def test_a_broken_line_ends_training_and_encoding(units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """sentencepiece would take an iterator's failure for the end of the text, or tell it in words of its own."""
    folder = learn(units)
    with units.open("a") as file:
        file.write("broken 1 x\n")
    out = units.parent / "pieces.jsonl"
    capsys.readouterr()
    for command in (["train", str(units), "-o", str(out), "--pieces", "12", "--num-units", "8", "--unit-rate", "50"],
                    ["encode", str(units), "--model", str(folder), "-o", str(out)]):  # fmt: skip
        assert main(["pieces", *command]) == 2
        assert capsys.readouterr().err == (
            f"speechssl pieces: {units}:32: expected `id unit unit ...`, found 'broken 1 x'\n"
        )
        assert not out.exists()


def test_units_of_another_size_are_refused(units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, other = learn(units), units.parent / "other.jsonl"
    other.write_text('{"id": "u", "units": [1], "rate_hz": 50.0, "num_units": 9}\n')
    assert main(["pieces", "encode", str(other), "--model", str(folder), "-o", str(units.parent / "out")]) == 2
    assert "says num_units 9, not 8" in capsys.readouterr().err


def test_pieces_go_into_what_is_no_file(units: Path) -> None:
    folder = learn(units)
    assert main(["pieces", "encode", str(units), "--model", str(folder), "-o", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()

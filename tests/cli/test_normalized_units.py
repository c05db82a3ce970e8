"""speechssl units by a unit normaliser: merged units of its reference, and what may be done with them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.cli import main
from speechssl.data.corpus import open_corpus
from speechssl.data.frame_labels import FrameLabels
from speechssl.data.sequences import read_units
from speechssl.errors import AudioError, DataError
from speechssl.extract.batches import in_batches, one_by_one
from speechssl.extract.encode import Encoder
from speechssl.extract.job import Job, LongAudio, Manifest, ModelSpec
from speechssl.extract.outputs import read_units as of_frames
from speechssl.units.model import UnitModel
from speechssl.units.normalizer import UnitNormalizer
from speechssl.units.vocoder import SpokenUnits
from tests.cli.test_resynth import work  # noqa: F401  (a fixture: vocoders of the built-in units and of others)
from tests.cli.test_transcribe import speech
from tests.units.test_normalizer import normalizer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings that can be used and three that cannot; normalisers to the built-in units, one of them mute."""
    folder = tmp_path_factory.mktemp("normalized")
    (folder / "in").mkdir()
    for number in range(4):
        soundfile.write(folder / "in" / f"u{number}.wav", speech(0.5 + 0.4 * number, number), 16000, subtype="FLOAT")
    soundfile.write(folder / "in" / "long.wav", speech(5.0, 9), 16000, subtype="FLOAT")
    soundfile.write(folder / "in" / "empty.wav", np.zeros(0), 16000)
    soundfile.write(folder / "in" / "one.wav", np.zeros(1), 16000)
    soundfile.write(folder / "in" / "nan.wav", np.full(8000, np.nan, np.float32), 16000, subtype="FLOAT")
    reference = SpokenUnits(100, 50.0, UnitModel.load("default").hash, "built in")
    normalizer(units=reference).save(folder / "model")
    normalizer(units=reference, blank=1e4).save(folder / "mute")
    normalizer(units=replace(reference, sha256="e" * 64)).save(folder / "stranger")
    return folder


def command(place: Path, out: Path, *options: str, model: str = "model") -> list[str]:
    return ["units", str(place / "in"), "--model", str(place / model), "-o", str(out), "--workers", "0", "--quiet",
            *options]  # fmt: skip


@pytest.fixture(scope="module")
def out(place: Path) -> Path:
    assert main(command(place, place / "out", "--format", "text,jsonl")) == 1
    return place / "out"


def test_units_are_what_the_model_says_and_bad_recordings_are_named(
    place: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = UnitNormalizer.load(place / "model")
    lines = dict(line.split(" ", 1) for line in (out / "units").read_text().splitlines())
    assert lines == {name: model(place / "in" / f"{name}.wav").text() for name in ("u0", "u1", "u2", "u3", "long")}
    failures = [line.split("\t")[:2] for line in (out / "failures.tsv").read_text().splitlines()[1:]]
    assert failures == [["empty", "empty"], ["nan", "non-finite"], ["one", "too-short"]]
    assert main(["verify", str(out)]) == 0
    capsys.readouterr()
    assert main(["units", str(place / "in" / "u1.wav"), "-o", "-", "--model", str(place / "model")]) == 0
    assert capsys.readouterr().out == f"u1 {lines['u1']}\n"


def test_the_sidecar_says_that_they_have_no_frames_and_whose_they_are(place: Path, out: Path) -> None:
    card = json.loads((out / "units.json").read_text())
    model = UnitNormalizer.load(place / "model")
    assert card["model"]["reduced"] and card["outputs"] == [
        {"format": name, "merged": True} for name in ("jsonl", "text")
    ]
    assert card["units"] == sum(len(units) for _, units in of_frames(out, reduced=True)) and "frames" not in card
    assert card["model"]["unit_model"] == UnitModel.load("default").hash and card["rate_hz"] == 50.0
    assert card["model"]["encoder"]["sha256"] == model.recognizer.sha256
    assert not (out / "durations").exists()
    assert all("durations" not in json.loads(line) for line in (out / "units.jsonl").read_text().splitlines())


def test_info_tells_whose_units_it_writes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(place / "model")]) == 0
    told = capsys.readouterr().out
    assert f"unit model {UnitModel.load('default').hash}" in told and "100 of built in, merged" in told
    assert main(["info", str(place / "model"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["recognizer"]["sha256"] == UnitNormalizer.load(place / "model").recognizer.sha256


def test_given_again_nothing_is_computed_and_a_lost_shard_comes_back(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = command(place, tmp_path / "out")
    assert main(again) == 1
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("units*")}
    capsys.readouterr()
    assert main(again) == 1 and "everything was done already" in capsys.readouterr().out
    for path in (tmp_path / "out").glob("units*"):
        path.unlink()
    journal = (tmp_path / "out" / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "out" / "journal.jsonl").write_text("".join(journal[:1]))
    assert main(again) == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("units*")} == before
    assert main(command(place, tmp_path / "out", model="stranger")) == 2
    assert "another job" in capsys.readouterr().err


def test_long_recordings_in_windows_and_batches_give_what_each_gives_alone(place: Path, tmp_path: Path) -> None:
    spec = ModelSpec(unit_model=str(place / "model"))
    job = Job("units", "units", spec.identify("units"), Manifest("0", 1), 1, 1, long_audio=LongAudio(2.0, 0.5))
    pretrained, layer, quantizer = spec.load("units")
    encoder, rows = Encoder(job, pretrained, layer, quantizer), open_corpus(place / "in").utterances
    alone = list(one_by_one(encoder, rows, {}, tmp_path / "a", lambda row: None))
    together = list(in_batches(encoder, rows, tmp_path / "b", lambda row: None))
    model = UnitNormalizer.load(place / "model")
    for row, one, other in zip(rows, alone, together, strict=True):
        if isinstance(one, AudioError):
            assert isinstance(other, AudioError) and other.code == one.code
            continue
        assert one.frames.tolist() == other.frames.tolist()  # type: ignore[union-attr]
        assert one.frames.tolist() == model(row.audio).ids.tolist(), row.id


def test_parts_of_several_machines_come_together(
    place: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    parts = [tmp_path / name for name in "ab"]
    for number, part in enumerate(parts):
        main(command(place, part, "--shard-size", "4", "--shard", f"{number}/2"))
    words = ["merge", *map(str, parts), "-o", str(tmp_path / "whole"), "--input", str(place / "in"), "--quiet"]
    capsys.readouterr()
    assert main([*words, "--dedup"]) == 2 and "leave --dedup out" in capsys.readouterr().err
    assert main(words) == 1
    assert (tmp_path / "whole" / "units").read_bytes() == (out / "units").read_bytes()
    assert json.loads((tmp_path / "whole" / "units.json").read_text())["outputs"] == [
        {"format": "text", "merged": True}
    ]


def test_a_recording_of_which_nothing_is_written_is_named(place: Path, tmp_path: Path) -> None:
    assert main(command(place, tmp_path / "out", model="mute")) == 2
    assert "u1\tno-units\t" in (tmp_path / "out" / "failures.tsv").read_text()


@pytest.mark.parametrize(("words", "message"), [
    (["--dedup"], "leave --dedup out"), (["--kernel", "fast"], "--kernel fast"),
    (["--encoder", "mfcc"], "by its own encoder"), (["--layer", "1"], "leave --layer"),
])  # fmt: skip
def test_options_without_sense_are_refused(
    place: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(place, tmp_path / "out", *words)) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_they_are_targets_and_no_labels_of_frames(place: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = read_units(out)
    assert (targets.size, targets.rate_hz, targets.model_sha256) == (100, 50.0, UnitModel.load("default").hash)
    assert targets.of["u1"].tolist() == UnitNormalizer.load(place / "model")(place / "in" / "u1.wav").ids.tolist()
    with pytest.raises(DataError, match="merged"):
        read_units(out, reduced=False)
    with pytest.raises(DataError, match="one per frame"):
        FrameLabels.read(out, ["u1"], 50.0)
    for words in (
        ["score", "units", str(out)],
        ["score", "durations", str(out)],
        ["report", str(out), "-o", "page.html"],
    ):
        assert main(words) == 2
        assert "units of a normaliser" in capsys.readouterr().err
    assert main(["features", str(place / "in"), "--model", str(place / "model"), "-o", str(place / "features")]) == 2
    assert "by its own encoder" in capsys.readouterr().err


def test_they_are_compared_with_the_units_of_the_reference(
    place: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["units", str(place / "in"), "-o", str(tmp_path / "raw"), "--workers", "0", "--quiet"]) == 1
    capsys.readouterr()
    assert main(["score", "edits", str(tmp_path / "raw"), str(out), "--json", "--seed", "3"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["utterances"] == 5 and row["low"] <= row["unit_error_rate"] <= row["high"]
    assert main(["score", "edits", str(out), str(out), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["ued"], row["unit_error_rate"]) == (None, 0.0)
    assert main(command(place, tmp_path / "other", model="stranger")) == 1
    assert main(["score", "edits", str(tmp_path / "raw"), str(tmp_path / "other")]) == 2
    assert "different models" in capsys.readouterr().err


def test_a_vocoder_of_the_references_units_speaks_them_and_another_refuses(
    out: Path, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]  # noqa: F811
) -> None:  # fmt: skip
    words = ["resynth", str(out), "--quiet"]
    assert (
        main([*words, "--vocoder", str(work / "vocoder"), "-o", str(tmp_path / "a"), "--durations", "predicted"]) == 0
    )
    assert len((tmp_path / "a" / "wav.scp").read_text().splitlines()) == 5
    assert main([*words, "--vocoder", str(work / "vocoder"), "-o", str(tmp_path / "b")]) == 2
    assert "--durations predicted" in capsys.readouterr().err
    assert (
        main([*words, "--vocoder", str(work / "stranger"), "-o", str(tmp_path / "c"), "--durations", "predicted"]) == 2
    )
    assert "would be other sounds" in capsys.readouterr().err


def test_where_units_of_frames_are_made_of_recordings_it_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["resynth", str(place / "in"), "--units", str(place / "model"), "-o", str(tmp_path / "out")]
    assert main(words) == 2
    assert "a unit normaliser, whose units belong to no frames" in capsys.readouterr().err

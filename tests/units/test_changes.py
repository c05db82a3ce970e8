"""Edits of units measured in memory: which changes are asked for, and the same numbers as the long way round."""

import json
from pathlib import Path

import numpy as np
import pytest

from speechssl import audio
from speechssl.audio.augment import Augmentation
from speechssl.cli import main
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.errors import ConfigError
from speechssl.units.changes import Change, measure, parse_changes
from speechssl.units.model import UnitModel
from tests.units.test_model import mfcc_model, wav


def test_a_list_of_changes_is_read_in_its_order() -> None:
    assert parse_changes("noise=20,5  pitch=-1 stretch=1.1 reverb=0.3") == [
        Change("noise", 20.0), Change("noise", 5.0), Change("pitch", -1.0), Change("stretch", 1.1),
        Change("reverb", 0.3),
    ]  # fmt: skip
    assert Change("noise", 5.0).settings == Augmentation(snr_db=5.0)
    assert Change("reverb", 0.3).settings == Augmentation(rt60_s=0.3)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no changes"), ("noise", "'noise': expected"), ("noise=", "'noise=': expected"), ("noise=a", "'noise=a'"),
     ("noise=inf", "'noise=inf'"), ("noise=nan", "'noise=nan'"), ("noise=5,5", "5 changes nothing, or stands there"),
     ("speed=2", "choose from noise, reverb"), ("pitch=0", "0 changes nothing"), ("stretch=1", "1 changes nothing"),
     ("stretch=9", "stretch must be in"), ("pitch=99", "semitones"), ("noise=5 =3", "'=3'")],
)  # fmt: skip
def test_changes_without_sense_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_changes(text)


def test_edits_are_those_of_augment_units_and_score_one_after_another(tmp_path: Path) -> None:
    """But for the 16 bits of the files between: 10 dB of noise, whose draws depend on the id alone."""
    model = mfcc_model(num_units=5)
    model.save(tmp_path / "model")
    (tmp_path / "in").mkdir()
    for seed, name in enumerate("ab"):
        audio.write(tmp_path / "in" / f"{name}.wav", wav(24000, seed) * np.linspace(0.01, 1, 24000, dtype="f"), 16000)
    assert main(["data", "augment", str(tmp_path / "in"), str(tmp_path / "noisy"), "--noise", "10"]) == 0
    for source, target in (("in", "clean"), ("noisy", "changed")):
        assert main(["units", str(tmp_path / source), "-o", str(tmp_path / target), "--model", str(tmp_path / "model"),
                     "--workers", "0", "--quiet"]) == 0  # fmt: skip
    score = ["score", "edits", str(tmp_path / "clean"), str(tmp_path / "changed"), "-o", str(tmp_path / "score.json")]
    assert main(score) == 0
    expected = json.loads((tmp_path / "score.json").read_text())
    corpus = open_corpus(tmp_path / "in")
    samples = [(u.id, read_utterance(u, sample_rate=16000).samples) for u in corpus.utterances]
    seconds: list[float] = []
    (found,) = measure(UnitModel.load(tmp_path / "model"), samples, [Change("noise", 10.0)], done=seconds.append)
    assert found.ued == pytest.approx(expected["ued"], abs=0.02) and found.ued > 0.05
    assert (found.utterances, found.units) == (2, expected["units"])
    assert seconds == [1.5, 1.5]


def test_one_seed_gives_one_result_and_the_order_of_recordings_plays_no_part() -> None:
    model, changes = mfcc_model(num_units=5), [Change("noise", 10.0), Change("reverb", 0.2)]
    recordings = [(name, wav(8000, seed)) for seed, name in enumerate("abc")]
    first = measure(model, recordings, changes)
    again = measure(model, recordings[::-1], changes)
    assert [(s.edits, s.units) for s in first] == [(s.edits, s.units) for s in again]
    other = measure(model, recordings, changes, seed=1)
    assert [s.edits for s in first] != [s.edits for s in other]


def test_without_recordings_or_frames_nothing_is_defined() -> None:
    for recordings in ([], [("a", np.zeros(100, np.float32))]):
        (found,) = measure(mfcc_model(), recordings, [Change("noise", 10.0)])
        assert np.isnan(found.ued) and found.utterances == 0

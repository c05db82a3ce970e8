"""The unit normaliser: what its best path writes, whose units these are, and its folder."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import speechssl
from speechssl import encoders
from speechssl.encoders.pretrained import EncoderCard
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.nn.frame_head import FrameHead, Head
from speechssl.nn.initialize import initialize
from speechssl.quantizers import Quantizer, SequenceQuantizer
from speechssl.recognition.model import Recognizer, RecognizerCard
from speechssl.units.normalizer import BestPath, UnitNormalizer, vocabulary_of
from speechssl.units.vocoder import SpokenUnits
from tests.cli.test_transcribe import FAMILIES, recognizer, speech

REFERENCE = SpokenUnits(6, 50.0, "a" * 64, "anna's")


def normalizer(
    family: str = "tdnn", units: SpokenUnits = REFERENCE, *, blank: float = 0.0, scale: float = 30.0
) -> UnitNormalizer:
    """Random weights, large ones in the head, so that it writes many units; blank is added to that symbol's score."""
    torch.manual_seed(0)
    encoder = encoders.build(family, FAMILIES[family])
    initialize(encoder, torch.Generator().manual_seed(1))
    head = FrameHead(Head(), encoder, units.num_units + 1)
    with torch.no_grad():
        head.output.weight.mul_(scale)
        head.output.bias[-1] += blank
    made = Recognizer(encoder, EncoderCard(family, FAMILIES[family]), head, vocabulary_of(units.num_units),
                      RecognizerCard("random"))  # fmt: skip
    return UnitNormalizer(made, units)


def slow_units(log_probs: np.ndarray) -> list[int]:
    """The map B of Graves et al. 2006 in plain Python, then runs of equal units merged."""
    path = [max(range(len(row)), key=row.__getitem__) for row in log_probs.tolist()]
    written = [symbol for symbol, _ in itertools.groupby(path) if symbol != log_probs.shape[1] - 1]
    return [unit for unit, _ in itertools.groupby(written)]


def test_the_example_by_hand() -> None:
    """Blank is 3: 0 0 _ 0 1 _ _ 2 2 1 writes 0 1 2 1; the second 0 is the first one's run."""
    path = BestPath(3)
    assert path.sequence(np.array([0, 0, 3, 0, 1, 3, 3, 2, 2, 1])).tolist() == [0, 1, 2, 1]
    assert path.sequence(np.array([3, 3])).tolist() == path.sequence(np.zeros(0, np.int64)).tolist() == []
    assert path.encode(torch.tensor([[0.0, 1.0, 1.0, 0.5]])).tolist() == [1], "ties go to the lower one"
    with pytest.raises(DataError):
        path.encode(torch.tensor([[0.0, 1.0, float("nan"), 0.5]]))
    with pytest.raises(ConfigError, match="no codebook"):
        path.decode(torch.zeros(1, dtype=torch.int64))
    assert isinstance(path, SequenceQuantizer) and isinstance(path, Quantizer) and path.dim == 4


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), max_size=20))
def test_the_best_path_equals_a_slow_form(rows: list[list[int]]) -> None:
    scores = np.array(rows, np.float32).reshape(len(rows), 4)
    path = BestPath(3)
    assert path.sequence(path.encode(torch.from_numpy(scores)).numpy()).tolist() == slow_units(scores)


@pytest.mark.parametrize("family", ["tdnn", "hubert"])
def test_units_are_those_of_the_slow_form_and_bear_the_references_name(family: str) -> None:
    model, wav = normalizer(family), speech(1.3)
    units = model(wav, 16000)
    expected = slow_units(model.recognizer.log_probs(torch.from_numpy(wav)).numpy())
    assert units.ids.tolist() == expected and len(set(expected)) > 2
    assert (units.size, units.rate_hz, model.size, model.hash) == (6, 50.0, 6, "a" * 64)
    assert units == units.dedup(), "no unit comes twice in a row"
    with pytest.raises(DataError, match="NaN"):
        model(np.full(16000, np.nan, np.float32), 16000)
    for too_few in (0, 1, 100):
        assert len(model(wav[:too_few], 16000)) == 0


def test_several_utterances_together_give_what_each_gives_alone() -> None:
    model = normalizer()
    waves = [torch.from_numpy(speech(seconds, seed)) for seed, seconds in enumerate((0.3, 1.1, 0.7))]
    together = [model.quantize(found) for found in model.recognizer.log_probs_batch(waves)]
    assert together == [model(wave, 16000) for wave in waves]


def test_a_saved_one_comes_back_where_unit_models_are_loaded(tmp_path: Path) -> None:
    model, wav = normalizer(), speech(1.0)
    model.save(tmp_path / "m")
    loaded = speechssl.load_unit_model(tmp_path / "m")
    assert isinstance(loaded, UnitNormalizer)
    assert loaded(wav, 16000) == model(wav, 16000) and loaded.units == REFERENCE
    text = speechssl.load_recognizer(tmp_path / "m").transcribe(wav, 16000).split()
    assert [int(unit) for unit, _ in itertools.groupby(text)] == model(wav, 16000).ids.tolist()
    with pytest.raises(ConfigError, match="own encoder"):
        speechssl.load_unit_model(tmp_path / "m", encoder=model.pretrained)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    normalizer().save(tmp_path / "a")
    normalizer(scale=20.0).save(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "normalizer.json", tmp_path / "a" / "normalizer.json")
    with pytest.raises(CheckpointError, match="belongs to another recogniser"):
        UnitNormalizer.load(tmp_path / "a")
    card = json.loads((tmp_path / "b" / "normalizer.json").read_text())
    for change in ({"num_units": 5}, {"num_units": 1 << 40}, {"sha256": ""}, {"rate_hz": 0.0}, {"num_units": "six"}):
        changed = {**card, "units": {**card["units"], **change}}
        (tmp_path / "b" / "normalizer.json").write_text(json.dumps(changed))
        with pytest.raises(CheckpointError):
            UnitNormalizer.load(tmp_path / "b")
    (tmp_path / "b" / "normalizer.json").write_text('{"format": "other"}')
    with pytest.raises(CheckpointError, match="not a unit normaliser"):
        UnitNormalizer.load(tmp_path / "b")


def test_a_recogniser_of_something_else_is_none() -> None:
    with pytest.raises(CheckpointError, match="does not write"):
        UnitNormalizer(recognizer(), REFERENCE)
    with pytest.raises(CheckpointError, match="does not write"):
        UnitNormalizer(normalizer().recognizer, replace(REFERENCE, num_units=7))

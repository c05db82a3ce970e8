"""Unit vocoders: what a sample depends on, pieces, padding, labels of crops, folders, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import speechssl
from speechssl.data.batch import Batch
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.units import vocoder as folders
from speechssl.units.units import Units
from speechssl.units.vocoder import SpokenUnits, Vocoder
from speechssl.vocoders.learning import Learning
from speechssl.vocoders.unit_vocoder import Config, UnitVocoder, held
from tests.encoders.parity import randomize

WAVE = {"kind": "wave", "channels": 16, "strides": [5, 4], "up_kernels": [11, 8], "kernels": [3, 5],
        "dilations": [1, 3], "last_kernel": 0, "activation": "leaky_relu"}  # fmt: skip
EVEN = {"kind": "wave", "channels": 8, "strides": [3, 2], "kernels": [3], "dilations": [2]}
SPECTRAL = {"kind": "spectral", "channels": 8, "num_blocks": 2, "hop": 20, "window": 100}
GENERATORS = {"wave": WAVE, "even": EVEN, "spectral": SPECTRAL}
OWN = SpokenUnits(7, 800.0, "a" * 64, "a unit model")


def make(kind: str = "wave", speakers: tuple[str, ...] = ()) -> UnitVocoder:
    torch.manual_seed(0)
    built = UnitVocoder(Config(num_units=7, dim=6, speakers=speakers, speaker_dim=4, generator=GENERATORS[kind]))
    randomize(built)
    return built.double().eval()


def ids(count: int, seed: int = 0) -> Tensor:
    return torch.randint(7, (count,), generator=torch.Generator().manual_seed(seed))


def test_a_frame_is_its_units_embedding_beside_its_speakers() -> None:
    vocoder = make(speakers=("anna", "bob"))
    frames = vocoder.frames(torch.tensor([[3, 3, 5]]), torch.tensor([1]))
    units, speakers = vocoder.units.weight, vocoder.speakers.weight
    expected = torch.stack([torch.cat([units[unit], speakers[1]]) for unit in (3, 3, 5)])
    assert torch.equal(frames, expected.unsqueeze(0))


@pytest.mark.parametrize("kind", sorted(GENERATORS))
def test_a_unit_changes_samples_as_far_as_the_reach_says_and_no_further(kind: str) -> None:
    vocoder, count, middle = make(kind), 101, 50
    one = ids(count)
    other = one.clone()
    other[middle] = (other[middle] + 1) % 7
    changed = (vocoder(one[None]) != vocoder(other[None]))[0].unflatten(0, (count, vocoder.hop)).any(1).nonzero()
    left, right = vocoder.generator.reach
    assert 0 < max(left, right) < 50
    assert (int(changed.min()), int(changed.max())) == (middle - right, middle + left)


@pytest.mark.parametrize("kind", sorted(GENERATORS))
@pytest.mark.parametrize("size", [1, 7, 60, 1000])
def test_made_in_pieces_a_waveform_is_that_of_one_pass(kind: str, size: int) -> None:
    vocoder, units = make(kind), ids(60)
    pieces = list(vocoder.pieces(units, size=size))
    assert [len(piece) for piece in pieces] == [min(size, 60 - at) * vocoder.hop for at in range(0, 60, size)]
    torch.testing.assert_close(torch.cat(pieces), vocoder(units[None])[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", sorted(GENERATORS))
def test_what_an_utterance_gives_does_not_depend_on_its_neighbours(kind: str) -> None:
    vocoder, short, long = make(kind), ids(9), ids(30, seed=1)
    both = torch.stack([torch.nn.functional.pad(short, (0, 21), value=4), long])
    valid = torch.arange(30) < torch.tensor([[9], [30]])
    wav = vocoder(both, valid=valid)
    assert wav.shape == (2, 30 * vocoder.hop) and not wav[0, 9 * vocoder.hop :].any()
    torch.testing.assert_close(wav[0, : 9 * vocoder.hop], vocoder(short[None])[0], atol=1e-10, rtol=0)
    torch.testing.assert_close(wav[1], vocoder(long[None])[0], atol=1e-10, rtol=0)


def test_the_last_unit_lasts_to_the_end_of_a_recording() -> None:
    labels = torch.tensor([[1, 2, 3, -1], [4, 5, 6, 0]])
    assert held(labels, 6).tolist() == [[1, 2, 3, 3, 3, 3], [4, 5, 6, 0, 0, 0]]
    assert held(labels, 2).tolist() == [[1, 2], [4, 5]]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_held_labels_begin_with_what_was_there_and_have_no_gap(labels: list[int], frames: int) -> None:
    found = held(torch.tensor([labels]), frames)[0].tolist()
    assert found == (labels + [labels[-1]] * frames)[:frames]


def batch(labels: Tensor, lengths: list[int], groups: Tensor | None = None) -> Batch:
    wav = torch.rand(len(lengths), max(lengths), dtype=torch.float64)
    count = len(lengths)
    return Batch(wav, torch.tensor(lengths), torch.arange(count), tuple("abc"[:count]), labels, groups)


def test_what_is_learned_is_what_the_plain_vocoder_says_of_the_labels() -> None:
    vocoder = make(speakers=("anna", "bob"))
    learning = Learning(vocoder)
    found = learning.train().reconstruct(batch(ids(4)[None].repeat(2, 1), [75, 75], torch.tensor([1, 0])))
    plain = learning.trained().double()
    assert not any("parametrizations" in name for name in plain.state_dict())
    expected = plain(ids(4)[None].repeat(2, 1), torch.tensor([1, 0]))[:, :75]
    torch.testing.assert_close(found.made.double(), expected, atol=1e-6, rtol=0)
    assert not torch.equal(found.made[0], found.made[1])


def test_in_evaluation_an_utterance_is_spoken_as_if_it_were_alone() -> None:
    learning = Learning(make()).eval()
    labels = torch.tensor([[1, 2, -1, -1], [3, 4, 5, 6]])
    found = learning.reconstruct(batch(labels, [47, 80]))
    alone = learning.trained().double()(torch.tensor([[1, 2, 2]]))[0, :47]
    torch.testing.assert_close(found.made[0, :47].double(), alone, atol=1e-6, rtol=0)
    assert not found.made[0, 47:].any() and not found.real[0, 47:].any()


def test_without_labels_there_is_nothing_to_learn() -> None:
    with pytest.raises(DataError, match=r"data\.labels"):
        Learning(make()).reconstruct(Batch(torch.zeros(1, 40), torch.tensor([40]), torch.zeros(1).long(), ("a",)))


@pytest.mark.parametrize(
    ("units", "said"),
    [
        (torch.tensor([], dtype=torch.int64), "no units to speak"),
        (torch.tensor([1, 7]), r"unit 7 is unknown: this vocoder has units 0\.\.6"),
        (torch.tensor([-1, 6]), "unit -1 is unknown"),
        (torch.tensor([0.5]), "whole unit ids"),
        (torch.tensor([[1]]), "whole unit ids"),
    ],
)
def test_what_cannot_be_spoken_is_refused(units: Tensor, said: str) -> None:
    with pytest.raises(DataError, match=said):
        make().synthesize(units)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "vocoder"
    folders.save(folder, make().float(), OWN, name="tiny", licence="CC0-1.0", training={"updates": 3})
    return folder


def test_a_stored_vocoder_says_the_same_and_names_its_unit_model(stored: Path) -> None:
    assert isinstance(speechssl.load_vocoder(stored), Vocoder)
    vocoder = folders.load(stored)
    assert vocoder.card.units == OWN
    assert (vocoder.card.name, vocoder.card.licence, vocoder.card.training) == ("tiny", "CC0-1.0", {"updates": 3})
    frames = np.array([1, 1, 1, 5, 5])
    expected = make().float().synthesize(torch.from_numpy(frames))
    assert torch.equal(vocoder(frames), expected) and expected.shape == (100,)
    torch.testing.assert_close(speechssl.load_vocoder(stored)(frames), expected, atol=1e-6, rtol=1e-5)
    whole = Units.from_frames(frames, rate_hz=800.0, size=7)
    assert torch.equal(vocoder(whole), expected) and torch.equal(vocoder(whole.dedup()), expected)


def test_units_of_another_model_rate_or_number_are_refused(stored: Path) -> None:
    vocoder = folders.load(stored)
    vocoder.check("a" * 64)
    with pytest.raises(DataError, match=r"bbbbbbbbbbbb.*'a unit model'.*other sounds"):
        vocoder.check("b" * 64)
    for rate, size in ((50.0, 7), (800.0, 8)):
        with pytest.raises(DataError, match="this vocoder speaks 7 units at 800 Hz"):
            vocoder(Units.from_frames([1], rate_hz=rate, size=size))
    with pytest.raises(ConfigError, match="8 units at 800 Hz for a vocoder of 7"):
        folders.save(stored.parent / "other", make(), SpokenUnits(8, 800.0))


def test_a_speaker_is_asked_for_by_name(tmp_path: Path) -> None:
    folders.save(tmp_path / "two", make(speakers=("anna", "bob")).float(), OWN)
    two = folders.load(tmp_path / "two")
    assert not torch.equal(two(ids(5), "anna"), two(ids(5), "bob"))
    for name in (None, "carla"):
        with pytest.raises(DataError, match="choose from anna, bob"):
            two(ids(5), name)
    with pytest.raises(DataError, match="2 speakers"):
        two.module.synthesize(ids(5), 2)


def test_a_vocoder_of_one_voice_takes_no_speaker(stored: Path) -> None:
    with pytest.raises(DataError, match="one voice"):
        folders.load(stored)(ids(5), "anna")


@pytest.mark.parametrize("damage", ["card", "weights", "shapes", "missing", "huge", "other"])
def test_a_damaged_folder_is_refused(damage: str, stored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vocoder"
    shutil.copytree(stored, folder)
    card = json.loads((folder / "card.json").read_text())
    match damage:
        case "card":
            (folder / "card.json").write_text("{")
        case "weights":
            data = bytearray((folder / "model.safetensors").read_bytes())
            data[-3] ^= 1
            (folder / "model.safetensors").write_bytes(data)
        case "shapes":
            card["config"]["dim"] = 5
        case "missing":
            (folder / "card.json").unlink()
        case "huge":
            card["config"]["num_units"] = 1 << 23
        case "other":
            card["format"] = "speechssl-unit-model-1"
    if damage in ("shapes", "huge", "other"):
        (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="vocoder"):
        folders.load(folder)


@pytest.mark.parametrize(
    "values", [{"num_units": 0}, {"num_units": 5, "dim": 0}, {"num_units": 5, "speakers": ("a", "a")},
               {"num_units": 5, "sample_rate": 3}, {"num_units": 5, "generator": {"kind": "magic"}}],
)  # fmt: skip
def test_configs_that_no_vocoder_has_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        UnitVocoder(Config(**{"generator": WAVE, **values}))  # type: ignore[arg-type]


def test_pitch_and_an_embedding_from_outside_stand_between_and_beside_the_units() -> None:
    torch.manual_seed(0)
    numbers = UnitVocoder(Config(num_units=7, dim=6, speaker_inputs=3, speaker_dim=2, pitch_channels=2, generator=WAVE))
    pitch, who = torch.rand(5, 2), torch.rand(3)
    frames = numbers.frames(ids(5)[None], who[None], pitch[None])[0]
    assert torch.equal(frames[:, :6], numbers.units.weight[ids(5)]) and torch.equal(frames[:, 6:8], pitch)
    torch.testing.assert_close(frames[4, 8:], numbers.speakers.weight @ who + numbers.speakers.bias)
    bins = UnitVocoder(Config(num_units=7, dim=6, pitch_bins=4, generator=WAVE))
    found = bins.frames(ids(5)[None], None, torch.tensor([[0, 3, 3, 1, 2]]))[0]
    assert torch.equal(found[1, 6:], bins.pitch.weight[3])
    long, track = ids(60), torch.rand(60, 2)
    pieces = list(numbers.pieces(long, who, track, size=7))
    torch.testing.assert_close(torch.cat(pieces), numbers(long[None], who[None], pitch=track[None])[0])


@pytest.mark.parametrize(
    ("pitch", "said"),
    [
        (None, "needs the pitch"),
        (torch.zeros(4, 2), r"finite numbers \[5, 2\]"),
        (torch.full((5, 2), torch.nan), "finite"),
        (torch.zeros(5, dtype=torch.int64), "finite numbers"),
    ],
)
def test_pitch_that_does_not_fit_is_refused(pitch: Tensor | None, said: str) -> None:
    vocoder = UnitVocoder(Config(num_units=7, dim=6, pitch_channels=2, generator=WAVE))
    with pytest.raises(DataError, match=said):
        vocoder.synthesize(ids(5), None, pitch)


def test_bins_and_embeddings_that_do_not_fit_are_refused() -> None:
    bins = UnitVocoder(Config(num_units=7, dim=6, pitch_bins=4, generator=WAVE))
    with pytest.raises(DataError, match=r"0\.\.3, got 0\.\.4"):
        bins.synthesize(ids(3), None, torch.tensor([0, 1, 4]))
    outside = UnitVocoder(Config(num_units=7, dim=6, speaker_inputs=3, generator=WAVE))
    for speaker in (None, 1, torch.zeros(2)):
        with pytest.raises(DataError, match="embedding of 3 channels"):
            outside.synthesize(ids(3), speaker)
    with pytest.raises(DataError, match="needs none"):
        make().synthesize(ids(3), None, torch.zeros(3, 1))


def test_the_hash_of_a_vocoder_does_not_change_with_the_toolkit() -> None:
    """Golden value: by commit 4ab3eb0, which had none of the settings that came later."""
    generator = {"kind": "wave", "channels": 4, "strides": [5, 4], "kernels": [3], "dilations": [1],
                 "activation": "leaky_relu"}  # fmt: skip
    vocoder = UnitVocoder(Config(num_units=3, dim=2, speakers=("a",), speaker_dim=2, generator=generator))
    with torch.no_grad():
        for number, parameter in enumerate(vocoder.parameters()):
            parameter.fill_(number / 64)
    assert folders.sha256(vocoder) == "929760acc2577dcdaa721534cfc6091ed4d9d9250babed893b2f75a65e18aca5"


def test_the_built_in_vocoder_speaks_the_built_in_units_and_is_small() -> None:
    vocoder, model = speechssl.load_vocoder(), speechssl.load_unit_model()
    assert vocoder.card.units.sha256 == model.hash and vocoder.card.licence == "CC0-1.0"
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) / 10
    units = model(noise, sample_rate=16_000)
    assert vocoder(units).shape == (units.num_frames * 320,)
    assert vocoder.predict_durations(units.dedup().ids).min() >= 1
    assert sum(path.stat().st_size for path in folders.find("default").iterdir()) <= 10_000_000

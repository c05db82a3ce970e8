"""Lengths that a corpus states: no recording is opened for them, batches are the same, lies are found when read."""

from pathlib import Path

import pytest

from speechssl.data import training_set
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import Corpus, open_corpus, probe_utterance
from speechssl.data.training_set import Batches, Place, open_training_set
from speechssl.errors import DataError
from tests.training.helpers import corpus


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A Kaldi data dir with utt2dur."""
    folder = tmp_path / "data"
    folder.mkdir()
    found = open_corpus(corpus(tmp_path / "tones", 6)).utterances
    (folder / "wav.scp").write_text("".join(f"{Path(u.audio).stem} {u.audio}\n" for u in found))
    lengths = {Path(u.audio).stem: probe_utterance(u).duration_s for u in found}
    (folder / "utt2dur").write_text("".join(f"{name} {seconds!r}\n" for name, seconds in lengths.items()))
    return folder


def no_header(_: object) -> float:
    raise AssertionError("a header was read")


def batches_of(data: Corpus, lengths: training_set.Lengths) -> list[tuple[str, ...]]:
    opened = open_training_set(data, sample_rate=16000, lengths=lengths)
    stream = Batches(opened, Batching(seconds=3.0, crop_s=1.2), seed=0, hop=320).start(Place())
    return [loaded.batch.ids for loaded, _ in zip(stream, range(4), strict=False) if loaded.batch]


def test_stated_lengths_plan_the_same_batches_without_a_look_at_headers(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = batches_of(open_corpus(data), "headers")
    monkeypatch.setattr(training_set, "_seconds", no_header)
    assert batches_of(open_corpus(data), "stated") == expected


def test_segments_state_lengths_and_what_states_nothing_is_looked_at(data: Path) -> None:
    (data / "utt2dur").unlink()
    (data / "segments").write_text("a u00 0.1 0.4\n")
    assert open_training_set(open_corpus(data), sample_rate=16000, lengths="stated").seconds == pytest.approx([0.3])
    (data / "segments").unlink()
    both = [open_training_set(open_corpus(data), sample_rate=16000, lengths=how) for how in ("stated", "headers")]
    assert both[0].seconds.tolist() == both[1].seconds.tolist()


def test_a_recording_that_is_not_there_is_left_out_when_its_turn_comes(data: Path) -> None:
    found = open_corpus(data)
    Path(found.utterances[2].audio).unlink()
    opened = open_training_set(found, sample_rate=16000, lengths="stated")
    assert not opened.failures
    read = [*Batches(opened, Batching(seconds=3.0, crop_s=1.2), seed=0, hop=320).once()]
    assert [name for loaded in read for name, _ in loaded.failures] == [found.utterances[2].id]
    assert sum(len(loaded.batch.ids) for loaded in read if loaded.batch) == 5


@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf"])
def test_a_length_that_is_none_is_refused_by_name(data: Path, value: str) -> None:
    lines = (data / "utt2dur").read_text().splitlines()
    (data / "utt2dur").write_text("\n".join([f"u00 {value}", *lines[1:]]) + "\n")
    with pytest.raises(DataError, match="u00"):
        open_training_set(open_corpus(data), sample_rate=16000, lengths="stated")

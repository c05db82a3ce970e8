"""Features as a stream: the same as stored ones, in this process and in others, and honest about what goes wrong."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from speechssl.data.corpus import Corpus, open_corpus
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError
from speechssl.extract.job import LongAudio, ModelSpec
from speechssl.extract.outputs import read_features
from speechssl.extract.run import Options, run_features
from speechssl.extract.stream import FeatureStream
from tests.extract.helpers import corpus

SPEC = ModelSpec(encoder="mfcc")
WINDOWS = LongAudio(window_s=0.2, overlap_s=0.05)  # so that most recordings are long


@pytest.mark.parametrize("workers", [0, 2])
def test_every_pass_gives_what_speechssl_features_stores(tmp_path: Path, workers: int) -> None:
    recordings = corpus(tmp_path / "in", 9)
    run_features(recordings, tmp_path / "out", SPEC, long_audio=WINDOWS, options=Options(workers=0, quiet=True))
    expected = dict(read_features(tmp_path / "out"))
    seen: list[tuple[int, float]] = []
    with FeatureStream(recordings, SPEC, workers=workers, long_audio=WINDOWS,
                       progress=lambda rows, seconds: seen.append((rows, seconds))) as stream:  # fmt: skip
        for _ in range(2):
            found = [(name, frames.copy()) for name, frames in stream()]
            assert [name for name, _ in found] == list(expected)
            assert all(np.array_equal(frames, expected[name]) for name, frames in found)
    assert len(seen) == 18 and stream.seconds == pytest.approx(sum(seconds for _, seconds in seen) / 2)
    assert stream.failures == {}


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path: Path, workers: int) -> None:
    corpus(tmp_path / "in", 3)
    (tmp_path / "in" / "empty.wav").write_bytes(b"")
    with FeatureStream(open_corpus(tmp_path / "in"), SPEC, workers=workers) as stream:
        assert len(list(stream())) == 3
    assert list(stream.failures) == ["empty"] and stream.failures["empty"][0] == "empty"


def test_a_reader_that_stops_early_leaves_no_process_behind(tmp_path: Path) -> None:
    with FeatureStream(corpus(tmp_path / "in", 6), SPEC, workers=1) as stream:
        next(stream())
        assert stream._pool is not None
        processes = list(stream._pool._processes.values())
    assert processes and not any(process.is_alive() for process in processes)


def test_a_recording_that_hangs_is_left_out_and_the_others_come_in_order(tmp_path: Path) -> None:
    recordings = corpus(tmp_path / "in", 9)
    os.mkfifo(tmp_path / "fifo")
    rows = list(recordings.utterances)
    for place, name in ((4, "hangs"), (4, "hangs too")):
        rows.insert(place, Utterance(name, f"cat {tmp_path / 'fifo'} |", pipe=True))
    with FeatureStream(Corpus(rows, "list", "rows"), SPEC, workers=2, allow_pipes=True, time_limit_s=3.0) as stream:
        found = [name for name, _ in stream()]
        assert found == [utterance.id for utterance in recordings.utterances]
        assert {name: code for name, (code, _) in stream.failures.items()} == dict.fromkeys(
            ["hangs", "hangs too"], "timeout"
        )


def test_a_dead_worker_is_an_error_that_names_the_utterance(tmp_path: Path) -> None:
    recordings = corpus(tmp_path / "in", 30)
    with FeatureStream(recordings, SPEC, workers=1) as stream:
        features = stream()
        next(features)
        assert stream._pool is not None
        for process in stream._pool._processes:
            os.kill(process, signal.SIGKILL)
        with pytest.raises(DataError, match="a worker process died"):
            list(features)

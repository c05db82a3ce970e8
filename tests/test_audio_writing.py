"""Audio files that are written: the samples are those that were given, or there is no file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl import audio
from tests.test_audio import NAN, RATE, SINE, code_of


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=300), st.sampled_from(["x.wav", "x.flac", "x.aiff"]))
def test_16_bit_samples_survive_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, samples: list[int], name: str
) -> None:
    path = tmp_path_factory.mktemp("audio") / name
    audio.write(path, np.array(samples) / 32768, RATE)
    np.testing.assert_array_equal(audio.read(path).samples * 32768, samples)


def test_writing_refuses_what_no_file_can_hold_and_leaves_nothing(tmp_path: Path) -> None:
    assert code_of(lambda: audio.write(tmp_path / "x.wav", NAN, RATE)) == "non-finite"
    cases = (("x.xyz", SINE, None), ("x", SINE, None), ("x.flac", SINE, "FLOAT"), ("x.wav", SINE[0], None))
    for name, samples, subtype in cases:
        assert code_of(lambda n=name, s=samples, t=subtype: audio.write(tmp_path / n, s, RATE, t)) == "unsupported"  # type: ignore[misc]
    assert list(tmp_path.iterdir()) == []
    audio.write(tmp_path / "x.opus", SINE, RATE)
    assert audio.probe(tmp_path / "x.opus").subtype == "OPUS"


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        self.open("wb").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        audio.write(tmp_path / "x.wav", SINE, RATE)
    assert list(tmp_path.iterdir()) == []

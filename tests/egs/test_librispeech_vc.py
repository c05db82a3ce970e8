"""egs/librispeech_subset/vc: who is held out and converted to whom, of recordings made here."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl import cli
from tests.egs.test_local import EGS, python
from tests.egs.test_resynth import loaded


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four speakers with four recordings, one of them with a short one, and three with one."""
    (tmp_path / "speech").mkdir()
    for speaker in range(7):
        for number in range(4 if speaker < 4 else 1):
            length = 800 if (speaker, number) == (2, 1) else 3200
            soundfile.write(tmp_path / "speech" / f"{speaker}-1-{number:04}.wav", np.full(length, 0.1), 16000)
    prepare = EGS / "librispeech" / "units" / "local" / "prepare_data.py"
    assert python(prepare, tmp_path / "speech", tmp_path / "all").returncode == 0
    return tmp_path / "all"


def table(folder: Path) -> dict[str, str]:
    """Whose recording of which name every utterance is."""
    return {line.split()[0]: Path(line.split()[1]).stem for line in (folder / "wav.scp").read_text().splitlines()}


def test_speakers_held_out_are_heard_nowhere_else_and_no_recording_does_two_things(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = loaded(EGS / "librispeech_subset" / "vc" / "local" / "split.py")
    limits, out = ["--shortest", "0.1", "--longest", "0.5"], tmp_path / "out"
    assert script.main([str(corpus), str(out), "--speakers", "3", *limits]) == 0
    pairs = dict(line.split() for line in (out / "pairs").read_text().splitlines())
    assert set(pairs) == set(pairs.values()) == {"0", "1", "3"}  # the short one leaves three of four
    assert all(source != target for source, target in pairs.items())
    assert {name.split("-")[0] for name in table(out / "train")} == {"2", "4", "5", "6"}
    assert len(table(out / "train")) == 4 + 3  # also the short one may be learned
    test = {name: table(out / "test" / name) for name in ("source", "target", "other_of_source", "other_of_target")}
    assert test["source"] == {name: name for speaker in pairs for name in (f"{speaker}-1-0002", f"{speaker}-1-0003")}
    for name in test["source"]:
        speaker = name.split("-")[0]
        assert [test[part][name] for part in ("target", "other_of_source", "other_of_target")] == [
            f"{pairs[speaker]}-1-0000", f"{speaker}-1-0001", f"{pairs[speaker]}-1-0001"]  # fmt: skip
        assert name in table(out / "sources" / speaker)
        assert table(out / "reference" / pairs[speaker]) == {f"{pairs[speaker]}-1-0000": f"{pairs[speaker]}-1-0000"}
    for part in ("train", "test/source", "test/target", "sources/0", "reference/0"):
        assert cli.main(["data", "check", str(out / part)]) == 0
    assert script.main([str(corpus), str(tmp_path / "few"), "--speakers", "4", *limits]) == 2
    assert "3 of 7 speakers have 4 recordings of 0.1 to 0.5 s" in capsys.readouterr().err


def test_the_seed_and_nothing_else_decides_the_draw() -> None:
    script = loaded(EGS / "librispeech_subset" / "vc" / "local" / "split.py")
    names = [str(number) for number in range(20)]
    assert script.drawn(0, names) == script.drawn(0, reversed(names)) != script.drawn(1, names)
    assert sorted(script.drawn(1, names)) == sorted(names)

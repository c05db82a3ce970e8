"""Kaldi data directories: read, checked with file and line, mended without silent loss, cut and divided."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl import audio
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.data.kaldi import read_dir
from speechssl.data.kaldi_check import check_dir
from speechssl.data.kaldi_edit import fix_dir
from speechssl.data.kaldi_part import Selection, split_dir, subset_dir
from speechssl.errors import AudioError, DataError

RATE = 16000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two recordings of 3 s, four segments, two speakers."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("r1", "r2"):
        audio.write(tmp_path / f"{name}.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 3 * RATE), RATE)
    tables = {
        "wav.scp": f"r1 {tmp_path}/r1.wav\nr2 {tmp_path}/r2.wav\n",
        "segments": "a-1 r1 0 1\na-2 r1 1 2.5\nb-1 r2 0.5 1.5\nb-2 r2 2 -1\n",
        "text": "a-1 eins zwei\na-2 drei\nb-1 fünf\nb-2 vier\n",
        "utt2spk": "a-1 a\na-2 a\nb-1 b\nb-2 b\n",
        "spk2utt": "a a-1 a-2\nb b-1 b-2\n",
        "utt2lang": "a-1 de\na-2 de\nb-1 fr\nb-2 fr\n",
        "topic": "a-1 x y\nb-2 z\n",
        "spk2gender": "a f\nb m\n",
        "frame_shift": "0.01\n",
    }
    for name, text in tables.items():
        (folder / name).write_text(text)
    return folder


def messages(folder: Path, **options: bool) -> list[str]:
    return [str(problem).removeprefix(f"{folder}/") for problem in check_dir(folder, **options)]


def test_every_table_reaches_the_utterance(data: Path) -> None:
    first, *_, last = read_dir(data)
    assert (first.id, first.start_s, first.end_s, first.speaker, first.text) == ("a-1", 0, 1, "a", "eins zwei")
    assert first.extra == {"utt2lang": "de", "topic": "x y"}
    assert (first.recording, last.end_s, last.extra) == ("r1", None, {"utt2lang": "fr", "topic": "z"})
    whole = audio.read(data.parent / "r1.wav").samples
    np.testing.assert_array_equal(read_utterance(first, sample_rate=RATE).samples, whole[:RATE])
    assert len(read_utterance(last, sample_rate=RATE).samples) == RATE


def test_a_good_directory_has_no_problem(data: Path) -> None:
    assert messages(data) == [] == messages(data, audio=True)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("wav.scp", "r2 {dir}/r2.wav\nr1 {dir}/r1.wav\n", "wav.scp:2: not sorted: 'r1' comes after 'r2'"),
        ("wav.scp", "r1 {dir}/r1.wav\nr2 {dir}/r9.wav\n", "wav.scp:2: 'r2': no such file: {dir}/r9.wav"),
        ("wav.scp", "r1 {dir}/r1.wav\nr2 cat x |\n", "wav.scp:2: 'r2': command: 'cat x |' is a command"),
        ("wav.scp", "r1 {dir}/r1.wav\nr2 {dir}/r2.wav", "wav.scp:2: no newline at the end"),
        ("wav.scp", "r1 {dir}/r1.wav\r\nr2 {dir}/r2.wav\n", "wav.scp:1: the line ends in CR LF"),
        ("wav.scp", "r1 {dir}/r1.wav\nr2\n", "wav.scp:2: 'r2' has no value"),
        ("segments", "a-1 r1 0 1\na-2 r1 2.5 1\nb-1 r2 0.5 1.5\nb-2 r2 2 -1\n", "segments:2: 'a-2': segment: end 1.0"),
        ("segments", "a-1 r1 0 1\na-2 r1 1 x\nb-1 r2 0.5 1.5\nb-2 r2 2 -1\n", "segments:2: 'a-2': segment: start and"),
        ("segments", "a-1 r1 0 1\na-2 r9 1 2\nb-1 r2 0.5 1.5\nb-2 r2 2 -1\n", "segments:2: recording 'r9' is not in"),
        ("segments", "a-1 r1 0 1\na-2 r1 1 2\nb-1 r2 0.5 1.5\n", "text:4: 'b-2' is not in segments"),
        ("text", "a-1 x\na-2 y\nb-2 z\n", "segments:3: 'b-1' is not in text"),
        ("text", "a-1 x\n\na-2 y\nb-1 z\nb-2 z\n", "text:2: empty line"),
        ("text", "", "text: empty file"),
        ("text", "a-1 x\na-2\nb-1 z\nb-2 z\n", "text:2: warning: 'a-2' has no value"),
        ("utt2spk", "a-1 a\na-1 a\na-2 a\nb-1 b\nb-2 b\n", "utt2spk:2: 'a-1' was given before, in line 1"),
        ("utt2spk", "a-1 a x\na-2 a\nb-1 b\nb-2 b\n", "utt2spk:1: 'a-1': expected one speaker"),
        ("utt2spk", "a-1 z\na-2 a\nb-1 b\nb-2 b\n", "utt2spk: warning: sorted by utterance"),
        ("spk2utt", "a a-1\nb b-1 b-2\n", "spk2utt:1: utterances of 'a' differ"),
        ("spk2utt", "a a-1 a-2\n", "spk2utt: speaker 'b' of utt2spk is absent"),
        ("utt2dur", "a-1 1\na-2 9\nb-1 1\nb-2 nan\n", "utt2dur:4: 'b-2': expected seconds"),
        ("utt2dur", "a-1 1\na-2 9\nb-1 1\nb-2 1\n", "segments:2: 'a-2': 1.500 s, but utt2dur says 9.000 s"),
        ("reco2dur", "r1 2\nr2 1.2\n", "segments:4: 'b-2': 2.0..None s does not lie in 'r2' of 1.200 s"),
        ("utt2num_samples", "a-1 -3\n", "utt2num_samples:1: 'a-1': expected a whole number"),
        ("topic", "a-1 x\na-2 x\nzz y\n", "topic:3: 'zz' is not in segments"),
    ],
)
def test_check_names_file_and_line(data: Path, file: str, text: str, expected: str) -> None:
    (data / file).write_bytes(text.format(dir=data.parent).encode())
    found = messages(data)
    assert any(m.startswith(expected.format(dir=data.parent)) for m in found), found


def test_check_finds_bad_audio_and_segments_beyond_it(data: Path) -> None:
    whole = (data.parent / "r1.wav").read_bytes()
    (data.parent / "r1.wav").write_bytes(whole[: len(whole) // 2])
    (data / "segments").write_text("a-1 r1 0 1\na-2 r1 1 2.5\nb-1 r2 0.5 1.5\nb-2 r2 2 4\n")
    found = messages(data, audio=True)
    assert found[0].startswith("segments:4: 'b-2': 2.0..4.0 s does not lie in 'r2' of 3.000 s")
    assert found[1].startswith("wav.scp:1: 'r1': truncated")


def test_not_utf8_is_named_with_its_line(data: Path) -> None:
    (data / "text").write_bytes(b"a-1 x\na-2 \xff\nb-1 y\nb-2 z\n")
    assert any(m.startswith("text:2: not UTF-8") for m in messages(data))
    with pytest.raises(DataError, match="text:2: not UTF-8"):
        read_dir(data)


def test_mended_directory_is_good_and_every_lost_line_is_reported(data: Path) -> None:
    before = {p.name: p.read_bytes() for p in data.iterdir()}
    (data / "segments").write_text("b-2 r2 2 -1\na-2 r1 2.5 1\nb-1 r2 0.5 1.5\na-1 r1 0 1\nc-1 r9 0 1")
    (data / "text").write_text("b-2 vier\na-2 drei\n\nb-1 x\na-1 eins\na-1 zwei\n")
    report = fix_dir(data)
    lines = [str(p).removeprefix(f"{data}/") for p in report.dropped]
    for expected in (
        "segments:2: 'a-2': segment: end",
        "segments:5: 'c-1' dropped",
        "text:3: empty line",
        "text:6: 'a-1' again, another value",
        "text:2: 'a-2' dropped",
        "utt2spk:2: 'a-2' dropped",
    ):
        assert any(line.startswith(expected) for line in lines), (expected, lines)
    assert report.num_utterances == 3
    assert messages(data) == []
    assert [u.id for u in read_dir(data)] == ["a-1", "b-1", "b-2"]
    assert (data / "spk2utt").read_text() == "a a-1\nb b-1 b-2\n"
    assert (data / ".backup" / "utt2spk").read_bytes() == before["utt2spk"]
    assert fix_dir(data).changed == ()
    assert not (data / ".backup.1").exists()


def test_mending_into_another_folder_leaves_the_first_alone(data: Path, tmp_path: Path) -> None:
    (data / "wav.scp").write_text(f"r2 {tmp_path}/r2.wav\nr1 {tmp_path}/r1.wav\n")
    before = {p.name: p.read_bytes() for p in data.iterdir()}
    fix_dir(data, tmp_path / "good")
    assert {p.name: p.read_bytes() for p in data.iterdir()} == before
    assert messages(tmp_path / "good") == []
    assert (tmp_path / "good" / "frame_shift").read_text() == "0.01\n"
    with pytest.raises(DataError, match="exists already"):
        fix_dir(data, tmp_path / "good")


def test_nothing_left_is_an_error_and_changes_nothing(data: Path) -> None:
    (data / "text").write_text("x y\n")
    with pytest.raises(DataError, match="nothing to keep"):
        fix_dir(data)
    assert (data / "text").read_text() == "x y\n"


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(first=2), ["a-1", "a-2"]),
        (Selection(last=1), ["b-2"]),
        (Selection(speakers="b"), ["b-1", "b-2"]),
        (Selection(speakers="b", first=1), ["b-1"]),
    ],
)
def test_subset_keeps_all_tables_together(
    data: Path, tmp_path: Path, selection: Selection, expected: list[str]
) -> None:
    assert subset_dir(data, tmp_path / "part", selection) == len(expected)
    assert [u.id for u in read_dir(tmp_path / "part")] == expected
    assert messages(tmp_path / "part") == []


def test_random_subsets_are_nested_and_do_not_depend_on_the_order(data: Path, tmp_path: Path) -> None:
    chosen = []
    for n in (1, 2, 3):
        subset_dir(data, tmp_path / f"n{n}", Selection(num=n, seed=3))
        chosen.append({u.id for u in read_dir(tmp_path / f"n{n}")})
    assert chosen[0] < chosen[1] < chosen[2]
    assert subset_dir(data, tmp_path / "s", Selection(per_speaker=1)) == 2
    assert subset_dir(data, tmp_path / "list", Selection(utterances=str(data / "topic"))) == 2


def test_subset_by_duration_stays_below_it(data: Path, tmp_path: Path) -> None:
    (data / "utt2dur").write_text("a-1 1\na-2 1.5\nb-1 1\nb-2 1\n")
    subset_dir(data, tmp_path / "part", Selection(max_duration_s=2.5))
    assert 2 <= len(read_dir(tmp_path / "part")) <= 2
    with pytest.raises(DataError, match="empty"):
        subset_dir(data, tmp_path / "none", Selection(max_duration_s=0.1))


@pytest.mark.parametrize("by", ["utterance", "speaker"])
def test_parts_of_a_split_are_the_whole(data: Path, tmp_path: Path, by: str) -> None:
    assert split_dir(data, tmp_path / "split", 2, by=by) == [2, 2]
    parts = [read_dir(tmp_path / "split" / part) for part in "12"]
    assert sorted(u.id for part in parts for u in part) == ["a-1", "a-2", "b-1", "b-2"]
    if by == "speaker":
        assert all(len({u.speaker for u in part}) == 1 for part in parts)
    assert messages(tmp_path / "split" / "1") == []


def test_split_into_more_parts_than_there_are_is_refused(data: Path, tmp_path: Path) -> None:
    for by, n in (("utterance", 5), ("speaker", 3), ("utterance", 0)):
        with pytest.raises(DataError, match="choose 1"):
            split_dir(data, tmp_path / "split", n, by=by)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.1, 30), min_size=1, max_size=40), st.integers(1, 40))
def test_a_split_by_utterance_is_balanced_and_complete(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[float], num_parts: int
) -> None:
    from speechssl.data.kaldi_part import _in_stretches

    ids = [f"u{i:03d}" for i in range(len(lengths))]
    weights = dict(zip(ids, lengths, strict=True))
    if num_parts > len(ids):
        with pytest.raises(DataError):
            _in_stretches(ids, weights, num_parts)
        return
    parts = _in_stretches(ids, weights, num_parts)
    assert [key for part in parts for key in part] == ids
    assert len(parts) == num_parts and all(parts)
    target, longest = sum(lengths) / num_parts, max(lengths)
    assert all(sum(weights[k] for k in part) <= target + longest + 1e-6 for part in parts[:-1])


def test_relative_paths_go_by_the_working_directory_or_else_by_the_table(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "wav.scp").write_text("r1 ../r1.wav\nr2 ../r2.wav\n")
    assert len(read_utterance(read_dir(data)[0], sample_rate=RATE).samples) == RATE
    assert messages(data) == []
    subset_dir(data, tmp_path / "far" / "away", Selection(first=1))
    assert len(read_utterance(read_dir(tmp_path / "far" / "away")[0], sample_rate=RATE).samples) == RATE
    (data / "wav.scp").write_text("r1 r1.wav\nr2 r2.wav\n")
    monkeypatch.chdir(tmp_path)
    assert messages(data) == []


def test_absent_recording_is_missing_when_read(data: Path) -> None:
    (data.parent / "r1.wav").unlink()
    with pytest.raises(AudioError) as caught:
        read_utterance(open_corpus(data).utterances[0], sample_rate=RATE)
    assert caught.value.code == "missing"

"""Every format gives back what was written, or refuses it; lhotse and ESPnet-style readers agree."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl import audio
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.data.export import FORMATS, write_corpus
from speechssl.data.kaldi_check import check_dir
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

RATE = 16000


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    audio.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE), RATE)
    return tmp_path / "x.wav"


def target_of(kind: str, folder: Path) -> Path:
    return folder / f"out.{kind}" if kind in ("tsv", "jsonl") else folder / "out"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=[]), min_size=1, max_size=20), unique=True, min_size=1))
def test_any_ids_survive_jsonl_or_are_refused(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    target = tmp_path_factory.mktemp("ids") / "x.jsonl"
    try:
        write_corpus([Utterance(key, "/a.wav") for key in keys], target, "jsonl")
    except DataError:
        assert any(0xD800 <= ord(c) < 0xE000 for key in keys for c in key)
        return
    assert [u.id for u in open_corpus(target).utterances] == keys


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20), unique=True, min_size=1))
def test_any_ids_survive_kaldi_or_are_refused(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    target = tmp_path_factory.mktemp("ids") / "data"
    try:
        write_corpus([Utterance(key, "/a.wav", text=key) for key in keys], target, "kaldi")
    except DataError:
        return
    found = open_corpus(target).utterances
    assert sorted(u.id for u in found) == sorted(keys)
    assert all(u.text == u.id for u in found)


@pytest.mark.parametrize("kind", ["kaldi", "espnet", "jsonl", "lhotse"])
def test_segments_speakers_and_texts_come_back(wav: Path, tmp_path: Path, kind: str) -> None:
    rows = [
        Utterance("a", str(wav), 0.25, 0.75, speaker="s1", text="eins zwei", extra={"language": "de"}),
        Utterance("b", str(wav), 1.0, 1.7, speaker="s2", text="drei"),
    ]
    write_corpus(rows, target_of(kind, tmp_path / "o"), kind)
    found = open_corpus(target_of(kind, tmp_path / "o")).utterances
    for row, other in zip(rows, found, strict=True):
        assert (other.id, other.speaker, other.text) == (row.id, row.speaker, row.text)
        assert other.start_s == pytest.approx(row.start_s)
        expected = read_utterance(row, sample_rate=RATE).samples
        np.testing.assert_array_equal(read_utterance(other, sample_rate=RATE).samples, expected)
    if kind in ("kaldi", "espnet"):
        assert check_dir(tmp_path / "o" / "out", audio=True) == []
        assert found[0].extra is not None and found[0].extra["language"] == "de"
    if kind == "espnet":
        assert (tmp_path / "o/out/utt2num_samples").read_text() == "a 8000\nb 11200\n"
        assert (tmp_path / "o/out/feats_type").read_text() == "raw\n"


def test_lhotse_itself_reads_what_we_write(wav: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    audio.write(tmp_path / "stereo.wav", np.zeros((RATE, 2)), RATE)
    rows = [
        Utterance("a", str(wav), 0.25, 0.75, speaker="s", text="eins"),
        Utterance("b", str(wav), 1.0, None),
        Utterance("c", str(tmp_path / "stereo.wav")),
    ]
    write_corpus(rows, tmp_path / "out", "lhotse")
    recordings = lhotse.RecordingSet.from_file(tmp_path / "out/recordings.jsonl.gz")
    supervisions = lhotse.SupervisionSet.from_file(tmp_path / "out/supervisions.jsonl.gz")
    lhotse.validate_recordings_and_supervisions(recordings, supervisions)
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions).trim_to_supervisions()
    for row, cut in zip(rows, cuts, strict=True):
        assert cut.supervisions[0].id == row.id
        expected = read_utterance(row, sample_rate=RATE).samples
        np.testing.assert_allclose(cut.load_audio().mean(0), expected, atol=1e-7)


@pytest.mark.parametrize("what", ["recordings", "supervisions", "cuts"])
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_we_read_what_lhotse_writes(wav: Path, tmp_path: Path, what: str, suffix: str) -> None:
    lhotse = pytest.importorskip("lhotse")
    (tmp_path / "l").mkdir()
    recording = lhotse.Recording.from_file(wav)
    supervision = lhotse.SupervisionSegment("s", recording.id, 0.5, 1.0, text="x", speaker="p", language="de")
    recordings = lhotse.RecordingSet.from_recordings([recording])
    supervisions = lhotse.SupervisionSet.from_segments([supervision])
    if what == "cuts":
        cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions).trim_to_supervisions()
        cuts.to_file(tmp_path / f"l/cuts.{suffix}")
    else:
        recordings.to_file(tmp_path / f"l/m_recordings_train.{suffix}")
        if what == "supervisions":
            supervisions.to_file(tmp_path / f"l/m_supervisions_train.{suffix}")
    found = open_corpus(tmp_path / "l")
    assert found.kind == "lhotse"
    samples = read_utterance(found.utterances[0], sample_rate=RATE).samples
    whole = audio.read(wav).samples
    np.testing.assert_array_equal(samples, whole if what == "recordings" else whole[RATE // 2 : RATE * 3 // 2])
    if what != "recordings":
        first = found.utterances[0]
        assert (first.speaker, first.text, first.extra) == ("p", "x", {"language": "de"})


def test_lhotse_transforms_and_single_channels_are_refused_with_their_line(wav: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    audio.write(tmp_path / "two.wav", np.zeros((RATE, 2)), RATE)
    fast = lhotse.Recording.from_file(wav).perturb_speed(1.1)
    two = lhotse.Recording.from_file(tmp_path / "two.wav")
    one_channel = lhotse.SupervisionSegment("s", two.id, 0, 1.0, channel=1)
    cut = lhotse.Recording.from_file(wav).to_cut()
    for rows, message in (
        ([fast.to_dict()], "recordings.jsonl:1: transforms"),
        ([cut.to_dict(), cut.append(cut).to_dict()], "cuts.jsonl:2: cuts of type 'MixedCut'"),
        ([{"id": "c", **one_channel.to_dict(), "recording": two.to_dict(), "type": "MonoCut"}], "channel 1 of 2"),
        ([{"id": "r", "sources": [{"type": "url", "channels": [0], "source": "x://y"}]}], "type 'url'"),
    ):
        path = tmp_path / f"{message.partition('.jsonl')[0] if '.jsonl' in message else 'm'}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(DataError, match=message.replace("(", r"\(")):
            open_corpus(path)


def test_fairseq_manifest_keeps_order_texts_and_lengths(tmp_path: Path) -> None:
    for name, rate in (("b/2.wav", RATE), ("a/1.wav", 8000)):
        (tmp_path / name).parent.mkdir()
        audio.write(tmp_path / name, np.zeros(rate), rate)
    rows = [Utterance("two", str(tmp_path / "b/2.wav"), text="zwei"), Utterance("one", str(tmp_path / "a/1.wav"))]
    notes = write_corpus(rows, tmp_path / "x.tsv", "tsv")
    assert (tmp_path / "x.tsv").read_text() == f"{tmp_path}\nb/2.wav\t16000\na/1.wav\t8000\n"
    assert (tmp_path / "x.wrd").read_text() == "zwei\n\n"
    assert "8000, 16000 Hz" in notes[0]
    assert [(u.id, u.text) for u in open_corpus(tmp_path / "x.tsv").utterances] == [("two", "zwei"), ("one", "")]
    (tmp_path / "x.wrd").write_text("zwei\n")
    with pytest.raises(DataError, match=r"x\.wrd: has fewer lines"):
        open_corpus(tmp_path / "x.tsv")
    (tmp_path / "x.wrd").write_text("zwei\n\n\n")
    with pytest.raises(DataError, match=r"x\.wrd: has more lines"):
        open_corpus(tmp_path / "x.tsv")


def test_what_a_fairseq_manifest_cannot_hold_is_refused(wav: Path, tmp_path: Path) -> None:
    for row in (Utterance("a", str(wav), 0.0, 1.0), Utterance("a", "cat x |", pipe=True)):
        with pytest.raises(DataError, match="whole files only"):
            write_corpus([row], tmp_path / "x.tsv", "tsv")
    assert not (tmp_path / "x.tsv").exists()


def test_nothing_is_overwritten(wav: Path, tmp_path: Path) -> None:
    for kind in FORMATS:
        target = target_of(kind, tmp_path / kind)
        write_corpus([Utterance("a", str(wav))], target, kind)
        with pytest.raises(DataError, match="exists already"):
            write_corpus([Utterance("a", str(wav))], target, kind)


def test_nemo_rows_without_id_are_named_by_file_and_offset(wav: Path, tmp_path: Path) -> None:
    rows = [{"audio_filepath": "x.wav", "duration": 0.5, "offset": o, "text": "t"} for o in (0.0, 0.5)]
    (tmp_path / "n.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = open_corpus(tmp_path / "n.json").utterances
    assert (first.id, second.id, second.start_s, second.end_s) == ("x-0.0", "x-0.5", 0.5, 1.0)
    assert len(read_utterance(second, sample_rate=RATE).samples) == RATE // 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"), ("[]", "JSON object"), ('{"id": "a"}', "no audio"), ('{"audio": 3}', "must be a string"),
        ('{"audio": "a", "start_s": "x"}', "start_s must be seconds"), ('{"audio": "a", "start_s": -1}', "start_s"),
        ('{"audio": "cat a |"}', "is a command"), ("[" * 100000, "not JSON"),
        ('{"audio": "a", "end_s": true}', "end_s"),
        ('{"audio": "b", "id": "first"}', "twice"), ('{"audio": "\\ud800"}', "not JSON"),
    ],
)  # fmt: skip
def test_a_bad_jsonl_row_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"id": "first", "audio": "f.wav"}}\n{line}\n')
    with pytest.raises(DataError, match=rf"x\.jsonl:2: .*{message}|{message}"):
        open_corpus(tmp_path / "x.jsonl")

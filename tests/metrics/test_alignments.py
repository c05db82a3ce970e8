"""Alignment formats: what each line means, on which frame a label falls, and what is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.metrics.alignments import KINDS, Alignments, find_kind, read_alignments

FILES = {  # one alignment, a for 30 ms and SIL for 20 ms, in every format
    "a.jsonl": '{"name": "utt/1.x", "phones": ["a", "a", "a", "SIL", "SIL"]}\n',
    "a.txt": "utt/1.x a a a SIL SIL\n",
    "a.tsv": "utt_id\tstart_s\tend_s\tlabel\nutt/1.x\t0.0\t0.03\ta\nutt/1.x\t0.03\t0.05\tSIL\n",
    "a.ctm": ";; comment\nutt/1.x 1 0.0 0.03 a\nutt/1.x 1 0.03 0.02 SIL 0.98\n",
}
LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.05
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 0.05
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.05
            text = "a ""quoted"" 1.5 word"
    item [2]:
        class = "TextTier"
        name = "marks"
        xmin = 0
        xmax = 0.05
        points: size = 1
        points [1]:
            number = 0.01
            mark = "x"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 0.05
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.03
            text = "a"
        intervals [2]:
            xmin = 0.03
            xmax = 5e-2
            text = ""
"""
TIER = '"IntervalTier"\n"phones"\n0\n0.05\n2\n0\n0.03\n"a"\n0.03\n0.05\n""\n'
HEAD = '"ooTextFile"\n"TextGrid"\n\n0\n0.05\n<exists>\n'
SHORT = HEAD + "1\n" + TIER


def text_frames(alignments: Alignments, utterance: str, rate: float = 100) -> list[str]:
    return [alignments.labels[i] if i >= 0 else "-" for i in alignments.frames(utterance, rate)]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_frames(name: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / (name + ".gz" if zipped else name)
    path.write_bytes(gzip.compress(FILES[name].encode()) if zipped else FILES[name].encode())
    alignments = read_alignments(path)
    assert list(alignments) == ["utt/1.x"] and "utt/1.x" in alignments and len(alignments) == 1
    assert text_frames(alignments, "utt/1.x") == ["a", "a", "a", "SIL", "SIL"]


@pytest.mark.parametrize("text", [LONG, SHORT])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_textgrids_of_a_folder(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "84" / "121550").mkdir(parents=True)
    (tmp_path / "84" / "121550" / "84-121550-0000.TextGrid").write_text(text, encoding=encoding)
    alignments = read_alignments(tmp_path)
    assert text_frames(alignments, "84-121550-0000") == ["a", "a", "a", "SIL", "SIL"]
    if text == LONG:
        assert read_alignments(tmp_path, tier="words").labels == ('a "quoted" 1.5 word',)
        with pytest.raises(DataError, match="no interval tier 'x'"):
            read_alignments(tmp_path, tier="x")


def test_a_frame_takes_the_label_at_its_centre_and_gaps_stay_unlabelled(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    # centres at 5, 15, 25 ... ms; Mboshi's boundaries lie at 6 ms
    path.write_text("u\t0.006\t0.014\ta\nu\t0.014\t0.016\tb\nu\t0.036\t0.055\tc\n")
    assert text_frames(read_alignments(path), "u") == ["-", "b", "-", "-", "c"]
    assert text_frames(read_alignments(path), "u", 50) == ["a", "-", "c"]


def test_timed_labels_at_any_rate_last_as_long_as_the_segments(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ends = np.cumsum(rng.uniform(0.005, 0.3, 50))
    starts = np.concatenate(([0], ends[:-1]))
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"u\t{s:.6f}\t{e:.6f}\tp{i}\n" for i, (s, e) in enumerate(zip(starts, ends, strict=True))))
    alignments = read_alignments(path)
    for rate in (50, 100, 62.5):
        frames = alignments.frames("u", rate)
        slow = [next(i for i, e in enumerate(ends) if (t + 0.5) / rate < e) for t in range(len(frames))]
        assert frames.tolist() == slow
        assert abs(len(frames) / rate - ends[-1]) <= 0.5 / rate + 1e-6


def test_per_frame_labels_keep_their_rate(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(FILES["a.jsonl"])
    alignments = read_alignments(tmp_path / "a.jsonl", rate_hz=50)
    assert len(alignments.frames("utt/1.x", 50)) == 5
    with pytest.raises(DataError, match="50 Hz asked for at 100 Hz"):
        alignments.frames("utt/1.x", 100)


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl"])
def test_a_shift_moves_every_label(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name])
    alignments = read_alignments(tmp_path / name)
    shifted = [
        "".join(alignments.labels[i][0] if i >= 0 else "-" for i in alignments.frames("utt/1.x", 100, shift_s=s))
        for s in (0.02, 0.01, -0.01, -0.02, -0.05, -1.0)
    ]
    assert shifted == ["--aaaSS", "-aaaSS", "aaSS", "aSS", "", ""]
    if name == "a.jsonl":
        with pytest.raises(DataError, match="whole number of label frames"):
            alignments.frames("utt/1.x", 100, shift_s=0.005)


def test_an_utterance_without_labels_has_no_frames(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"name": "u", "phones": []}\n')
    assert read_alignments(tmp_path / "a.jsonl").frames("u", 100).tolist() == []


BAD = {
    "second time": ("a.jsonl", FILES["a.jsonl"] * 2),
    ":2: utterance": ("a.txt", FILES["a.txt"] * 2),
    "not a JSON": ("a.jsonl", "{"),
    "want {": ("a.jsonl", '{"name": "u", "phones": [1]}'),
    "before the last": ("a.tsv", "u\t0\t0.5\ta\nu\t0.4\t0.6\tb\n"),
    "no stretch of time": ("a.tsv", "u\t0.5\t0.4\ta\n"),
    "nan to": ("a.tsv", "u\tnan\t0.4\ta\n"),
    "do not stand together": ("a.tsv", "u\t0\t1\ta\nv\t0\t1\ta\nu\t1\t2\ta\n"),
    "a.tsv:3: not a line": ("a.tsv", "id\tstart\tend\tlabel\nu\t0\t1\ta\nu\t1\n"),
    "a.ctm:1: not a line": ("a.ctm", "u 1 x 0.1 a\n"),
    "not readable": ("a.jsonl", b"\xff\xfe\xfd"),
    "unknown alignment format": ("a.xyz", "x"),
    "no .TextGrid": ("", ""),
    "not a TextGrid": ("u.TextGrid", "hello"),
    "ends too early": ("u.TextGrid", SHORT[:-12]),
    "which of the tiers": ("u.TextGrid", HEAD + "2\n" + TIER.replace("phones", "x") + TIER.replace("phones", "y")),
}


@pytest.mark.parametrize("message", BAD)
def test_broken_files_are_refused_by_name(message: str, tmp_path: Path) -> None:
    name, content = BAD[message]
    path = tmp_path / name
    if name:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    kind = "xyz" if name == "a.xyz" else "auto"
    with pytest.raises(DataError, match=message):
        read_alignments(tmp_path if name.endswith("TextGrid") else path, kind=kind)


def test_truncated_gzip_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(FILES["a.jsonl"].encode() * 1000)[:60])
    with pytest.raises(DataError, match="not readable"):
        read_alignments(tmp_path / "a.jsonl.gz")
    with pytest.raises(DataError, match="no such alignment"):
        read_alignments(tmp_path / "b.tsv")


def test_the_format_is_found_without_a_telling_name(tmp_path: Path) -> None:
    for name, content in FILES.items():
        path = tmp_path / "phones"
        path.write_text(content.removeprefix(";; comment\n"))
        assert find_kind(path) == {"a.txt": "frames"}.get(name, name.removeprefix("a."))
    (tmp_path / "phones").write_text("{a} SIL AE\n")  # an id in braces
    assert find_kind(tmp_path / "phones") == "frames"
    assert find_kind(tmp_path) == "textgrid"
    assert len(KINDS) == 5


@pytest.mark.corpus
def test_mboshi_alignments_read_whole(corpora: Path) -> None:
    alignments = read_alignments(corpora / "mboshi" / "phones.tsv.gz")
    assert (len(alignments), len(alignments.labels)) == (4626, 28)
    first = next(iter(alignments))
    assert text_frames(alignments, first)[10:24] == ["-", "-", *["SIL"] * 10, "K", "K"]

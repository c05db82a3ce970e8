"""Tar archives are corpora: read by offset, never extracted; malicious and damaged ones are refused or passed over."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl import audio
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.data.export import write_corpus
from speechssl.data.tar import members
from speechssl.errors import AudioError, DataError


def recording(seed: int = 0, container: str = "WAV") -> bytes:
    file = io.BytesIO()
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, 1600 + seed)
    soundfile.write(file, samples, 16000, format=container)
    return file.getvalue()


def tar(path: Path, entries: list[tuple[str, bytes] | tarfile.TarInfo], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                archive.addfile(info, io.BytesIO(entry[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_utterances_with_text_and_values(tmp_path: Path, kind: int) -> None:
    path = tar(
        tmp_path / "x.tar",
        [
            ("./a/one.wav", recording(1)),
            ("./a/one.json", json.dumps({"speaker": "s", "language": "de", "n": 3, "text": "not this"}).encode()),
            ("./a/one.txt", b"eins zwei\n"),
            ("./b/two.flac", recording(2, "FLAC")),
            ("./b/two.cls", b"7"),
            ("./lonely.txt", b"text"),
            special("./c", tarfile.DIRTYPE),
            ("./c/" + "l" * 80 + ".wav", recording(3)),
        ],
        kind,
    )
    corpus = open_corpus(path)
    one, two, long = corpus.utterances
    assert (one.id, one.speaker, one.text, one.extra) == ("a/one", "s", "eins zwei", {"language": "de", "n": "3"})
    assert (two.id, two.text, long.id) == ("b/two", None, "c/" + "l" * 80)
    for utterance, seed in ((one, 1), (two, 2), (long, 3)):
        found = read_utterance(utterance, sample_rate=16000).samples
        (tmp_path / "x.wav").write_bytes(recording(seed, "FLAC" if seed == 2 else "WAV"))
        np.testing.assert_array_equal(found, audio.read(tmp_path / "x.wav").samples)
    problems = [problem.partition(": ")[2] for problem in corpus.problems]
    assert problems == [
        "1 members of no kind that is read, passed over ('b/two.cls')",
        "1 members without a recording beside them, passed over ('lonely')",
    ]


def test_folders_globs_and_lists_of_tars(tmp_path: Path) -> None:
    (tmp_path / "shards" / "more").mkdir(parents=True)
    for place, key in (("0", "a"), ("1", "b"), ("more/2", "c")):
        tar(tmp_path / "shards" / f"{place}.tar", [(f"{key}.wav", recording())])
    (tmp_path / "shards" / "README").write_text("x")
    paths = [str(tmp_path / "shards" / f"{n}.tar") for n in (0, 1)]
    folder = open_corpus(tmp_path / "shards")
    assert [u.id for u in folder.utterances] == ["a", "b", "c"]
    assert "1 files beside the tars were passed over (readme 1)".lower() in folder.problems[0].lower()
    assert [u.id for u in open_corpus(paths).utterances] == ["a", "b"]
    assert [u.id for u in open_corpus(f"{tmp_path}/shards/*.tar").utterances] == ["a", "b"]
    assert [u.id for u in open_corpus(paths, id_from="archive").utterances] == ["0/a", "1/b"]


def test_one_key_in_two_archives_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    paths = [tar(tmp_path / f"{n}.tar", [("x.wav", recording())]) for n in range(2)]
    with pytest.raises(DataError, match=r"'x' is in .*0\.tar:.* and in .*1\.tar:.*; with id_from archive"):
        open_corpus(paths)
    assert [u.id for u in open_corpus(paths, id_from="archive").utterances] == ["0/x", "1/x"]


@pytest.mark.parametrize("names", [("x.wav", "x.flac"), ("x.wav", "x.wav"), ("x.wav", "y.wav", "x.wav")])
def test_one_key_twice_in_an_archive_is_an_error(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tar(tmp_path / "x.tar", [(name, recording()) for name in names])
    with pytest.raises(DataError, match=r"'x'"):
        open_corpus(path)


def test_an_index_is_a_manifest_that_names_members(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("a.wav", recording(1)), ("a.txt", b"eins"), ("b.wav", recording(2))])
    corpus = open_corpus(path)
    for kind, target in (("jsonl", tmp_path / "x.jsonl"), ("kaldi", tmp_path / "kaldi")):
        write_corpus(corpus.utterances, target, kind)
        again = open_corpus(target).utterances
        assert [(u.id, u.audio, u.text or None) for u in again] == [(u.id, u.audio, u.text) for u in corpus.utterances]
        assert len(read_utterance(again[1], sample_rate=16000).samples) == 1602
    with pytest.raises(DataError, match="whole files only"):
        write_corpus(corpus.utterances, tmp_path / "y.tsv", "tsv")


def test_what_is_no_plain_member_is_passed_over_and_said(tmp_path: Path) -> None:
    outside = tmp_path / "secret.wav"
    outside.write_bytes(recording())
    path = tar(
        tmp_path / "in.tar",
        [
            ("good.wav", recording()),
            special("link.wav", tarfile.SYMTYPE, str(outside)),
            special("hard.wav", tarfile.LNKTYPE, "good.wav"),
            special("device.wav", tarfile.CHRTYPE),
            special("fifo.wav", tarfile.FIFOTYPE),
            special("odd.wav", b"Z"),
            ("/absolute.wav", recording()),
            ("../up.wav", recording()),
            ("a/../../up.wav", recording()),
            ("new\nline.wav", recording()),
            ("last.wav", recording(1)),
        ],
    )
    corpus = open_corpus(path)
    assert [u.id for u in corpus.utterances] == ["good", "last"]
    assert len(read_utterance(corpus.utterances[1], sample_rate=16000).samples) == 1601
    said = " ".join(corpus.problems)
    for text in ("2 members that are links", "2 members that are devices or pipes", "1 members of an unknown kind",
                 "3 members with a path that leads out", "1 members without a name, or with control"):  # fmt: skip
        assert text in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.tar", "secret.wav"]


def test_sparse_members_are_passed_over(tmp_path: Path) -> None:
    """Their size is that of a file with holes: a few bytes can claim terabytes."""
    info = tarfile.TarInfo("x.wav")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}
    path = tar(tmp_path / "x.tar", [info, ("y.wav", recording())])
    corpus = open_corpus(path)
    assert [u.id for u in corpus.utterances] == ["y"]
    assert "that are sparse" in corpus.problems[0]


def header(size: bytes = b"00000000010\0", kind: bytes = b"0", name: bytes = b"x.wav") -> bytes:
    block = bytearray(512)
    block[: len(name)], block[124:136], block[156:157] = name, size, kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut at byte 0"),
        (b"no tar at all" * 100, "no tar header"),
        (header(), "does not fit"),
        (header(b"77777777777\0") + END, "does not fit"),
        (header(b"\x80" + b"\xff" * 11) + END, "impossible size"),
        (header(b"\xff" * 12) + END, "impossible size"),
        (header(b"0000000001x\0") + END, "impossible size"),
        (header(b"00000000000\0"), "no end mark"),
        (header(b"00000000000\0") + bytes(512), "half an end mark"),
        (header(b"00000000000\0") + END + header(b"00000000000\0", name=b"y.wav") + END, "joined with cat"),
        (header(b"77777777777\0", b"x") + END, "extended header of"),
        (header(b"77777777777\0", b"L") + END, "extended header of"),
        (header(b"00000001000\0", b"x") + b"9" * 512 + END, "damaged pax header"),
        (header(b"00000000014\0", b"x") + b"12 size=1e9\n".ljust(512, b"\0") + header() + END, "a size of"),
        (header(b"00000000014\0", b"g") + b"12 path=abc\n".ljust(512, b"\0") + header() + END, "names every member"),
        (header(b"00000000003\0", b"x") + b"1 =".ljust(512, b"\0") + END, "damaged pax header"),
    ],
)
def test_damaged_archives_are_refused_naming_the_place(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        open_corpus(path)
    assert str(path) in str(caught.value)


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = tar(tmp_path / "x.tar", [("a.wav", recording()[:700]), ("b.wav", recording()[:100])]).read_bytes()
    used = 512 + 1024 + 512 + 512 + 1024
    for cut in [*range(0, used, 37), *range(512, used, 512)]:
        (tmp_path / "cut.tar").write_bytes(data[:cut])
        with pytest.raises(DataError):
            open_corpus(tmp_path / "cut.tar")


@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 6143), st.binary(min_size=1, max_size=12)), max_size=4),
    mend=st.booleans(),
)
def test_mutated_archives_raise_data_error_or_give_members_inside(changes: list[tuple[int, bytes]], mend: bool) -> None:
    info = tarfile.TarInfo("a" * 120 + "ä.wav")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
        archive.addfile(special("s", tarfile.SYMTYPE, "x"))
        archive.addfile(tarfile.TarInfo("b.txt"))
    data = bytearray(buffer.getvalue())
    for start, value in changes:
        data[start : start + len(value)] = value
    if mend:  # make every header's checksum right, so that the mutation gets through
        for start in range(0, 3584, 512):
            block = data[start : start + 512]
            block[148:156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    try:
        found = list(members(io.BytesIO(bytes(data)), "x"))
    except DataError:
        return
    assert all(0 <= m.offset <= m.offset + m.size <= len(data) for m in found)


def test_compressed_tars_are_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"x")
    with pytest.raises(DataError, match="decompress it first"):
        open_corpus(tmp_path / "x.tar.gz")


def test_a_member_is_a_stretch_of_a_file_and_files_of_that_name_come_first(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("a.wav", recording())])
    member = open_corpus(path).utterances[0]
    (tmp_path / "cut.tar").write_bytes(path.read_bytes()[:900])
    cases = {f"{path}:512:99999999": "truncated", f"{path}:0:40": "unsupported", f"{tmp_path}/no.tar:0:40": "missing",
             f"{tmp_path}/cut.tar:512:3000": "truncated"}  # fmt: skip
    for entry, code in cases.items():
        with pytest.raises(AudioError) as caught:
            read_utterance(type(member)("x", entry), sample_rate=16000)
        assert caught.value.code == code, entry
    Path(f"{path}:512:9").write_bytes(recording(5))
    assert len(read_utterance(type(member)("x", f"{path}:512:9"), sample_rate=16000).samples) == 1605


def test_a_text_too_large_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("a.wav", recording()), ("a.txt", b"x" * (1 << 20) + b"y")])
    with pytest.raises(DataError, match="too many for a text"):
        open_corpus(path)

"""Tar archives with flipped, cut and patched bytes: our own errors only, and no member outside of the file."""

import io
import random
import tarfile
from collections import Counter
from pathlib import Path

from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.data.recording import split_range
from speechssl.errors import AudioError, DataError
from tests.battery.conftest import Record
from tests.battery.size import size
from tests.data.test_tar import recording

COUNT = size(600, 10_000)
TOKENS = [b"\0", b"\xff", b"\x80", b"7" * 11, b"9", b"..", b"/", b"\n", b"x", b"L", b"S", b"g", b"1", b"5", b" ",
          b"30 GNU.sparse.major=1\n", b"20 size=99999999999\n", bytes(512)]  # fmt: skip


def archive(kind: int) -> bytes:
    """A recording under a long name, its text and json, a link, a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as writer:
        for name, data in ((f"{'d' * 60}/{'ä' * 30}.wav", recording()), (f"{'d' * 60}/{'ä' * 30}.txt", b"eins"),
                           ("b.json", b'{"text": "zwei", "n": 1}'), ("b.flac", recording(1, "FLAC"))):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
        for name, what in (("link.wav", tarfile.SYMTYPE), ("folder", tarfile.DIRTYPE), ("fifo.wav", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = what, "/etc/passwd"
            writer.addfile(info)
    return buffer.getvalue().rstrip(b"\0") + bytes(2048)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Mostly in headers, whose checksums are made right again half of the time."""
    out = bytearray(data)
    headers = [start for start in range(0, len(out) - 512, 512) if out[start + 257 : start + 262] == b"ustar"]
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.choice(headers) + rng.randrange(1024) if rng.random() < 0.8 else rng.randrange(len(out))
        token = rng.choice(TOKENS)
        out[place : place + (len(token) if rng.random() < 0.9 else 0)] = token
    if rng.random() < 0.5:
        for start in headers:
            block = out[start : start + 512]
            if len(block) == 512:
                block[148:156] = b" " * 8
                out[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(out[: rng.randrange(len(out))] if rng.random() < 0.1 else out)


def test_mutated_archives_raise_our_errors_only(tmp_path: Path, record: Record) -> None:
    rng, outcomes = random.Random(0), Counter[str]()
    whole = [archive(kind) for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    path, before = tmp_path / "x.tar", set(tmp_path.parent.iterdir())
    for _ in range(COUNT):
        data = mutated(rng.choice(whole), rng)
        path.write_bytes(data)
        try:
            corpus = open_corpus(path)
        except DataError:
            outcomes["refused"] += 1
            continue
        outcomes["opened"] += 1
        for utterance in corpus.utterances:
            found = split_range(utterance.audio)
            outcomes["outside"] += found is None or found[1] + found[2] > len(data)
            try:
                read_utterance(utterance, sample_rate=16000)
                outcomes["recordings read"] += 1
            except AudioError:
                outcomes["recordings refused"] += 1
    record("mutated tar archives", tried=COUNT, **{key: outcomes[key] for key in sorted(outcomes)})
    assert outcomes["outside"] == 0
    assert outcomes["refused"] + outcomes["opened"] == COUNT
    assert min(outcomes["refused"], outcomes["opened"]) > COUNT // 20
    assert set(tmp_path.parent.iterdir()) == before
    assert list(tmp_path.iterdir()) == [path]

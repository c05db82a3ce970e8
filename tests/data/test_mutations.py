"""Damaged tables and manifests raise DataError and nothing else. SPEECHSSL_MUTATIONS sets the number per reader."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from speechssl.data.corpus import open_corpus
from speechssl.data.kaldi_check import check_dir
from speechssl.data.kaldi_edit import fix_dir
from speechssl.data.kaldi_part import split_dir
from speechssl.errors import DataError

NUMBER = int(os.environ.get("SPEECHSSL_MUTATIONS", "100"))
RECORDING = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 16000,
             "num_samples": 16000, "duration": 1.0, "channel_ids": [0]}  # fmt: skip
SUPERVISION = {"id": "s", "recording_id": "r", "start": 0.1, "duration": 0.5, "channel": 0, "text": "x", "speaker": "p"}
CUT = {"id": "c", "start": 0.0, "duration": 1.0, "channel": 0, "supervisions": [SUPERVISION], "recording": RECORDING,
       "type": "MonoCut"}  # fmt: skip
OURS = {"id": "a", "audio": "a.wav", "start_s": 0.5, "end_s": 1.5, "speaker": "p", "text": "x", "more": 1}
NEMO = {"audio_filepath": "a.wav", "offset": 0.5, "duration": 1.0, "text": "x"}
FILES: dict[str, dict[str, str]] = {
    "kaldi": {
        "d/wav.scp": "r1 /a.wav\nr2 cat x |\n", "d/segments": "u1 r1 0 1\nu2 r2 0.5 -1\n", "d/text": "u1 a b\nu2 c\n",
        "d/utt2spk": "u1 s\nu2 s\n", "d/spk2utt": "s u1 u2\n", "d/utt2dur": "u1 1\nu2 2\n", "d/lang": "u1 de\n",
    },
    "tsv": {"x.tsv": "/root\na.wav\t100\nb/c.wav\t200\n", "x.wrd": "eins\nzwei\n", "x.ids": "a\nb\n"},
    "jsonl": {"x.jsonl": json.dumps(OURS) + "\n" + json.dumps(NEMO) + "\n"},
    "lhotse": {
        "l/recordings.jsonl": json.dumps(RECORDING) + "\n", "l/supervisions.jsonl": json.dumps(SUPERVISION) + "\n",
    },
    "cuts": {"cuts.jsonl": json.dumps(CUT) + "\n"},
    "scp": {"wav.scp": "a /a.wav\nb x.ark:12\nc sox - |\n"},
    "list": {"x.lst": "/a.wav\n/b.wav\n"},
}  # fmt: skip
TOKENS = [b"\n", b" ", b"\t", b"\0", b"\xff", b"\r\n", b"|", b"-1", b"nan", b"1e999", b"{", b"}", b"[", b"null",
          b"true", b'"', b"9" * 400, b"\xc2\xa0", b"\xed\xa0\x80", b"-",
          b"..", b"/", b":", b"0", b"[]", b"{}", b'"x"', b"3.5"]  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        start = rng.randrange(len(out) + 1)
        stop = min(len(out), start + rng.choice([0, 0, 1, 3, 10]))
        out[start:stop] = rng.choice(TOKENS)
    return bytes(out[: rng.randrange(len(out) + 1)] if rng.random() < 0.1 else out)


def use(path: Path) -> None:
    for allow_pipes in (False, True):
        open_corpus(path, allow_pipes=allow_pipes)


def use_dir(path: Path) -> None:
    actions: list[Callable[[], object]] = [
        lambda: open_corpus(path, allow_pipes=True),
        lambda: check_dir(path, allow_pipes=True, audio=True),
        lambda: split_dir(path, path.parent / "split", 2),
        lambda: fix_dir(path),
    ]
    for made in (path.parent / "split", *path.glob(".backup*")):
        shutil.rmtree(made, ignore_errors=True)
    for action in actions:
        try:
            action()
        except DataError:
            continue


@pytest.mark.parametrize("kind", FILES)
def test_mutated_tables_raise_data_error_only(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng, num_good = random.Random(0), 0
    first = tmp_path / next(iter(FILES[kind]))
    target = first.parent if first.parent != tmp_path else first
    for _ in range(NUMBER):
        chosen = rng.choice(list(FILES[kind]))
        for name, text in FILES[kind].items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(mutated(text.encode(), rng) if name == chosen else text.encode())
        try:
            (use_dir if kind == "kaldi" else use)(target)
            num_good += 1
        except DataError:
            continue
    assert num_good > 0 or kind == "scp"


@pytest.mark.parametrize("row", [OURS, NEMO, RECORDING, CUT], ids=["ours", "nemo", "recording", "cut"])
def test_rows_with_values_of_any_kind_raise_data_error_only(tmp_path: Path, row: dict[str, object]) -> None:
    values: list[object] = [
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "x",
        [],
        {},
        [{}],
        [[]],
        {"a": []},
        10**400,
        "\ud800",
        "a" * 5000,
    ]
    path = tmp_path / "x.jsonl"

    def variants(value: object) -> list[object]:
        """The value replaced by each of `values`, at any depth."""
        found = list(values)
        if isinstance(value, dict):
            found += [{**value, key: v} for key in value for v in variants(value[key])]
        elif isinstance(value, list):
            found += [[*value[:i], v, *value[i + 1 :]] for i in range(len(value)) for v in variants(value[i])]
        return found

    for variant in variants(row):
        path.write_text(json.dumps(variant) + "\n")
        try:
            open_corpus(path)
        except DataError:
            continue

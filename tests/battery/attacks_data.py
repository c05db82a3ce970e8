"""Malicious corpora and configs: commands, tables, archives, manifests, ids, data directories, TOML, recordings."""
# ruff: noqa: E501 (a table: one attack, one entry)

import functools
import gzip
import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from speechssl import audio, config
from speechssl.convert import inferred
from speechssl.data.ark import Scp, read_ark, read_at
from speechssl.data.corpus import Corpus, open_corpus, read_utterance
from speechssl.data.export import write_corpus
from speechssl.data.kaldi_check import check_dir
from speechssl.data.kaldi_edit import fix_dir
from speechssl.data.kaldi_part import split_dir
from speechssl.data.utterance import Utterance
from speechssl.encoders import hubert
from speechssl.errors import AudioError
from speechssl.extract.job import ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.run import Options, run_features, run_units
from speechssl.extract.stored_features import open_features
from speechssl.metrics.alignments import read_alignments
from speechssl.metrics.unit_files import read_unit_file
from speechssl.metrics.unit_report import score_corpus
from speechssl.units.formats import Info, unit_format
from tests.battery.attack import Attack, file, files
from tests.battery.readers_data import CUT, RECORDING
from tests.units.test_model import mfcc_model

# Run by a shell, each of these would leave a file `canary`; {evil} is a program of the attacker's.
COMMANDS = (
    "touch canary |", "cat a.wav ; touch canary |", "cat a.wav && touch canary |", "cat a.wav || touch canary |",
    "cat a.wav | touch canary |", "cat `touch canary` |", "cat $(touch canary) |", "cat a.wav > canary |",
    "cat a.wav >> canary |", "cat a.wav 2> canary |", "cat a.wav &> canary |", "cat a.wav >| canary |", "cat < a.wav |",
    "sh -c 'touch canary' |", "bash -c 'touch canary' |", "/bin/sh evil.sh |", "env touch canary |", "nohup touch canary |",
    "LC_ALL=C touch canary |", "PATH=. cat a.wav |", "LD_PRELOAD=./evil.so cat a.wav |", "cat a.wav & touch canary |",
    "(touch canary) |", "{ touch canary; } |", "! touch canary |", "exec touch canary |", "eval touch canary |",
    "sox '|touch canary' -t wav - |", 'sox "|touch canary" -p |', "python -c 'open(\"canary\",\"w\")' |", "perl -e x |",
    "xargs touch canary |", "find . -exec touch canary ';' |", "tee canary |", "dd of=canary |", "cp a.wav canary |",
    "ffmpeg -i http://127.0.0.1:9/x - |", "sox ftp://127.0.0.1/x - |", "curl -o canary file:///etc/hostname |",
    "cat a.wav | sh |", "cat evil.sh | bash |", "cat <(touch canary) |", "cat a.wav |& touch canary |", "$SHELL -c 'touch canary' |",
    "cat a.wav\ttouch canary; |", "cat 'a.wav |", "cat \"a.wav |", "cat a.wav \\; touch canary |", "\\touch canary |", "|", "| cat |",
    "|touch canary", "-", "touch canary|", "cat a.wav|touch canary|", "~/evil.sh |", "../evil.sh |", "./evil.sh |",
    "time touch canary |", "timeout 1 touch canary |", "busybox touch canary |", "make -f evil |",
    "awk 'BEGIN{{system(\"touch canary\")}}' |", "sed -n 'w canary' a.wav |", "tar --to-command=touch -xf x |", "ssh x touch |",
)  # fmt: skip


def commands() -> Iterator[Attack]:
    """Every spelling, refused without and with --allow-pipes, in every kind of table that may hold one."""
    for number, command in enumerate(COMMANDS):
        command = command.replace("{{", "{").replace("}}", "}")
        tables = {
            "wav.scp": ("wav.scp", f"u {command}\n"),
            "jsonl": ("x.jsonl", json.dumps({"id": "u", "audio": command}) + "\n"),
            "lhotse": ("cuts.jsonl", json.dumps({**CUT, "recording": {
                **RECORDING, "sources": [{"type": "command", "channels": [0], "source": command}]}}) + "\n"),
        }  # fmt: skip
        for shift, (kind, (name, text)) in enumerate(tables.items()):
            allow = (number + shift) % 3 > 0  # two of three with --allow-pipes
            yield Attack("commands", f"{command} in {kind}{' allowed' if allow else ''}", _trap({name: text.encode()}),
                         lambda home, n=name, a=allow: _read_all(home / n, allow_pipes=a))  # type: ignore[misc]  # fmt: skip


def _trap(more: dict[str, bytes]) -> Callable[[Path], None]:
    def make(home: Path) -> None:
        files({"evil.sh": b"#!/bin/sh\ntouch canary\n", "a.wav": b"RIFF", **more})(home)
        for name in ("evil.sh", "cat", "sox"):  # programs of an allowed name that lie in the working directory
            (home / name).write_bytes(b"#!/bin/sh\ntouch canary\n")
            (home / name).chmod(0o755)

    return make


def _read_all(path: Path, *, allow_pipes: bool = False) -> None:
    """Open a corpus and read every recording; the last refusal is what came of it."""
    refused = None
    for utterance in open_corpus(path, allow_pipes=allow_pipes).utterances:
        try:
            read_utterance(utterance, sample_rate=16000, allow_pipes=allow_pipes, max_s=60.0)
        except AudioError as error:
            refused = error
    if refused:
        raise refused


ADDRESSES = (
    "http://127.0.0.1:9/a.wav", "https://127.0.0.1:9/a.wav", "ftp://127.0.0.1:9/a.wav", "file:///etc/passwd", "s3://bucket/a.wav",
    "gs://bucket/a", "memory://a.wav", "data:audio/wav;base64,UklGRg==", "simplecache::http://127.0.0.1:9/a.wav",
    "zip://a.wav::http://127.0.0.1:9/a.zip", "ssh://127.0.0.1/a.wav", "\\\\127.0.0.1\\share\\a.wav", "//127.0.0.1/share/a.wav",
    "reference://x", "hf://x/y", "github://x:y@z/w", "jar:file:///etc/passwd!/x", "concat:/etc/passwd", "pipe:0", "subfile,,:/etc/passwd",
)  # fmt: skip
PLACES = (
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/mem",
    "../outside/precious",
    "/dev/tty",
    "/proc/self/fd/0",
    ".",
)


def manifests() -> Iterator[Attack]:
    """Addresses and places of the system where a recording should be."""
    for entry in (*ADDRESSES, *PLACES):
        source = {
            **RECORDING,
            "sources": [{"type": "url" if "://" in entry else "file", "channels": [0], "source": entry}],
        }
        for kind, (name, text) in {
            "wav.scp": ("wav.scp", f"u {entry}\n"),
            "jsonl": ("x.jsonl", json.dumps({"id": "u", "audio": entry}) + "\n"),
            "tsv": ("x.tsv", f"/\n{entry}\t100\n"),
            "lhotse": ("cuts.jsonl", json.dumps({**CUT, "recording": source}) + "\n"),
            "list": ("x.lst", f"{entry}\n"),
        }.items():
            yield Attack("addresses in manifests", f"{entry} in {kind}", file(name, text.encode()),
                         lambda home, n=name: _read_all(home / n))  # type: ignore[misc]  # fmt: skip
    odd = ("memory", "url", "shar", "fsspec", "pickle", "command ", "os.system", "")
    for kind in odd:
        row = {**RECORDING, "sources": [{"type": kind, "channels": [0], "source": "x"}]}
        yield Attack("addresses in manifests", f"lhotse source of type {kind!r}", file("recordings.jsonl", json.dumps(row).encode()),
                     lambda home: _read_all(home / "recordings.jsonl"))  # fmt: skip


def archives() -> Iterator[Attack]:
    """Archives and offsets that lie."""
    for offset in (
        "0",
        "999999999999999999",
        "18446744073709551616",
        "-1",
        "1e9",
        "4",
        "00000000000000000000001",
        "0x10",
        " 5",
    ):
        yield Attack("archives", f"offset {offset}", file("x.ark", b"a \0BFM \4\1\0\0\0\4\1\0\0\0" + bytes(4)),
                     lambda home, o=offset: read_at(f"{home}/x.ark:{o}"))  # type: ignore[misc]  # fmt: skip
        yield Attack("archives", f"recording at {offset}", files({"x.ark": b"RIFF" + bytes(60), "wav.scp": f"u x.ark:{offset}\n".encode()}),
                     lambda home: _read_all(home / "wav.scp"))  # fmt: skip
    size = b"\4\xff\xff\xff\x7f"
    for name, data in {
        "matrix of 2^62": b"a \0BFM " + size * 2, "double of 2^62": b"a \0BDM " + size * 2, "vector of 2^31": b"a \0BFV " + size,
        "negative": b"a \0BFM \4\xff\xff\xff\xff\4\1\0\0\0", "integers": b"a \0B" + size, "compressed": b"a \0BCM " + bytes(8) + size[1:] * 2,
        "rows without columns": b"a \0BCM2 " + bytes(8) + b"\xff\xff\xff\x7f" + bytes(4), "columns without rows": b"a \0BCM3 " + bytes(12) + b"\xff\xff\xff\x7f",
        "endless id": b"a" * 200_000, "endless line": b"a  [ " + b"1 " * 500_000, "token": b"a \0Bos.system ", "many": b"a \0BFV \4\0\0\0\0" * 50_000,
    }.items():  # fmt: skip
        yield Attack("archives", name, file("x.ark", data + bytes(8)), lambda home: list(read_ark(home / "x.ark")))
    for entry in (
        "cat x |",
        "| cat",
        "-",
        "/dev/zero",
        "/etc/passwd:0",
        "x.ark:5 ; touch canary",
        "$(touch canary)",
        "../outside/precious:3",
    ):
        yield Attack("archives", f"feats.scp entry {entry}", file("feats.scp", f"a {entry}\n".encode()),
                     lambda home: list(Scp(home / "feats.scp").values()))  # fmt: skip
    for text in ("9" * 5000 + "\n", "-1\n", "1e9\n", "\n\n", "99999999999999\n", "٣\n"):

        def make(home: Path, text: str = text) -> None:
            np.save(home / "x.npy", np.ones((3, 2), np.float32))
            (home / "x.len").write_text(text)

        yield Attack("archives", f"lengths {text[:20]!r}", make, lambda home: list(open_features(home)[0]()))


IDS = ("../escape", "../../outside/precious", "/etc/evil", "a/../../b", "..", ".", "a\0b", "~/x", "con", "a\\..\\b", "x" * 4000,
       "\x1b]0;evil\x07", "--help", "-rf", "$(touch canary)", "`touch canary`", "; touch canary", "%2e%2e%2fx", "‮txt.wav", "sha256sums",
       "job.json", "journal.jsonl", "__metadata__", "<script>")  # fmt: skip


def ids() -> Iterator[Attack]:
    """Ids that are paths or commands, through the engine and through every exporter."""
    for key in IDS:
        for store in ("units", "npy", "npz", "safetensors", "ark"):
            yield Attack("ids that escape", f"{key[:30]!r} in {store}", _recording_and_model, lambda home, k=key, s=store: _extract(home, k, s))  # type: ignore[misc]  # fmt: skip
        for kind in ("kaldi", "espnet", "tsv", "jsonl", "lhotse"):
            yield Attack("ids that escape", f"{key[:30]!r} to {kind}", _recording_and_model, lambda home, k=key, t=kind: write_corpus(
                [Utterance(k, str(home / "a.wav"))], home / ("out" if t in ("kaldi", "espnet") else f"out.{t}"), t))  # type: ignore[misc]  # fmt: skip


def _recording_and_model(home: Path) -> None:
    audio.write(home / "a.wav", np.zeros(1600, np.float32), 16000)
    mfcc_model(4).save(home / "model")


def _extract(home: Path, key: str, store: str) -> None:
    corpus = Corpus([Utterance(key, str(home / "a.wav"))], "files", "x")
    spec, options = ModelSpec(str(home / "model")), Options(workers=0, quiet=True)
    if store == "units":
        run_units(corpus, home / "out", spec, outputs=[Output("jsonl", False)], options=options)
    else:
        run_features(corpus, home / "out", spec, format=store, options=options)


def _directory(home: Path) -> None:
    """A good data directory, home/d; home is the working directory."""
    audio.write(home / "a.wav", np.zeros(1600, np.float32), 16000)
    tables = {"wav.scp": b"b a.wav\na a.wav\n", "utt2spk": b"b s\na s\n", "text": b"b x\na y\n"}
    files({f"d/{name}": data for name, data in tables.items()})(home)


def directories() -> Iterator[Attack]:
    """Kaldi directories laid out to make a repair write, or read, elsewhere."""
    links = {
        f".{name}.tmp": "../../outside/precious" for name in ("wav.scp", "utt2spk", "text", "spk2utt")
    } | {".backup": "../../outside", ".backup.1": "../../outside", "spk2utt": "../../outside/precious", "lang": "../../outside/precious",
         "endless": "/dev/zero", "itself": "itself", "memory": "/proc/self/mem", ".lock": "../../outside/precious"}  # fmt: skip
    for name, target in links.items():

        def make(home: Path, name: str = name, target: str = target) -> None:
            _directory(home)
            (home / "d" / name).symlink_to(target)

        for action, use in {"fix": lambda home: fix_dir(home / "d"), "check": lambda home: check_dir(home / "d", audio=True),
                            "split": lambda home: split_dir(home / "d", home / "parts", 2),
                            "read": lambda home: open_corpus(home / "d")}.items():  # fmt: skip
            yield Attack("data directories", f"{action}, {name} -> {target}", make, use)
    for name in ("wav.scp", "utt2spk", "segments", "text", "feats.scp"):

        def fifo(home: Path, name: str = name) -> None:
            _directory(home)
            (home / "d" / name).unlink(missing_ok=True)
            os.mkfifo(home / "d" / name)

        for action, use in {
            "fix": lambda home: fix_dir(home / "d"),
            "read": lambda home: open_corpus(home / "d"),
        }.items():
            yield Attack("data directories", f"{action}, {name} is a FIFO", fifo, use)


def configs() -> Iterator[Attack]:
    """TOML that reaches for other files, ends nowhere, or names classes."""

    def read(home: Path) -> None:
        config.load(hubert.Config, home / "x.toml")

    for value in ('"/etc/passwd"', '"/dev/zero"', '"fifo"', '"."', '"x.toml"', '"loop.toml"', '"chain0.toml"', "1", "[1]", "true",
                  '"a\\u0000b"', '"~/.ssh/id_rsa"', '"http://127.0.0.1:9/x.toml"', '"../outside/precious"', f'"{"x" * 5000}"',
                  '"/proc/self/environ"', "{a = 1}", "1.5"):  # fmt: skip

        def make(home: Path, value: str = value) -> None:
            (home / "x.toml").write_text(f"extends = {value}\n")
            (home / "loop.toml").write_text('extends = "x.toml"\n')
            os.mkfifo(home / "fifo")
            for number in range(60):
                (home / f"chain{number}.toml").write_text(f'extends = "chain{number + 1}.toml"\n')

        yield Attack("configs", f"extends = {value[:40]}", make, read)
    for name, text in {
        "deep lists": "dim = " + "[" * 20_000, "deep tables": "[" + ".".join(["a"] * 20_000) + "]\nx = 1", "class path": '_target_ = "os.system"',
        "python object": '"!!python/object" = 1', "endless number": "dim = " + "9" * 9000, "dunder": '__class__ = "os.system"\n__init__ = 1',
        "giant": "dim = 99999999999999999", "not a number": "layer_norm_eps = nan", "million layers": "conv_layers = [" + "[1,1,1]," * 30_000 + "]",
        "nul": "dim = 1\0", "inline bomb": "a = " + "{a=" * 5000 + "1" + "}" * 5000,
    }.items():  # fmt: skip
        yield Attack("configs", name, file("x.toml", text.encode()), read)
        yield Attack(
            "configs", f"hints, {name}", file("x.toml", text.encode()), lambda home: inferred.read_hints(home / "x.pt")
        )


@functools.cache
def _gzipped(byte: bytes) -> bytes:
    return gzip.compress(byte * (200 << 20), 1)


def bombs() -> Iterator[Attack]:
    """Small files of text and of sound that stand for large ones."""
    for name, read in {
        "x.jsonl.gz": lambda home: open_corpus(home / "x.jsonl.gz"),
        "cuts.jsonl.gz": lambda home: open_corpus(home / "cuts.jsonl.gz"),
        "a.ctm.gz": lambda home: read_alignments(home / "a.ctm.gz"),
        "a.txt.gz": lambda home: read_alignments(home / "a.txt.gz"),
        "u.txt.gz": lambda home: read_unit_file(home / "u.txt.gz", num_units=4, unit_rate=50.0),
    }.items():
        yield Attack("bombs in text and sound", f"a line of zeros, {name}", file(name, lambda: _gzipped(b"\0")), read)
        yield Attack("bombs in text and sound", f"a line of spaces, {name}", file(name, lambda: _gzipped(b" ")), read)
    long = {"id": "u", "units": [1], "durations": [(1 << 31) - 1], "rate_hz": 50.0, "num_units": 4}
    many = {"id": "u", "units": [1], "rate_hz": 50.0, "num_units": 1 << 40}
    for name, row in {"a unit of two years": long, "a trillion units": many, "negative": {**long, "durations": [-5]},
                      "endless": {**long, "rate_hz": 1e400}, "no rate": {**long, "rate_hz": 0}}.items():  # fmt: skip

        def score(home: Path) -> None:
            count, rate, rows = read_unit_file(home / "u.jsonl")
            score_corpus(rows, None, num_units=count, unit_rate=rate)

        yield Attack("bombs in text and sound", name, file("u.jsonl", json.dumps(row).encode() + b"\n"), score)
        for kind in ("jsonl",):
            yield Attack("bombs in text and sound", f"{name}, as an output", file("units.jsonl", json.dumps(row).encode() + b"\n"),
                         lambda home, k=kind: [u.frames() for _, u in unit_format(k).read(home, Info(50.0, 4, True, home))])  # type: ignore[misc]  # fmt: skip
    for line in ("u 1 0 1e9 x", "u 1 1e308 1e308 x", "u 1 nan 1 x", "u 1 0 inf x", "u 1 -5 1 x"):

        def frames(home: Path) -> None:
            found = read_alignments(home / "a.ctm")
            for key in found:
                found.frames(key, 100.0)

        yield Attack("bombs in text and sound", f"alignment {line}", file("a.ctm", line.encode() + b"\n"), frames)
    wav = b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    mp3 = b"\xff\xfb\x90\x64" + bytes(413)
    for name, (ending, data) in {
        "WAV of 4 GB": ("wav", wav + b"data\xff\xff\xff\xf0" + bytes(100)), "WAV of 65535 channels": ("wav", wav.replace(b"\1\0\1\0", b"\1\0\xff\xff") + b"data" + bytes(104)),
        "WAV of many chunks": ("wav", wav + b"LIST\0\0\0\0" * 100_000), "MP3 of marks": ("mp3", mp3 * 3 + b"\xff" * 400_000),
        "MP3 of almost frames": ("mp3", mp3 * 3 + b"\xff\xfb\x90" * 100_000), "VOC of empty blocks": ("voc", b"Creative Voice File\x1a\x1a\0\x0a\1\x29\x11" + b"\1\0\0\0" * 200_000),
        "Ogg of marks": ("ogg", b"OggS\0" * 60_000), "FLAC of 2^36 frames": ("flac", b"fLaC\x80\0\0\x22" + b"\x10\0\x10\0" + bytes(6) + b"\x0a\xc4\x42\xff" + b"\xff" * 4 + bytes(16)),
        "ID3 of 256 MB": ("mp3", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(100)), "AIFF in AIFF": ("aiff", b"FORM\0\0\0\x10AIFF" * 10_000),
    }.items():  # fmt: skip
        yield Attack("bombs in text and sound", name, file(f"x.{ending}", data),
                     lambda home, e=ending: audio.read(home / f"x.{e}", max_s=600.0))  # type: ignore[misc]  # fmt: skip


def attacks() -> Iterator[Attack]:
    for group in (commands, manifests, archives, ids, directories, configs, bombs):
        yield from group()


CONTROLS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "wav.scp": (
        lambda home: (_recording_and_model(home), (home / "wav.scp").write_text("u a.wav\n")),
        lambda home: _read_all(home / "wav.scp"),
    ),
    "data directory": (
        _directory,
        lambda home: split_dir(home / "d", home / "parts", 2) if fix_dir(home / "d", home / "e") else None,
    ),
    "units": (_recording_and_model, lambda home: _extract(home, "plain", "units")),
    "features": (_recording_and_model, lambda home: _extract(home, "plain", "ark")),
    "config": (file("x.toml", b"dim = 768\n"), lambda home: config.load(hubert.Config, home / "x.toml")),
}

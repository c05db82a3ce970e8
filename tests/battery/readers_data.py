"""Readers of tables, manifests, archives, alignments, units and configs, and small files of each kind."""

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np

from speechssl import config
from speechssl.data.ark import ArkWriter, Scp, read_ark
from speechssl.data.corpus import open_corpus
from speechssl.data.kaldi_check import check_dir
from speechssl.data.kaldi_edit import fix_dir
from speechssl.data.kaldi_part import split_dir
from speechssl.encoders import hubert
from speechssl.errors import DataError
from speechssl.extract.stored_features import open_features
from speechssl.metrics.alignments import read_alignments
from speechssl.metrics.unit_files import read_unit_file
from speechssl.metrics.unit_report import score_corpus
from speechssl.units import Units
from speechssl.units.formats import Info, Item, names, unit_format
from tests.battery.mutations import Case, Reader

RECORDING = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 16000,
             "num_samples": 16000, "duration": 1.0, "channel_ids": [0]}  # fmt: skip
SUPERVISION = {"id": "s", "recording_id": "r", "start": 0.1, "duration": 0.5, "channel": 0, "text": "x", "speaker": "p"}
CUT = {"id": "c", "start": 0.0, "duration": 1.0, "channel": 0, "supervisions": [SUPERVISION], "recording": RECORDING,
       "type": "MonoCut"}  # fmt: skip
OURS = {"id": "a", "audio": "a.wav", "start_s": 0.5, "end_s": 1.5, "speaker": "p", "text": "x", "more": 1}
NEMO = {"audio_filepath": "a.wav", "offset": 0.5, "duration": 1.0, "text": "x"}
KALDI = {
    "wav.scp": "r1 /a.wav\nr2 cat x |\n", "segments": "u1 r1 0 1\nu2 r2 0.5 -1\n", "text": "u1 a b\nu2 c\n",
    "utt2spk": "u1 s\nu2 s\n", "spk2utt": "s u1 u2\n", "utt2dur": "u1 1\nu2 2\n", "lang": "u1 de\n",
}  # fmt: skip
TEXTGRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1.5\ntiers? <exists>\nsize = 2\nitem []:\n'
    '    item [1]:\n        class = "IntervalTier"\n        name = "phones"\n        xmin = 0\n        xmax = 1.5\n'
    "        intervals: size = 2\n        intervals [1]:\n            xmin = 0\n            xmax = 0.7\n"
    '            text = "a"\n        intervals [2]:\n            xmin = 0.7\n            xmax = 1.5\n'
    '            text = "b""c"\n    item [2]:\n        class = "TextTier"\n        name = "p"\n        xmin = 0\n'
    "        xmax = 1.5\n        points: size = 1\n        points [1]:\n            number = 0.5\n"
    '            mark = "x"\n'
)
INFO = Info(50.0, 8, True, Path("/home/units"), "/corpus")


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def packed(name: str, data: bytes) -> Case:
    """A gzipped file, of which what is inside is damaged."""
    return Case({name: gzip.compress(data, 1)}, (name,), {name: (data, lambda changed: gzip.compress(changed, 1))})


def encoded(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}


def read_corpus(home: Path) -> None:
    """As the folder itself (lhotse), or its one table."""
    tables = [path for path in home.iterdir() if path.suffix in (".jsonl", ".gz", ".tsv", ".scp", ".lst")]
    spec = tables[0] if len(tables) == 1 else home
    for allow_pipes in (True, False):
        list(open_corpus(spec, allow_pipes=allow_pipes).utterances)


def read_piped_corpus(home: Path) -> None:
    list(open_corpus(next(home.iterdir()), allow_pipes=True).utterances)


def read_kaldi(home: Path) -> None:
    """Everything that reads a data directory; it is mended last."""
    actions: list[Callable[[], object]] = [
        lambda: open_corpus(home, allow_pipes=True),
        lambda: check_dir(home, allow_pipes=True, audio=True),
        lambda: split_dir(home, home.parent / "split", 2),
        lambda: fix_dir(home),
    ]
    refused = None
    for made in (home.parent / "split", *home.glob(".backup*")):
        shutil.rmtree(made, ignore_errors=True)
    for action in actions:
        try:
            action()
        except DataError as error:
            refused = error
    if refused:
        raise refused


def arks(folder: Path) -> Sequence[Case]:
    random = np.random.default_rng(0)
    cases = []
    matrices = {"a": random.standard_normal((3, 2)).astype(np.float32), "b": random.standard_normal((2, 2))}
    vectors = {"v": matrices["a"][:, 0], "i": np.array([3, -1, 2], np.int32)}
    with ArkWriter(folder / "x.ark") as writer:
        for key, value in {**matrices, **vectors}.items():
            writer.write(key, value)
    cases.append(Case({"x.ark": (folder / "x.ark").read_bytes()}))
    for number, options in enumerate([{"text": True}, *({"compression_method": m} for m in (2, 3, 5))]):
        path = folder / f"{number}.ark"
        kaldiio.save_ark(str(path), {"a": matrices["a"]}, **options)
        cases.append(Case({"x.ark": path.read_bytes()}))
    cases.append(Case({"x.ark": b"u 1 2 3\nw 4 5\n"}))
    return cases


def scps(folder: Path) -> Sequence[Case]:
    with ArkWriter(folder / "f.ark", folder / "f.scp", ark_name="f.ark") as writer:
        writer.write("a", np.ones((2, 3), np.float32))
        writer.write("b", np.ones((1, 3), np.float32))
    return [Case({"x.scp": (folder / "f.scp").read_bytes(), "f.ark": (folder / "f.ark").read_bytes()}, ("x.scp",))]


def read_scp(home: Path) -> None:
    (home.parent / "f.ark").write_bytes((home / "f.ark").read_bytes())  # named relative to the working directory
    for _ in Scp(home / "x.scp").values():
        pass


def features(folder: Path) -> Sequence[Case]:
    np.save(folder / "x.npy", np.ones((5, 2), np.float32))
    return [Case({"x.npy": (folder / "x.npy").read_bytes(), "x.len": b"2\n3\n"})]


def read_features(home: Path) -> None:
    for _, frames in open_features(home)[0]():
        frames.sum()


def read_toml(home: Path) -> None:
    config.load(hubert.Config, home / "x.toml", ["dim=32"])


TOML = b'extends = "base.toml"\nnum_layers = 2 # two\nconv_norm = "layer"\nconv_layers = [[4, 10, 5], [8, 3, 2]]\n'
BASE = b"dim = 16\nnum_heads = 4\npos_conv_groups = 4\nlayer_norm_eps = 1e-6\nnorm_first = true\n"


def aligned(home: Path) -> None:
    spec = home if list(home.glob("*.TextGrid")) else next(home.iterdir())
    found = read_alignments(spec)
    for name in found:
        found.frames(name, found.rate_hz or 100.0, shift_s=0.01)


def read_unit_lines(home: Path) -> None:
    """As `speechssl score units` does, without and with what the file does not say."""
    (path,) = home.iterdir()
    options = {} if b"num_units" in path.read_bytes() else {"num_units": 8, "unit_rate": 50.0}
    num_units, rate, rows = read_unit_file(path, **options)  # type: ignore[arg-type]
    score_corpus(rows, None, num_units=num_units, unit_rate=rate)


def units_in(name: str) -> Reader:
    def make(folder: Path) -> Sequence[Case]:
        units = [Units.from_frames([1, 1, 2, 7, 7], rate_hz=50.0, size=8), Units.from_frames([3], rate_hz=50.0, size=8)]
        items = [Item(f"u{n}", u.dedup(), f"/corpus/u{n}.wav", 1600) for n, u in enumerate(units)]
        home = folder / name
        home.mkdir()
        unit_format(name).write(home, iter(items), INFO)
        files = {path.name: path.read_bytes() for path in home.iterdir()}
        return [Case(files, [file for file in files if not file.endswith(".scp") and file != "dict.km.txt"])]

    def read(home: Path) -> None:
        for _, units in unit_format(name).read(home, INFO):
            units.frames()

    return Reader(make, read)


ALIGNMENTS = {
    "x.jsonl": b'{"name": "a", "phones": ["SIL", "AE", "AE"]}\n{"name": "b", "phones": ["T"]}\n',
    "x.txt": b"a SIL SIL AE\nb T T\n",
    "x.tsv": b"utterance\tstart\tend\tlabel\na\t0\t0.5\tx\na\t0.5\t1\ty\nb\t0\t1\tz\n",
    "x.ctm": b"a 1 0 0.5 x 0.9\na 1 0.5 0.5 y\n",
    "x.TextGrid": TEXTGRID.encode(),
}
UNIT_FILES = {
    "x.jsonl": lines({"id": "u", "units": [0, 1], "durations": [2, 1], "rate_hz": 50.0, "num_units": 4}) * 2,
    "x.txt": b"u 1 2 3\nw 4\n",
}
UNIT_FILES["x.jsonl"] = UNIT_FILES["x.jsonl"].replace(b'"u"', b'"w"', 1)

READERS = {
    "Kaldi data directory": Reader(lambda folder: [Case(encoded(KALDI))], read_kaldi, changes=True),
    "wav.scp": Reader(lambda folder: [Case({"wav.scp": b"a /a.wav\nb x.ark:12\nc sox - |\n"})], read_piped_corpus),
    "fairseq manifest": Reader(
        lambda folder: [Case(encoded({"x.tsv": "/root\na.wav\t100\nb/c.wav\t200\n", "x.wrd": "eins\nzwei\n",
                                      "x.ids": "a\nb\n"}))], read_corpus),
    "jsonl manifest": Reader(lambda folder: [Case({"x.jsonl": lines(OURS, NEMO)}), packed("x.jsonl.gz", lines(OURS))],
                             read_corpus),
    "lhotse manifest": Reader(
        lambda folder: [Case({"recordings.jsonl": lines(RECORDING), "supervisions.jsonl": lines(SUPERVISION)}),
                        Case({"cuts.jsonl": lines(CUT)}), packed("cuts.jsonl.gz", lines(CUT))], read_corpus),
    "list of files": Reader(lambda folder: [Case({"x.lst": b"/a.wav\n/b.wav\n"})], read_corpus),
    "Kaldi archive": Reader(arks, lambda home: list(read_ark(home / "x.ark"))),
    "feats.scp": Reader(scps, read_scp),
    "features as .npy": Reader(features, read_features),
    "TOML config": Reader(lambda folder: [Case({"x.toml": TOML, "base.toml": BASE})], read_toml),
    "alignment": Reader(lambda folder: [Case({name: data}) for name, data in ALIGNMENTS.items()]
                        + [packed("x.jsonl.gz", ALIGNMENTS["x.jsonl"])], aligned),
    "file of units": Reader(lambda folder: [Case({name: data}) for name, data in UNIT_FILES.items()], read_unit_lines),
    **{f"units as {name}": units_in(name) for name in names()},
}  # fmt: skip

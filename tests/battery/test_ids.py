"""Odd ids through every writer: refused with their row before anything is computed, or unchanged on reading back."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from pyarrow import parquet
from safetensors import safe_open

from speechssl.data.corpus import Corpus, open_corpus
from speechssl.data.export import FORMATS, write_corpus
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError
from speechssl.extract import plan
from speechssl.extract.job import ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.outputs import read_features, read_units, verify
from speechssl.extract.run import Options, run_features, run_units
from speechssl.extract.stores import store
from speechssl.units.formats import Info, names, unit_format
from tests.battery.conftest import Record
from tests.battery.size import size
from tests.battery.test_disk import STORES
from tests.extract.helpers import model

HERE = Options(workers=0, quiet=True)
IDS = [
    "plain", "a/b", "/abs/olute", "..", ".", "../x", "../../up", "a/../../b", "a..b", "a.b", "a.npy", "a.wav",
    "x.flac.flac", "../x.npy", "two words", " lead", "trail ", "tab\tin", "new\nline", "cr\rin", "nul\0in", "nul\0", "",
    "\u00e9", "e\u0301", "ß", "日本語", "مرحبا", "\u202eright-to-left", "zero\u200bwidth", "\u200d", "a\u00a0b",
    "a\u2028b", "a\u3000b", "\x1b[31m", "\x85", "\ufeffbom", "x" * 300, "é" * 300, "|", "a|", "-", "--help", "-o",
    "$HOME", "`id`", "$(id)", "'", '"', "\\", "a:12", "id:12", "%2e%2e", "~", "#", "# comment", "con", "NUL", "aux.txt",
    "\ud800", "\udcff", "*", "?", "a,b", "nan", "None", "0", "1e5", "true", "😀", "A", "a", "__metadata__",
]  # fmt: skip
COMBINING = ("a\u0300\u0301\u0302", "ﬁ", "fi", "Ⅸ", "IX", "ﷺ", "\U0001f468\u200d\U0001f469")  # differ when normalised
DUPLICATE = "twice"


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A folder around the output, with things that an escaping id could meet."""
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 8000), 16000)
    (tmp_path / "b").mkdir()
    (tmp_path / "deep" / "inside").mkdir(parents=True)
    return tmp_path


def rows(sandbox: Path, ids: Sequence[str]) -> list[Utterance]:
    return [Utterance(name, str(sandbox / "x.wav")) for name in ids]


def outside(sandbox: Path) -> set[Path]:
    inside = sandbox / "deep" / "inside"
    return {path for path in sandbox.rglob("*") if not path.is_relative_to(inside)}


def lines(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\n")[:-1]


def of_npz(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def of_safetensors(path: Path) -> list[str]:
    with safe_open(path, framework="numpy") as file:
        return sorted(file.keys())


# Another library's, or a plain reading of the format: ids in the order of the file.
INDEPENDENT: dict[str, Callable[[Path], list[str]]] = {
    "text": lambda out: [line.split(" ")[0] for line in lines(out / "units")],
    "jsonl": lambda out: [json.loads(line)["id"] for line in lines(out / "units.jsonl")],
    "fairseq": lambda out: lines(out / "units.ids"),
    "npz": lambda out: np.load(out / "units.npz")["ids"].tolist(),
    "parquet": lambda out: parquet.read_table(out / "units.parquet")["id"].to_pylist(),
    "ark": lambda out: [name for name, _ in kaldiio.load_ark(str(out / "units.ark"))],
}
INDEPENDENT_STORES: dict[str, Callable[[Path], list[str]]] = {
    "npy": lambda shards: [json.loads(line)["id"] for path in shards.glob("*.jsonl") for line in lines(path)],
    "npz": lambda shards: [name for path in shards.glob("*.npz") for name in of_npz(path)],
    "safetensors": lambda shards: [name for path in shards.glob("*.safetensors") for name in of_safetensors(path)],
    "ark": lambda shards: [name for path in shards.glob("*.ark") for name, _ in kaldiio.load_ark(str(path))],
}


def why_refused(ids: Sequence[str], sandbox: Path, refuse: Callable[[str], str | None]) -> str | None:
    try:
        plan.check_manifest(rows(sandbox, ids), [refuse])
    except DataError as error:
        return str(error)
    return None


class Tally:
    """What became of the ids."""

    def __init__(self) -> None:
        self.refused = self.kept = self.wrong = 0
        self.reasons: list[str] = []

    def refuse(self, ids: list[str], odd: int, run: Callable[[list[str]], object], out: Path) -> None:
        """A run that must say no, naming the row, with nothing written."""
        try:
            run(ids)
        except DataError as error:
            named = f"row {odd}: " in str(error) or f"rows {odd - 1} and {odd}: " in str(error)
            if named and not out.exists():
                self.refused += 1
                return
            self.reasons.append(f"{ids}: {error}")
        self.wrong += 1

    def compare(self, expected: list[str], *found: list[str]) -> None:
        """Ids read back, by us and by others."""
        same = sum(all(other[i : i + 1] == [key] for other in found) for i, key in enumerate(expected))
        self.kept += same
        self.wrong += len(expected) - same
        self.reasons += [f"{a!r} {b!r}" for other in found for a, b in zip(expected, other, strict=False) if a != b]


def everything(
    tally: Tally, sandbox: Path, refuse: Callable[[str], str | None], run: Callable[[list[str]], object]
) -> list[str]:
    """Every id that is refused on its own; the others in one corpus, which is run. Returns those."""
    out = sandbox / "deep" / "inside" / "out"
    accepted = []
    for key in [*IDS, *COMBINING]:
        if why_refused([key], sandbox, refuse):
            tally.refuse(["first", key, "last"], 2, run, out)
        else:
            accepted.append(key)
    tally.refuse([DUPLICATE, DUPLICATE], 2, run, out)
    run(accepted)
    return accepted


@pytest.mark.parametrize("name", names())
def test_ids_in_unit_files(sandbox: Path, record: Record, name: str) -> None:
    model(sandbox / "model")
    spec, out = ModelSpec(str(sandbox / "model")), sandbox / "deep" / "inside" / "out"
    before = outside(sandbox)

    def run(ids: list[str]) -> None:
        run_units(Corpus(rows(sandbox, ids), "files", "x"), out, spec, outputs=[Output(name, False)], options=HERE)

    tally = Tally()
    accepted = everything(tally, sandbox, unit_format(name).refuse, run)
    info = Info(50.0, 20, False, out)
    others = [INDEPENDENT[name](out)] if name in INDEPENDENT else []
    tally.compare(
        accepted, [key for key, _ in unit_format(name).read(out, info)], [k for k, _ in read_units(out)], *others
    )
    escaped = outside(sandbox) - before
    report(record, f"odd ids: units {name}", tally, escaped, bool(others))
    assert verify(out)[0] == []


@pytest.mark.parametrize("name", STORES)
def test_ids_in_feature_stores(sandbox: Path, record: Record, name: str) -> None:
    model(sandbox / "model")
    spec, out = ModelSpec(str(sandbox / "model")), sandbox / "deep" / "inside" / "out"
    before = outside(sandbox)

    def run(ids: list[str]) -> None:
        corpus = Corpus(rows(sandbox, ids), "files", "x")
        run_features(corpus, out, spec, format=name, options=HERE, shard_size=len(IDS) * 2)

    tally = Tally()
    accepted = everything(tally, sandbox, store(name).refuse, run)
    tally.compare(accepted, [key for key, _ in read_features(out)])
    others = INDEPENDENT_STORES[name](out / "shards")
    expected = sorted(accepted) if name == "safetensors" else accepted
    assert others == expected, [pair for pair in zip(others, expected, strict=False) if pair[0] != pair[1]]
    if name == "ark":
        assert list(kaldiio.load_scp(str(out / "feats.scp"))) == accepted
    if name == "npz":
        with np.load(next((out / "shards").glob("*.npz"))) as arrays:
            assert all(arrays[key].shape[1] == 39 for key in accepted)
    report(record, f"odd ids: features {name}", tally, outside(sandbox) - before, True)


def of_lhotse(target: Path) -> list[str]:
    from lhotse import RecordingSet, SupervisionSet

    recordings = RecordingSet.from_file(target / "recordings.jsonl.gz")
    assert len(recordings) == 1
    return [supervision.id for supervision in SupervisionSet.from_file(target / "supervisions.jsonl.gz")]


def of_kaldi(target: Path) -> list[str]:
    """As C++ reads it: bytes up to the first space."""
    return [line.partition(b" ")[0].decode() for line in (target / "wav.scp").read_bytes().split(b"\n")[:-1]]


INDEPENDENT_MANIFESTS: dict[str, Callable[[Path], list[str]]] = {
    "kaldi": of_kaldi,
    "espnet": of_kaldi,
    "tsv": lambda path: lines(path.with_suffix(".ids")) if path.with_suffix(".ids").exists() else ["x"],
    "jsonl": lambda path: [json.loads(line)["id"] for line in lines(path)],
    "lhotse": of_lhotse,
}


@pytest.mark.parametrize("kind", FORMATS)
def test_ids_in_manifests_and_data_dirs(sandbox: Path, record: Record, kind: str) -> None:
    target = sandbox / "deep" / "inside" / (f"m.{kind}" if kind in ("tsv", "jsonl") else "out")
    before = outside(sandbox)
    tally = Tally()
    accepted = []
    for key in [*IDS, *COMBINING]:
        try:
            write_corpus([Utterance(key, str(sandbox / "x.wav"), speaker="s")], target, kind)
        except DataError as error:
            left = list(target.parent.iterdir())
            named = repr(key) in str(error) or (not key and "empty" in str(error))
            good = named and not left
            tally.refused += good
            tally.wrong += not good
            tally.reasons += [] if good else [f"{key!r}: {error} {left}"]
        else:
            accepted.append(key)
            tally.compare([key], [u.id for u in open_corpus(target).utterances], INDEPENDENT_MANIFESTS[kind](target))
            clear(target.parent)
    report(record, f"odd ids: manifest {kind}", tally, outside(sandbox) - before, True)


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            clear(path)
            path.rmdir()
        else:
            path.unlink()


def report(record: Record, what: str, tally: Tally, escaped: set[Path], independent: bool) -> None:
    record(
        what, ids=tally.refused + tally.kept + tally.wrong, refused_by_name=tally.refused, unchanged=tally.kept,
        wrong=tally.wrong, files_outside=len(escaped), other_reader=("no", "yes")[independent],
    )  # fmt: skip
    assert tally.wrong == 0, tally.reasons[:5]
    assert not escaped
    assert tally.refused + tally.kept >= 40


def test_a_manifest_with_an_odd_id_names_the_line(tmp_path: Path, record: Record) -> None:
    """Reading jsonl: what cannot be an id is refused with the line number, everything else comes unchanged."""
    refused = kept = wrong = 0
    for key in [*IDS, *COMBINING]:
        path = tmp_path / "m.jsonl"
        texts = (json.dumps({"id": name, "audio": "x.wav"}) for name in ("first", key, "last"))
        path.write_text("".join(f"{text}\n" for text in texts))
        try:
            ids = [utterance.id for utterance in open_corpus(path).utterances]
        except DataError as error:
            good = f"{path}:2: " in str(error)
            refused, wrong = refused + good, wrong + (not good)
        else:
            kept, wrong = kept + (ids[1] == key), wrong + (ids[1] != key)
    path.write_text('{"id": "a", "audio": "x.wav"}\n' * 2)
    with pytest.raises(DataError, match="'a' comes twice"):
        open_corpus(path)
    record(
        "odd ids: reading jsonl",
        ids=refused + kept + wrong,
        refused_with_their_line=refused,
        unchanged=kept,
        wrong=wrong,
    )
    assert wrong == 0


def test_random_ids_survive_or_are_refused(sandbox: Path, record: Record) -> None:
    """Text of all of Unicode, with and without what breaks lines, through the strictest and the freest format."""
    random = np.random.default_rng(0)
    model(sandbox / "model")
    spec, kept, tried = ModelSpec(str(sandbox / "model")), 0, size(60, 400)
    points = [*range(0x80), *range(0x250), *random.integers(0, 0x110000, 2000).tolist()]
    ids = {
        "".join(chr(points[i]) for i in random.integers(0, len(points), random.integers(1, 12))) for _ in range(tried)
    }
    for name in ("text", "npz"):
        refuse = unit_format(name).refuse
        accepted = [
            key
            for key in sorted(ids, key=lambda k: k.encode("utf-8", "surrogatepass"))
            if not why_refused([key], sandbox, refuse)
        ]
        out = sandbox / "deep" / name
        run_units(Corpus(rows(sandbox, accepted), "files", "x"), out, spec, outputs=[Output(name, True)], options=HERE)
        assert INDEPENDENT[name](out) == accepted
        kept += len(accepted)
    record("random ids: units text and npz", ids=len(ids), kept_by_text_and_npz=kept)
    assert kept

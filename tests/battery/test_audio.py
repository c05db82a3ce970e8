"""Damaged and odd recordings through the whole engine: each used or skipped for the right reason, no other touched."""

import contextlib
import json
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechssl import audio, encoders
from speechssl.data.corpus import Corpus
from speechssl.data.utterance import Utterance
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import AudioError
from speechssl.extract import worker
from speechssl.extract.job import Job, Manifest, ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.outputs import read_units, verify
from speechssl.extract.run import Options, run_units
from speechssl.extract.shard import OWN_REASONS
from speechssl.quantizers.kmeans import KMeans
from speechssl.units.card import UnitModelCard
from speechssl.units.model import UnitModel
from tests.battery import damaged_audio, odd_audio
from tests.battery.conftest import Record
from tests.battery.odd_audio import Case
from tests.battery.size import FULL, size
from tests.cli.test_units import HUBERT
from tests.extract.helpers import model

WORKERS = 2
HANG_S = 10.0
NUM_NEIGHBOURS = 40
WARNINGS = ("checksum", "damaged", "cannot be seen", "passed over")  # in notes: words that say "look at this one"


def all_cases() -> list[Case]:
    return [*odd_audio.cases(size(3, 120)), *damaged_audio.cases(size(4, 24))]


def hubert(folder: Path) -> ModelSpec:
    """A tiny HuBERT with random weights, as a unit model, with its encoder beside it."""
    torch.manual_seed(0)
    encoder = Pretrained(encoders.build("hubert", HUBERT).eval(), EncoderCard("hubert", HUBERT, normalize=True))
    pretrained.save(folder / "encoder", encoder)
    made = UnitModel(encoder, 2, KMeans(torch.randn(20, 16)), UnitModelCard("test", "CC0-1.0", {"data": "random"}))
    made.save(folder / "model")
    return ModelSpec(str(folder / "model"), encoder=str(folder / "encoder"))


def neighbours(folder: Path) -> list[Utterance]:
    """Good recordings, which stand between the others."""
    folder.mkdir()
    lengths = np.random.default_rng(0).uniform(0.2, 4, NUM_NEIGHBOURS)
    for number, seconds in enumerate(lengths):
        audio.write(folder / f"{number}.wav", odd_audio.noise(int(16000 * seconds), number), 16000)
    return [Utterance(f"good {number}", str(folder / f"{number}.wav")) for number in range(NUM_NEIGHBOURS)]


def mixed(bad: list[Utterance], good: list[Utterance]) -> list[Utterance]:
    """Good rows spread among the bad ones."""
    rows, places = list(bad), np.linspace(0, len(bad), len(good)).astype(int)
    for utterance, place in zip(reversed(good), reversed(places), strict=True):
        rows.insert(int(place), utterance)
    return rows


def measured(connection: Any, settings: worker.Settings) -> None:
    """The worker's main, which leaves its largest resident memory (kB) beside the output folder."""
    try:
        worker.main(connection, settings)
    finally:
        with (settings.folder.parent.parent / f"{settings.folder.parent.name}.peaks").open("a") as file:
            file.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


def peak_mb(out: Path) -> int:
    return max(map(int, out.with_suffix(".peaks").read_text().split())) // 1000


def reasons(out: Path) -> dict[str, str]:
    """Reason code by utterance id."""
    lines = (out / "failures.tsv").read_text().splitlines()[1:]
    return {line.split("\t")[0]: line.split("\t")[1] for line in lines}


def warnings(out: Path) -> set[str]:
    """Ids of used recordings whose notes warn."""
    found = set()
    for path in (out / "shards").glob("*.jsonl"):
        for row in map(json.loads, path.read_text().splitlines()):
            if any(word in note for note in row.get("notes", ()) for word in WARNINGS):
                found.add(row["id"])
    return found


def run(rows: list[Utterance], out: Path, spec: ModelSpec) -> dict[str, list[int]]:
    options = Options(workers=WORKERS, quiet=True, time_limit_s=HANG_S)
    corpus, outputs = Corpus(rows, "list", "rows"), [Output("jsonl", False)]
    report = run_units(corpus, out, spec, outputs=outputs, options=options, shard_size=16)
    assert report.finished and report.ok + report.failed == len(rows) == report.utterances
    return {name: units.ids.tolist() for name, units in read_units(out)}


@pytest.mark.parametrize("family", ["mfcc", "hubert"])
def test_odd_and_damaged_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record, family: str
) -> None:
    (tmp_path / "bad").mkdir()
    spec = model(tmp_path / "model") if family == "mfcc" else hubert(tmp_path)
    cases = [case for case in all_cases() if family == "mfcc" or case.group != "long"]
    good = neighbours(tmp_path / "good")
    rows = mixed([Utterance(case.name, case.make(tmp_path / "bad")) for case in cases], good)
    monkeypatch.setattr("speechssl.extract.pool.main", measured)

    alone = run(good, tmp_path / "alone", spec)
    units = run(rows, tmp_path / "out", spec)
    codes = reasons(tmp_path / "out")

    came = {case.name: codes.get(case.name, "ok" if case.name in units else "lost") for case in cases}
    wrong = {case.name: came[case.name] for case in cases if came[case.name] not in case.expect}
    changed = {c.name for c in cases if c.same_as and c.name in units and units[c.name] != units[c.same_as]}
    warned = warnings(tmp_path / "out")
    no_checksum = [came[case.name] for case in cases if case.group == damaged_audio.UNDETECTABLE]
    seen = sum(code != "ok" for code in no_checksum)
    base, peak = peak_mb(tmp_path / "alone"), peak_mb(tmp_path / "out")
    untouched = sum(units.get(name) == alone[name] for name in alone)
    counts = Counter(came.values())
    record(
        f"odd and damaged recordings ({family})", files=len(cases), used=counts["ok"],
        skipped_with_reason=len(cases) - counts["ok"] - counts["lost"], other_than_expected=len(wrong),
        crashes=counts["worker-died"], hangs_over_10_s=counts["timeout"],
        damaged_and_silently_accepted=len(changed - warned), damaged_and_accepted_with_a_warning=len(changed & warned),
        bits_flipped_where_nothing_can_show=f"{len(no_checksum)} ({seen} seen all the same)",
        neighbours_bit_equal=f"{untouched} of {len(good)}", worker_memory_above_base=f"{peak - base} MB",
    )  # fmt: skip
    if family == "mfcc":
        by_group = Counter(case.group for case in cases)
        record("odd and damaged recordings, by kind", **dict(sorted(by_group.items())))
        record("their reasons", **dict(sorted(Counter(came.values()).items())))
    assert wrong == {}
    assert changed <= warned  # an MP3's Info tag, an AIFF's rate: the samples are there, and the notes say what is odd
    assert set(came.values()) <= {"ok", *audio.REASONS, *OWN_REASONS}
    assert {name: units[name] for name in alone} == alone
    assert len(alone) == len(good)
    assert peak < base + 300
    assert verify(tmp_path / "out")[0] == []
    assert len(cases) >= 80
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert sum(stored["failures"].values()) == len(codes)


@pytest.mark.skipif(not FULL, reason="in the full battery only: it looks at the clock")
def test_no_file_takes_ten_seconds(tmp_path: Path, record: Record) -> None:
    """Each alone, decoded and encoded, on one core that others may share; CPU time says what is the file's own."""
    (tmp_path / "bad").mkdir()
    spec = model(tmp_path / "model")
    job = Job("units", "units", spec.identify("units"), Manifest("", 1), 1, 1)
    encoder = worker.load(worker.Settings(job, spec, tmp_path, "time"))
    longest: list[tuple[float, float, float, str]] = []
    signs: list[float] = []
    for case in all_cases():
        utterance = Utterance(case.name, case.make(tmp_path / "bad"))
        signs[:], cpu = [time.monotonic()], time.process_time()
        with contextlib.suppress(AudioError):
            encoder.encode(utterance, tmp_path / "spool", lambda: signs.append(time.monotonic()))
        cpu, wall = time.process_time() - cpu, time.monotonic() - signs[0]
        silent = float(np.diff([*signs, time.monotonic()]).max())
        longest.append((wall, cpu, silent, case.name))
    short = max(entry for entry in longest if not entry[3].startswith("long"))
    long = max(longest)
    silent_s = max(entry[2] for entry in longest)
    record("time on one recording", files=len(longest), longest=short[3], its_seconds=round(short[0], 2),
           longest_of_3_hours=long[3], its_wall_seconds=round(long[0], 1), its_cpu_seconds=round(long[1], 1),
           longest_without_sign_of_life=f"{silent_s:.2f} s")  # fmt: skip
    assert short[0] < HANG_S and silent_s < HANG_S

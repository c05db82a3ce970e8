"""Malicious inputs of every kind: nothing is executed, nothing written outside, nothing called, memory bounded.

Every attack ends in an error of our own, or is read without harm. What is watched: `guard.py`.
"""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from tests.battery import attacks_data, attacks_models, attacks_outputs
from tests.battery.conftest import Record
from tests.battery.guard import under_watch

ATTACKS = list(itertools.chain(attacks_models.attacks(), attacks_data.attacks(), attacks_outputs.attacks()))
KINDS = list(dict.fromkeys(attack.kind for attack in ATTACKS))
PRECIOUS = b"must stay as it is"


@pytest.mark.parametrize("kind", KINDS)
def test_attacks_do_nothing(tmp_path: Path, kind: str, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(PRECIOUS)
    totals: Counter[str] = Counter()
    worst, slowest, wrong = 0, 0.0, []
    for number, attack in enumerate(attack for attack in ATTACKS if attack.kind == kind):
        home = tmp_path / f"{number}"
        home.mkdir()
        monkeypatch.chdir(home)
        attack.make(home)
        outcome = under_watch(lambda attack=attack, home=home: attack.use(home), home, may_connect=attack.may_connect)
        if [path.name for path in outside.iterdir()] != ["precious"] or (outside / "precious").read_bytes() != PRECIOUS:
            outcome.seen.written.append("outside/ is not as it was")
        if list(home.rglob("canary")):
            outcome.seen.executed.append("the canary is there")
        totals.update(
            tried=1, executed=bool(outcome.seen.executed), written_outside=bool(outcome.seen.written),
            connected=bool(outcome.seen.connected), refused=bool(outcome.refused),
            other_errors_or_hangs=bool(outcome.wrong),
        )  # fmt: skip
        worst, slowest = max(worst, outcome.num_bytes), max(slowest, outcome.seconds)
        wrong += [f"{attack.name}: {verdict}" for verdict in outcome.verdict]
    record(f"attacks: {kind}", **totals, most_MiB=worst >> 20, slowest_s=round(slowest, 2))
    assert not wrong, "\n".join(wrong)


def test_there_are_enough_of_them(record: Record) -> None:
    distinct = {(attack.kind, attack.name) for attack in ATTACKS}
    record("attacks: in all", distinct=len(distinct), kinds=len(KINDS))
    assert len(distinct) == len(ATTACKS) >= 150

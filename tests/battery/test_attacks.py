"""Malicious inputs of every kind: nothing is executed, nothing written outside, nothing called, memory bounded.

Every attack ends in an error of our own, or is read without harm. What is watched: `guard.py`.
"""

import contextlib
import itertools
import socket
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.battery import attacks_data, attacks_models, attacks_outputs
from tests.battery.attack import Attack
from tests.battery.conftest import Record
from tests.battery.guard import under_watch
from tests.battery.size import size

ATTACKS = list(itertools.chain(attacks_models.attacks(), attacks_data.attacks(), attacks_outputs.attacks()))
KINDS = list(dict.fromkeys(attack.kind for attack in ATTACKS))
CONTROLS = {**attacks_models.CONTROLS, **attacks_data.CONTROLS, **attacks_outputs.CONTROLS}
PRECIOUS = b"must stay as it is"


def chosen(kind: str) -> list[Attack]:
    """The attacks of a kind; a third of them where there are many and the battery is a reduced one."""
    found = [attack for attack in ATTACKS if attack.kind == kind]
    return found[:: size(3, 1)] if len(found) > 100 else found


@pytest.mark.parametrize("kind", KINDS)
def test_attacks_do_nothing(tmp_path: Path, kind: str, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(PRECIOUS)
    totals: Counter[str] = Counter()
    worst, slowest, wrong = 0, 0.0, []
    for number, attack in enumerate(chosen(kind)):
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
    tried = sum(len(chosen(kind)) for kind in KINDS)
    record("attacks: in all", tried=tried, distinct=len(distinct), kinds=len(KINDS))
    assert len(distinct) == len(ATTACKS) and tried >= 150


@pytest.mark.parametrize("name", CONTROLS)
def test_what_is_not_malicious_is_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the attacks would prove nothing: each begins as something good."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    make, use = CONTROLS[name]
    make(home)
    outcome = under_watch(lambda: use(home), home, may_connect=True)
    assert not outcome.verdict and not outcome.refused, outcome


def test_the_guard_sees_what_is_done(tmp_path: Path) -> None:
    """Each of the things that no attack may do, done."""
    (tmp_path / "outside").mkdir()
    home = tmp_path / "home"
    home.mkdir()

    def harm() -> None:
        subprocess.run(["true"], check=True)
        exec(compile("1", "<evil>", "exec"))
        (tmp_path / "outside" / "new").write_text("x")
        (home / "link").symlink_to(tmp_path / "outside")
        (home / "link" / "other").mkdir()
        (home / "fine").write_text("x")
        with contextlib.suppress(OSError), socket.socket() as one:
            one.connect(("127.0.0.1", 9))

    outcome = under_watch(harm, home)
    assert len(outcome.seen.executed) >= 2 and len(outcome.seen.written) == 2 and len(outcome.seen.connected) == 1

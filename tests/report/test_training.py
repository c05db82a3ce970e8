"""The page of trainings: what is read from a run's folder, which points are drawn, what damaged logs do."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from speechssl.cli import main
from speechssl.errors import DataError
from speechssl.report.curves import MAX_POINTS, Curve, Range, chart, spread, thinned, ticks
from speechssl.report.training import name_apart, read_run, render
from tests.report.chromium import BROWSER, Browser
from tests.report.pages import Document

EVIL = "<script>document.title='owned'</script>\"'"


def write_run(folder: Path, losses: list[float], *, objective: str = "hubert", lr: float = 1e-3) -> Path:
    """A run whose log has a line per loss, 10 s apart, and a validation line at the end."""
    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = [
        {"kind": "train", "update": 10 * k, "time": 100.0 + 10 * k, "loss": loss, "lr": lr, "speed": 50.0}
        for k, loss in enumerate(losses, start=1)
    ]
    rows.append({"kind": "valid", "update": 10 * len(losses), "time": 999.0, "loss": 2.5})
    rows.append({"kind": "event", "time": 120.5, "text": f"left out: {EVIL}: empty"})
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.toml").write_text(
        f'objective = "{objective}"\nseed = 0\n[optimizer]\nlr = {lr}\n[training]\nupdates = 30\n'
    )
    return folder


def test_a_run_is_read_as_its_log_says(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", [4.0, math.nan, 3.0]))
    assert (run.updates, run.wall_s, run.finished, run.unreadable) == (30, 20.0, False, 0)
    assert (run.last("train", "loss"), run.best("loss"), run.settings["optimizer.lr"]) == (3.0, 2.5, 1e-3)


def test_a_pause_between_a_kill_and_going_on_is_no_time_of_the_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [4.0])
    with (folder / "log.jsonl").open("a") as file:
        file.write(
            json.dumps({"kind": "event", "time": 5000.0, "text": "going on from update 10 (x)", "update": 10}) + "\n"
        )
        file.writelines(json.dumps({"kind": "train", "update": u, "time": t, "loss": 3.0}) + "\n"
                        for u, t in ((20, 5010.0), (30, 5020.0)))  # fmt: skip
    assert read_run(folder).wall_s == 10.0


def test_torn_and_foreign_lines_are_counted_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [4.0, 3.0])
    with (folder / "log.jsonl").open("ab") as file:
        file.write(b'[1]\n{"kind": "train", "update": 3, "loss": 1}\n{"kind": "train", "update": NaN, "time": 1}\n')
        file.write(b'{"kind": "train", "update": "x", "time": 1}\n{"kind": "train", "upd')
    run = read_run(folder)
    assert run.unreadable == 5 and len(run.rows["train"]) == 2
    assert "5 torn lines" in render([run], "title")


@pytest.mark.parametrize("content", [None, "", '{"kind": "event", "time": 1, "text": "x"}\n'])
def test_a_folder_without_figures_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content)
    with pytest.raises(DataError, match=str(tmp_path)):
        read_run(tmp_path)


def test_settings_that_differ_are_named_and_those_that_agree_are_not(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / n, [3.0, 2.0], lr=lr)) for n, lr in (("a", 1e-3), ("b", 5e-4))]
    text = render(runs, "title")
    section = text[text.index('id="differences"') : text.index('id="events"')]
    assert "optimizer.lr" in section and "0.0005" in section and "seed" not in section


def test_nothing_in_a_log_or_a_name_becomes_markup(tmp_path: Path) -> None:
    def tags(word: str, folder: Path) -> list[tuple[str, tuple[str, ...]]]:
        run = read_run(write_run(folder, [3.0, 2.0], objective="x"))
        run.name = run.settings["objective"] = word
        run.events[0]["text"] = word
        run.rows["train"][0][word] = 1.0
        return [(tag, tuple(attributes)) for tag, attributes, _ in Document(render([run, run], word)).tags]

    assert tags(EVIL, tmp_path / "a") == tags("word", tmp_path / "b")


def test_the_verb_writes_one_page_for_all_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(write_run(tmp_path / name / "exp", [3.0, 2.0])) for name in "ab"]
    assert main(["report", *folders, "-o", str(tmp_path / "page.html")]) == 0
    assert "2 training runs" in capsys.readouterr().out
    document = Document((tmp_path / "page.html").read_text())
    assert {"a/exp", "b/exp"} <= set(document.text("th"))
    figures = [figure["data-name"] for figure in document.all("figure")]
    assert figures == ["loss", "lr", "speed"]
    assert not document.all("script") and not document.handlers()


def test_the_same_folder_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        name_apart([tmp_path, tmp_path])


def test_thinning_keeps_means_and_passes_over_what_is_not_finite() -> None:
    y = np.arange(4.0 * MAX_POINTS)
    y[4:7], y[8:12] = math.nan, math.nan
    made = thinned(Curve("", np.arange(4.0 * MAX_POINTS), y))
    assert len(made.x) == MAX_POINTS and made.x[0] == 1.5
    assert made.y[0] == 1.5 and made.y[1] == 7.0 and math.isnan(made.y[2])


def test_a_spike_does_not_flatten_the_rest_and_is_mentioned() -> None:
    y = np.concatenate([[1e6], np.linspace(2, 1, 99)])
    axis = spread(y)
    assert 0.8 < axis.low < 1.0 and 2.0 < axis.high < 10
    drawn = chart([Curve("a", np.arange(100.0), y)], label="x", x_name="updates")
    assert "1 of 100 points lie beyond" in drawn


@pytest.mark.parametrize("low, high, expected", [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 7, [-2, 0, 2, 4, 6]),
                                                 (1e-5, 4e-5, [1e-5, 2e-5, 3e-5, 4e-5])])  # fmt: skip
def test_ticks_are_round_and_on_the_axis(low: float, high: float, expected: list[float]) -> None:
    assert ticks(Range(low, high)) == pytest.approx(expected)


def test_places_by_hand_and_gaps() -> None:
    x, y = np.array([0.0, 5.0, 10.0, 20.0]), np.array([1.0, math.nan, 3.0, 2.0])
    drawn = chart([Curve("a", x, y)], label="x", x_name="updates")
    bottom, top = 100 - 100 * 0.02 / 1.04, 100 * 0.02 / 1.04  # the margin: 2 % of the range on both sides
    assert f'd="M0.00 {bottom:.2f}M50.00 {top:.2f}L100.00 50.00"' in drawn


def test_a_chart_without_a_finite_value_is_empty() -> None:
    assert chart([Curve("a", np.zeros(1), np.array([math.nan]))], label="x", x_name="u") == ""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)")
def test_a_browser_draws_all_curves_within_their_frames_and_asks_for_nothing(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, [4.0, 3.0, 2.0])) for name in "ab"]
    (tmp_path / "page.html").write_text(render(runs, EVIL), encoding="utf-8")
    with Browser(tmp_path / "page.html") as browser:
        assert browser.run("document.title") == EVIL
        measured = browser.run("""[...document.querySelectorAll('svg.curves')].map(s => {
          const frame = s.getBoundingClientRect();
          return [...s.querySelectorAll('path')].every(p => { const r = p.getBoundingClientRect();
            return r.left >= frame.left - 5 && r.right <= frame.right + 5 && r.bottom <= frame.bottom + 5; })})""")
        assert measured == [True] * 3
        colours = browser.run("""[...document.querySelectorAll('svg.curves')].slice(0, 1).flatMap(
          s => [...s.querySelectorAll('path:not(.dot)')].map(p => getComputedStyle(p).stroke))""")
        assert len(set(colours)) == 2
        assert not browser.errors and all(url.startswith(("file://", "data:")) for url in browser.requests)

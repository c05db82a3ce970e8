"""The page in a real browser: no errors, no requests, players that play, pictures that line up, keys that work."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechssl.report.page import Failure, render
from tests.report.chromium import BROWSER, Browser
from tests.report.pages import page, recording

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)")
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
RECORDINGS = [
    recording("first", 3.0, labels=[(0.0, 1.0, "AH"), (1.0, 3.0, "S")], text="words"),
    recording(EVIL, 1.013, seed=1, text=EVIL, labels=[(0.0, 1.0, EVIL)]),
    recording("long", 33.0, seed=2),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(page(*RECORDINGS, failures=[Failure(EVIL, EVIL, EVIL)])), encoding="utf-8")
    with Browser(path) as browser:
        browser.wait_for("[...document.querySelectorAll('audio')].every(a => a.readyState > 0)")
        yield browser


@pytest.fixture(autouse=True)
def no_errors(browser: Browser) -> Iterator[None]:
    yield
    assert not browser.errors
    assert all(url.startswith(("file://", "data:")) for url in browser.requests)


def test_there_is_a_player_per_utterance_that_can_play_all_of_it(browser: Browser) -> None:
    durations = browser.run("[...document.querySelectorAll('audio')].map(a => a.duration)")
    assert durations == pytest.approx([3.0, 1.013, 30.0], abs=1e-3)
    assert browser.run("document.title") == "A title"


def test_pictures_of_an_utterance_share_one_time_axis(browser: Browser) -> None:
    measure = """[...document.querySelectorAll('.tracks')].map(t => ({
      widths: [...t.querySelectorAll(':scope > .wave, :scope > .mel, :scope > .line, :scope > .axis')]
        .map(e => e.getBoundingClientRect().width),
      units: (r => r[r.length - 1].getBoundingClientRect().right - r[0].getBoundingClientRect().left)(
        t.querySelectorAll('.units rect')),
      frames: Number(t.querySelector('.units').dataset.frames), span: Number(t.dataset.span)}))"""
    for found, one in zip(browser.run(measure), RECORDINGS, strict=True):
        assert len(set(found["widths"])) == 1
        assert found["frames"] == min(one.units.num_frames, 1500)
        assert found["units"] == pytest.approx(found["widths"][0] * found["frames"] / found["span"], abs=0.5)


def test_arrow_keys_move_from_unit_to_unit_and_space_plays(browser: Browser) -> None:
    browser.run("document.querySelector('.tracks').focus()")
    browser.press("Home")
    runs = RECORDINGS[0].units.dedup()
    for _ in range(3):
        browser.press("ArrowRight")
    time = runs.durations[:3].sum() / 50
    assert browser.run("document.querySelector('audio').currentTime") == pytest.approx(time, abs=1e-3)
    assert f"unit {runs.ids[3]} " in browser.run("document.querySelector('.readout').textContent")
    assert float(browser.run("document.querySelector('.tracks').ariaValueNow")) == pytest.approx(time, abs=0.01)
    browser.press("ArrowLeft")
    time = runs.durations[:2].sum() / 50
    assert browser.run("document.querySelector('audio').currentTime") == pytest.approx(time, abs=1e-3)
    browser.press(" ")
    browser.wait_for(f"document.querySelector('audio').currentTime > {time + 0.1}")
    browser.wait_for("parseFloat(document.querySelector('.cursor').style.left) > 100 * 0.1 / 3")
    browser.press(" ")
    assert browser.run("document.querySelector('audio').paused")


def test_a_click_moves_the_sound_there(browser: Browser) -> None:
    browser.run("document.querySelector('.tracks').scrollIntoView({block: 'center', behavior: 'instant'})")
    box = browser.run("document.querySelector('.mel').getBoundingClientRect().toJSON()")
    browser.click(box["x"] + box["width"] * 0.5, box["y"] + 20)
    assert browser.run("document.querySelector('audio').currentTime") == pytest.approx(1.5, abs=0.02)


def test_a_long_timeline_scrolls_along_with_the_sound(browser: Browser) -> None:
    browser.run("document.querySelectorAll('.tracks')[2].focus()")
    browser.press("End")
    visible = """(() => { const t = document.querySelectorAll('.tracks')[2];
      const c = t.querySelector('.cursor').getBoundingClientRect(), s = t.parentElement.getBoundingClientRect();
      return s.left <= c.left && c.left <= s.right + 2 && t.clientWidth > s.width; })()"""
    assert browser.run(visible)
    browser.press("Home")
    assert browser.run(visible)


def test_enter_highlights_a_unit_everywhere_and_escape_ends_it(browser: Browser) -> None:
    browser.run("document.querySelector('.tracks').focus()")
    browser.press("Home")
    browser.press("Enter")
    unit = int(RECORDINGS[0].units.ids[0])
    picked = browser.run("[...document.querySelectorAll('.units rect.picked')].map(r => r.dataset.l)")
    runs = [one.units.dedup() for one in RECORDINGS]
    shown = sum(int((r.ids[r.durations.cumsum() - r.durations < 1500] == unit).sum()) for r in runs)
    assert set(picked) == {str(unit)} and len(picked) == shown
    assert browser.run("document.querySelectorAll('.bars rect.picked').length") == 1
    browser.press("Escape")
    assert browser.run("document.querySelectorAll('.picking').length") == 0


def test_the_page_never_scrolls_sideways_and_both_themes_differ(browser: Browser) -> None:
    colours = set()
    for dark in (False, True):
        browser.dark(dark)
        colours.add(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2
    for width in (1280, 700, 360):
        browser.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        sizes = browser.run("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert sizes[0] <= sizes[1], f"{width}: {json.dumps(sizes)}"
    browser.send("Emulation.clearDeviceMetricsOverride")

"""The page of a unit model: numbers by hand, nothing becomes markup, what is said of what is missing; in a browser."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.metrics.alignments import Alignments
from speechssl.report.model_page import MAX_EXAMPLE_S, ModelPage, render
from speechssl.report.page import Failure, Page, Statistics
from speechssl.report.quality import Quality
from speechssl.report.score_files import Abx, Edits, Layers, Scores
from speechssl.report.utterance import Recording
from speechssl.units.card import EncoderReference, QuantizerReference, StoredCard
from speechssl.units.units import Units
from tests.report.chromium import BROWSER, Browser
from tests.report.pages import Document, recording
from tests.report.test_page import EVIL

SECTIONS = ["utterances", "phones", "charts", "layers", "changes", "failures", "provenance"]


def card(size: int = 20, word: str = "name") -> StoredCard:
    encoder = EncoderReference(word, "0" * 64, word, {"dim": 8}, False, 1e-5, "none")
    quantizer = QuantizerReference(word, "0" * 64)
    return StoredCard(word, word, encoder, 1, 16000, 50.0, word, size, quantizer, "0" * 64, word, {word: word})


def alignments(words: list[str], labels: list[str], seconds: float = 1.0) -> Alignments:
    """Every utterance has all labels, one after another, as long as each other."""
    edges = np.linspace(0, seconds, len(labels) + 1)
    runs = {word: (edges[:-1], edges[1:], np.arange(len(labels))) for word in words}
    return Alignments(tuple(labels), None, runs)


def made(recordings: list[Recording], words: list[str], labels: list[str], **more: object) -> ModelPage:
    """All that a page can have, with `words` wherever a text comes from outside."""
    size = recordings[0].units.size
    statistics = Statistics(size, 50.0)
    quality = Quality(alignments(words, labels), num_units=size, rate_hz=50.0)
    for one in recordings:
        statistics.add(one.units)
        quality.add(one.id, one.units)
    word = words[0]
    page = Page(word, word, statistics, recordings, [Failure(word, word, word)], {word: 1}, card={word: word},
                sidecar={word: [word]}, source=[word])  # fmt: skip
    rows = [{"layer": float(k), "probe": 0.5 + k / 10, "pnmi": 0.3, "boundary_f1": 0.4, "r_value": -0.1}
            for k in range(3)]  # fmt: skip
    scores = Scores([Layers(word, rows), Layers(word, rows)], [Abx(0.1, 0.2, word)],
                    [Edits(word, 1.0, 0.2, 0.5, 3), Edits("noise", 20.0, 0.1, 0.5, 3)])  # fmt: skip
    values = {"speakers": 2, "quality": quality, "scores": scores, "changes": word, **more}
    return ModelPage(page, card(size, word), 2, **values)  # type: ignore[arg-type]


def test_nothing_that_comes_from_outside_becomes_markup() -> None:
    def tags(words: list[str]) -> list[tuple[str, tuple[str, ...]]]:
        recordings = [recording(w, text=w, labels=[(0.0, 0.5, w)], notes=[w], speaker=w) for w in words]
        document = Document(render(made(recordings, words, words)))
        assert all(url.startswith(("data:", "#")) for url in document.urls()) and not document.handlers()
        return [(tag, tuple(attributes)) for tag, attributes, _ in document.tags]

    assert tags(EVIL) == tags([f"§{k}" for k in range(len(EVIL))])


def test_key_figures_are_those_worked_out_by_hand() -> None:
    """Phones a a b b of a quarter second; units 0 0 1 0: P(a, 0) = 1/2, P(b, 1) = P(b, 0) = 1/4."""
    units = Units.from_frames(np.repeat([0, 0, 1, 0], 12), rate_hz=50.0, size=4)
    one = dataclasses.replace(recording("u", 0.96), units=units)
    runs = {"u": (np.array([0.0, 0.48]), np.array([0.48, 0.96]), np.array([0, 1]))}
    quality = Quality(Alignments(("a", "b"), None, runs), num_units=4, rate_hz=50.0)
    quality.add("u", units)
    quality.add("nobody", units)
    quality.check()
    statistics = Statistics(4, 50.0)
    statistics.add(units)
    document = Document(render(ModelPage(Page("t", "Corpus c", statistics, [one]), card(4), None, 0, quality)))
    named = dict(zip(document.text("dt"), document.text("dd")[::2], strict=True))
    information = 1 + -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)) - 1.5  # H(phone) + H(unit) - H(both), in bits
    assert named == {
        "PNMI": f"{information:.3f}", "phone purity": "0.750", "cluster purity": "0.750",
        "boundary F1": "0.667", "R-value": named["R-value"],  # found at 0.48 and 0.72 s, there at 0.48 s
        "active codes": "2 of 4", "perplexity": "1.8", "bitrate": "6.2 bit/s",
    }  # fmt: skip
    corpus = document.text("p", id="corpus")[0]
    assert "1 utterance, 1.0 s of units, none skipped" in corpus and "over the 1 with labels" in corpus
    assert "1 utterance without labels, for example nobody" in corpus
    assert quality.phone_lengths.nonzero()[0].tolist() == [15]  # 24 frames: in the last bar


def test_what_was_skipped_is_told_at_the_top_with_its_reasons() -> None:
    document = Document(render(made([recording("a")], ["a"], ["x", "y"])))
    assert document.text("a", href="#failures") == ["1 input skipped"]
    assert ": a 1" in document.text("p", class_="warning")


def test_the_sections_stand_in_their_order_and_those_without_data_are_left_out() -> None:
    text = render(made([recording("a")], ["a"], ["x", "y"]))
    assert [section["id"] for section in Document(text).all("section")] == SECTIONS
    plain = ModelPage(Page("t", "s", Statistics(20, 50.0), []), card(), None, 0)
    document = Document(render(plain))
    assert [section["id"] for section in document.all("section")] == ["utterances"]
    assert document.text("dt") == ["active codes", "perplexity", "bitrate"]
    assert "No utterance gave units." in document.text("p")


def test_a_long_example_is_cut_and_says_so_and_the_page_stays_small() -> None:
    recordings = [recording(f"u{k}", 30.0, seed=k) for k in range(8)]  # of noise: no speech takes more
    text = render(made(recordings, ["u0"], ["x", "y"]))
    document = Document(text)
    assert f"the first {MAX_EXAMPLE_S:.1f} s of 30.0 s are shown" in document.text("p", class_="note")
    assert len(text) < 5_000_000
    left_out = 8 - len(document.all("article"))
    assert left_out and f"{left_out} more examples left out" in " ".join(document.text("p", class_="note"))


def test_labels_of_other_utterances_or_another_rate_are_refused() -> None:
    units = Units.from_frames([0] * 50, rate_hz=50.0, size=4)
    quality = Quality(alignments(["other"], ["a"]), num_units=4, rate_hz=50.0)
    quality.add("u", units)
    with pytest.raises(DataError, match="no utterance has labels"):
        quality.check()
    quality = Quality(alignments(["u"], ["a"], seconds=9.0), num_units=4, rate_hz=50.0)
    quality.add("u", units)
    with pytest.raises(DataError, match="stated rate is wrong"):
        quality.check()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    words = [EVIL[0], "b", "c"]
    recordings = [recording(word, 2.0, seed=k, labels=[(0.0, 1.0, word)]) for k, word in enumerate(words)]
    path.write_text(render(made(recordings, words, [EVIL[1], "s", "t", "a"])), encoding="utf-8")
    with Browser(path) as browser:
        browser.wait_for("[...document.querySelectorAll('audio')].every(a => a.readyState > 0)")
        yield browser
        assert not browser.errors
        assert all(url.startswith(("file://", "data:")) for url in browser.requests)


def cells(browser: Browser) -> dict[str, float]:
    browser.run("document.querySelector('.cells').scrollIntoView({block: 'center', behavior: 'instant'})")
    return browser.run("document.querySelector('.cells').getBoundingClientRect().toJSON()")


def test_a_browser_finds_every_section_and_runs_nothing_of_the_data(browser: Browser) -> None:
    assert browser.run("[...document.querySelectorAll('section')].map(s => s.id)") == SECTIONS
    assert browser.run("document.title") == EVIL[0]
    assert browser.run("document.querySelectorAll('section *').length") > 500
    assert not browser.errors


def test_a_cell_of_the_heat_map_tells_its_numbers_under_the_pointer(browser: Browser) -> None:
    box = cells(browser)
    data = json.loads(browser.run("document.querySelector('.cells').dataset.map"))
    x, y = 4, 2
    at = {"x": box["x"] + box["width"] * (x + 0.5) / len(data["units"]),
          "y": box["y"] + box["height"] * (y + 0.5) / len(data["phones"])}  # fmt: skip
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", **at)
    column = [line[x] for line in data["counts"]]
    told = browser.run("document.querySelector('.heat .readout').textContent")
    assert told.startswith(
        f"unit {data['units'][x]} · phone {data['phones'][y]}: {100 * column[y] / sum(column):.1f} %"
    )
    assert f"mostly {data['phones'][int(np.argmax(column))]} (" in told
    marked = browser.run("document.querySelector('.column').getBoundingClientRect().toJSON()")
    assert marked["left"] == pytest.approx(box["x"] + box["width"] * x / len(data["units"]), abs=0.5)


def test_a_click_on_the_heat_map_highlights_the_unit_in_all_timelines(browser: Browser) -> None:
    box = cells(browser)
    browser.click(box["x"] + 2, box["y"] + 2)
    unit = str(json.loads(browser.run("document.querySelector('.cells').dataset.map"))["units"][0])
    picked = browser.run("[...document.querySelectorAll('.units rect.picked')].map(r => r.dataset.l)")
    assert set(picked) == {unit} and len(picked) > 1
    browser.press("Escape")
    assert browser.run("document.querySelectorAll('.picking').length") == 0


def test_arrow_keys_move_over_the_heat_map(browser: Browser) -> None:
    browser.run("document.querySelector('.cells').focus()")
    units = json.loads(browser.run("document.querySelector('.cells').dataset.map"))["units"]
    for key, unit in (("Home", 0), ("ArrowLeft", 0), ("ArrowRight", 1), ("End", -1)):
        browser.press(key)
        assert f"unit {units[unit]} " in browser.run("document.querySelector('.heat .readout').textContent")
    browser.run("document.querySelector('.cells').blur()")
    assert browser.run("document.querySelector('.heat .readout').textContent") == ""


def test_texts_of_drawings_do_not_overlap_and_nothing_leaves_the_page(browser: Browser) -> None:
    overlaps = """[...document.querySelectorAll('.axis, .curves, .names')].flatMap(svg => {
      const boxes = [...svg.querySelectorAll(':scope > text')].map(t => [t.textContent, t.getBoundingClientRect()]);
      return boxes.flatMap(([name, a], i) => boxes.slice(i + 1).filter(([, b]) =>
        a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
        .map(([other]) => [name, other])); })"""
    for width in (1280, 700, 360):
        browser.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        assert browser.run(overlaps) == [], width
        sizes = browser.run("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert sizes[0] <= sizes[1], width
    browser.send("Emulation.clearDeviceMetricsOverride")

"""The page as a document: complete, self-contained, safe against what ids and texts hold."""

import base64
import dataclasses
import hashlib
import io
import math
import re

import numpy as np
import pytest
import soundfile

from speechssl.report import page as page_module
from speechssl.report.page import Failure, render
from speechssl.units.units import Units
from tests.report.pages import Document, page, recording

EVIL = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</title></style></script><svg/onload=alert(1)>",
    "' autofocus onfocus='alert(1)",
    "a/../../b&lt;c\u202e\x00\x1b[31m",
]


def test_the_page_is_well_formed_and_asks_for_nothing_outside_itself() -> None:
    text = render(
        page(recording("a", 1.3, text="words", labels=[(0.0, 0.4, "AH"), (0.4, 5.0, "S")]), recording("b", 2))
    )
    document = Document(text)
    assert all(url.startswith(("data:", "#")) for url in document.urls())
    assert not re.search(r"https?://|@import|url\(", text.replace("http://www.w3.org", ""))
    assert not document.handlers()
    assert len(document.all("audio")) == len(document.all("img", class_="mel")) == 2


def test_the_policy_allows_this_style_and_this_script_only() -> None:
    document = Document(render(page(recording("a"))))
    (policy,) = [m["content"] for m in document.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy and "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        (text,) = document.text(tag)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_nothing_in_an_id_a_text_a_label_or_a_message_becomes_markup() -> None:
    def tags(words: list[str]) -> list[tuple[str, tuple[str, ...]]]:
        recordings = [recording(w, text=w, labels=[(0.0, 0.5, w)], notes=[w]) for w in words]
        failures = [Failure(w, w, w) for w in words]
        made = page(*recordings, failures=failures, banner=words[0], source=words, card={w: w for w in words},
                    sidecar={"x": {w: [w] for w in words}})  # fmt: skip
        made = dataclasses.replace(made, title=words[0], subtitle=words[0])
        return [(tag, tuple(attributes)) for tag, attributes, _ in Document(render(made)).tags]

    assert tags(EVIL) == tags([f"id{k}" for k in range(len(EVIL))])
    shown = Document(render(page(*[recording(w) for w in EVIL])))
    assert [t.replace("\ufffd", "\x00") for t in shown.text("h3")] == EVIL


@pytest.mark.parametrize("seconds", [0.025, 0.5, 1.013, 7.1])
def test_the_timeline_is_as_wide_as_there_are_frames(seconds: float) -> None:
    one = recording("a", seconds)
    document = Document(render(page(one)))
    (timeline,) = document.all("svg", class_="line units")
    assert timeline["data-frames"] == str(one.units.num_frames)
    begin = next(i for i, (_, a, _) in enumerate(document.tags) if a is timeline)
    (_, inner, _) = document.tags[begin + 1]
    span = int((inner["viewbox"] or "").split()[2])
    assert span == math.ceil(round(seconds * 50, 6)) >= one.units.num_frames
    rects = []
    for tag, attributes, _ in document.tags[begin + 2 :]:
        if tag == "rect":
            rects.append((int(attributes["x"] or 0), int(attributes["width"] or 0), int(attributes["data-l"] or 0)))
        elif tag != "title":
            break
    rebuilt = np.concatenate([np.full(width, unit) for _, width, unit in rects])
    np.testing.assert_array_equal(rebuilt, one.units.frames())
    assert [x for x, _, _ in rects] == np.cumsum([0] + [w for _, w, _ in rects])[:-1].tolist()


def test_the_player_holds_the_samples() -> None:
    one = recording("a", 0.7)
    (audio,) = Document(render(page(one))).all("audio")
    kind, _, data = (audio["src"] or "").partition(";base64,")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert (kind, rate, len(samples)) == ("data:audio/flac", 16000, 11200)
    np.testing.assert_allclose(samples, one.samples, atol=1 / 32768)


def test_a_long_recording_is_cut_and_says_so() -> None:
    document = Document(render(page(recording("a", 40.0))))
    assert "the first 30.0 s of 40.0 s are shown" in document.text("p", class_="note")
    (audio,) = document.all("audio")
    info = soundfile.info(io.BytesIO(base64.b64decode((audio["src"] or "").partition("base64,")[2])))
    assert info.duration == 30.0
    (timeline,) = document.all("svg", class_="line units")
    assert timeline["data-frames"] == "1500"


def test_the_page_stays_small_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_PAGE_BYTES", 400_000)
    text = render(page(*[recording(f"u{k}", 2.0) for k in range(12)]))
    document = Document(text)
    drawn = len(document.all("article"))
    assert 1 <= drawn < 12 and len(text) < 520_000
    assert f"{12 - drawn} more utterances are counted but not drawn." in document.text("p", class_="note")


def test_numbers_on_the_page_are_those_of_the_units() -> None:
    units = Units.from_frames(np.array([0] * 25 + [1] * 25), rate_hz=50.0, size=4)  # 2 units of 2 bits in 1 s
    one = dataclasses.replace(recording("a", 1.0), units=units)
    document = Document(render(page(one, real_time_factor=0.02)))
    values = document.text("dd")
    assert values[0] == "1.0 s" and values[2] == "4.0 bit/s" and values[4] == "2.0 /s"
    assert values[6] == "2 of 4" and values[7] == "perplexity 2.0" and values[8] == "50×"
    assert "1.00 s · 50 frames · 2 units (2 different) · 4 bit/s" in document.text("p", class_="facts")
    bars = [a for a in document.all("rect") if a.get("data-l") in ("2", "3") and a.get("height") == "0.00"]
    assert len(bars) == 2  # units that do not occur are in the ranking, without height


def test_odd_pages_can_be_drawn() -> None:
    empty = Units.from_frames(np.array([], np.int64), rate_hz=50.0, size=20)
    short = dataclasses.replace(recording("short", 0.01), units=empty)
    gone = dataclasses.replace(recording("gone", 1.0), samples=None)
    silent = dataclasses.replace(recording("silent", 1.0), samples=np.zeros(16000, np.float32))
    for made in (page(), page(short), page(gone), page(silent), page(failures=[Failure("x", "corrupt", "bad")])):
        Document(render(made))
    assert "the recording could not be read again: units only" in Document(render(page(gone))).text("p", class_="note")
    assert "1 input skipped" in Document(render(page(failures=[Failure("x", "corrupt", "bad")]))).text("a")


def test_failures_have_a_row_each() -> None:
    document = Document(
        render(page(recording("a"), failures=[Failure("b", "corrupt", "bad"), Failure("c", "empty", "no")]))
    )
    assert {"b", "c"} <= set(document.text("th")) and {"corrupt", "empty"} <= set(document.text("code"))

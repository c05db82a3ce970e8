"""Help for tests of pages: made-up recordings, and an HTML parser that checks nesting and keeps what it saw."""

from html.parser import HTMLParser

import numpy as np

from speechssl.report.page import Page, Statistics
from speechssl.report.utterance import Recording
from speechssl.units.units import Units

_VOID = {"area", "base", "br", "hr", "img", "input", "link", "meta"}
_URLS = {"src", "href", "xlink:href", "action", "formaction", "data", "poster", "srcset", "background"}


class Document(HTMLParser):
    """A parsed page. `tags` are (name, attributes, text directly inside); wrong nesting raises AssertionError."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {[self.tags[i][0] for i in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs), []))
        if tag not in _VOID:
            self._open.append(len(self.tags) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        name = self.tags[self._open.pop()][0]
        assert name == tag, f"</{tag}> closes <{name}>"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.tags[self._open[-1]][2].append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [a for t, a, _ in self.tags if t == tag and all(a.get(k) == v for k, v in wanted.items())]

    def text(self, tag: str, **attributes: str) -> list[str]:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return ["".join(x) for t, a, x in self.tags if t == tag and all(a.get(k) == v for k, v in wanted.items())]

    def urls(self) -> list[str]:
        return [value or "" for _, attrs, _ in self.tags for name, value in attrs.items() if name in _URLS]

    def handlers(self) -> list[str]:
        return [name for _, attrs, _ in self.tags for name in attrs if name.startswith("on") or name == "style"]


def recording(key: str, seconds: float = 1.0, *, seed: int = 0, size: int = 20, **more: object) -> Recording:
    rng = np.random.default_rng(seed)
    num = round(seconds * 16000)
    samples = (0.1 * rng.standard_normal(num)).astype(np.float32)
    frames = max(0, (num - 400) // 320 + 1)
    ids = rng.integers(0, size, frames // 3 + 1).repeat(3)[:frames]
    return Recording(key, Units.from_frames(ids, rate_hz=50.0, size=size), samples, 16000, **more)  # type: ignore[arg-type]


def page(*recordings: Recording, **more: object) -> Page:
    statistics = Statistics(recordings[0].units.size if recordings else 20, 50.0)
    for one in recordings:
        statistics.add(one.units)
    return Page("A title", "a subtitle", statistics, recordings, **more)  # type: ignore[arg-type]

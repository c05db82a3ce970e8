"""A page to listen: the same utterances by several systems side by side, each with a player and a mel spectrogram."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.report.document import document, plural
from speechssl.report.utterance import mel_picture, player

MAX_BYTES = 30_000_000  # of the page; further utterances are left out, and it says so


@dataclass(frozen=True)
class Sound:
    """What one system made of an utterance."""

    samples: NDArray[np.float32]  # [S] mono
    sample_rate: int  # Hz


@dataclass(frozen=True)
class Row:
    """One utterance: its text, and sounds by system; systems that have none are said to lack it."""

    id: str
    sounds: Mapping[str, Sound]
    text: str = ""


def render(rows: Iterable[Row], systems: Sequence[str], *, title: str, notes: Sequence[str] = ()) -> str:
    """The HTML document. `rows` are drawn as far as MAX_BYTES allow, at least one."""
    sections: list[str] = []
    used = left_out = 0
    for number, row in enumerate(rows):
        section = "" if left_out else _section(row, number, systems)
        if left_out or (used + len(section) > MAX_BYTES and sections):
            left_out += 1
            continue
        used += len(section)
        sections.append(section)
    said = [*notes, *([f"{plural(left_out, 'more utterance')} would make the page too large."] if left_out else [])]
    body = f"""<header class="top"><h1>{html.escape(title)}</h1>
<p class="lead">{plural(len(sections), "utterance")} by {plural(len(systems), "system")}: \
{html.escape(", ".join(systems))}</p></header><main>
{"".join(sections)}{"".join(f'<p class="note">{html.escape(line)}</p>' for line in said)}</main>"""
    return document(title, body)


def _section(row: Row, number: int, systems: Sequence[str]) -> str:
    cells = "".join(_cell(row, system) for system in systems)
    text = f'<p class="text" dir="auto">{html.escape(row.text)}</p>' if row.text else ""
    return f"""
<article class="utterance" aria-labelledby="t{number}"><header><h3 id="t{number}">{html.escape(row.id)}</h3></header>
{text}<div class="gallery">{cells}</div></article>"""


def _cell(row: Row, system: str) -> str:
    sound, name = row.sounds.get(system), html.escape(f"{system}: {row.id}")
    if sound is None or not len(sound.samples):
        made = '<p class="note">nothing</p>'
    else:
        seconds = len(sound.samples) / sound.sample_rate
        picture = mel_picture(sound.samples, sound.sample_rate, seconds, name)
        made = f'{player(sound.samples, sound.sample_rate, f"Play {name}")}<div class="scroll">{picture}</div>'
    return f"<section><h4>{html.escape(system)}</h4>{made}</section>"

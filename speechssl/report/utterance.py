"""One utterance of a page: player, waveform, spectrogram, unit timeline, labels, all on one time axis.

Frame t is drawn from t / rate to (t + 1) / rate seconds, the convention of the metrics. (The middle of what an encoder
sees for frame t is up to half a receptive field minus half a hop later: 2.5 ms for 400 and 320 samples at 16 kHz.)
"""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.metrics.alignments import Segment as Label
from speechssl.report import png, spectrogram, svg
from speechssl.units.units import Units

COLUMN_S = 0.01  # of the spectrogram
MAX_PX_PER_FRAME, MIN_PX_PER_FRAME = 9, 2
_LABEL_PX = 44  # room for a time under the axis


@dataclass(frozen=True)
class Recording:
    """What a page shows of one utterance. `samples` may be the beginning only; `units` are those of all of it."""

    id: str
    units: Units
    samples: NDArray[np.float32] | None = None  # [S] mono; None where the recording cannot be read again
    sample_rate: int = 16000
    text: str = ""
    labels: Sequence[Label] = ()  # (start_s, end_s, label), phones for instance
    notes: Sequence[str] = ()
    speaker: str = ""
    again: NDArray[np.float32] | None = None  # [S'] what a vocoder makes of the units, at `again_rate`
    again_rate: int = 16000


def section(recording: Recording, number: int, colours: Sequence[str], max_s: float) -> str:
    """The HTML of one utterance; `number` tells it from others on the page. Shows at most `max_s` seconds."""
    units = recording.units
    frames = units.frames()
    rate = units.rate_hz
    samples = None if recording.samples is None else recording.samples[: round(max_s * recording.sample_rate)]
    seconds = units.seconds if samples is None else len(samples) / recording.sample_rate
    shown = Units.from_frames(frames[: round(min(seconds, max_s) * rate)], rate_hz=rate, size=units.size)
    span = max(1, int(np.ceil(round(min(seconds, max_s) * rate, 6))))
    notes = list(recording.notes)
    if shown.num_frames < units.num_frames:
        notes.append(f"the first {shown.seconds:.1f} s of {units.seconds:.1f} s are shown")
    if samples is None:
        notes.append("the recording could not be read again: units only")
    title = html.escape(recording.id)
    tracks = [] if samples is None else _sound(samples, recording.sample_rate, span / rate, title)
    tracks.append(svg.timeline(_unit_segments(shown, colours), span, name="units", frames=shown.num_frames))
    if recording.labels:
        tracks.append(svg.timeline(_label_segments(recording.labels, rate, span), span, name="labels"))
    tracks.append(svg.axis(span / rate, max_labels=MIN_PX_PER_FRAME * span / _LABEL_PX))
    names = ["waveform", "mel"] * (samples is not None) + ["units"] + ["labels"] * bool(recording.labels)
    gutter = "".join(f'<span class="g-{name}">{name}</span>' for name in names)
    players = "" if samples is None else player(samples, recording.sample_rate, f"Play {title}")
    if recording.again is not None:
        spoken = player(recording.again, recording.again_rate, f"Play the units of {title}")
        players += f'<span class="facts">from its units alone:</span>{spoken}'
    return f"""
<article class="utterance" id="u{number}" aria-labelledby="t{number}">
<header><h3 id="t{number}">{title}</h3><p class="facts">{_speaker(recording)}{_facts(units)}</p></header>
{f'<p class="text" dir="auto">{html.escape(recording.text)}</p>' if recording.text else ""}
{"".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)}
<div class="transport">{players}<output class="readout" aria-live="off"></output></div>
<div class="figure"><div class="gutter" aria-hidden="true">{gutter}</div><div class="scroll">
<div class="tracks s{number}" tabindex="0" role="slider" aria-label="Position in {title}" aria-valuemin="0"
 aria-valuemax="{span / rate:.2f}" aria-valuenow="0" data-rate="{rate:g}" data-span="{span}">
{"".join(tracks)}<div class="cursor" hidden></div></div></div></div>
<details><summary>{len(units.dedup())} units as text</summary><p class="ids">{shown.dedup().text()}</p></details>
</article>"""


def width_rule(recording: Recording, number: int, max_s: float) -> str:
    """The CSS rule that bounds the width of this utterance's tracks; inline styles are not allowed on the page."""
    seconds = recording.units.seconds
    if recording.samples is not None:
        seconds = len(recording.samples) / recording.sample_rate
    span = max(1, int(np.ceil(min(seconds, max_s) * recording.units.rate_hz)))
    return f".s{number}{{min-width:{MIN_PX_PER_FRAME * span}px;max-width:{max(120, MAX_PX_PER_FRAME * span)}px}}"


def player(samples: NDArray[np.float32], sample_rate: int, label: str) -> str:
    """A player with its sound; `label` is escaped already. Of no samples nothing."""
    if not len(samples):
        return ""
    uri = png.data_uri(flac(samples, sample_rate), "audio/flac")
    return f'<audio controls preload="metadata" aria-label="{label}" src="{uri}"></audio>'


def flac(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    """The samples as FLAC, 16 bit: lossless for 16-bit sources, half the size of WAV, played by every browser."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples.clip(-1, 1), sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _sound(samples: NDArray[np.float32], sample_rate: int, seconds: float, title: str) -> list[str]:
    columns = max(1, round(seconds / COLUMN_S))
    return [
        svg.waveform(samples, 2 * columns, seconds * sample_rate / (2 * columns)),
        mel_picture(samples, sample_rate, seconds, title),
    ]


def mel_picture(samples: NDArray[np.float32], sample_rate: int, seconds: float, title: str) -> str:
    """The log-mel spectrogram of the first `seconds`, 10 ms a column; `title` is escaped already."""
    columns = max(1, round(seconds / COLUMN_S))
    mel = spectrogram.log_mel(samples, sample_rate, num_columns=columns, hop_s=seconds / columns)
    uri = png.data_uri(spectrogram.picture(mel), "image/png")
    return f'<img class="mel" alt="Mel spectrogram of {title}" width="{columns}" height="{mel.shape[1]}" src="{uri}">'


def _unit_segments(units: Units, colours: Sequence[str]) -> list[svg.Segment]:
    runs = units.dedup()
    starts = np.cumsum(runs.durations) - runs.durations
    return [
        svg.Segment(start, length, str(unit), colours[unit],
                    f"unit {unit}, {start / units.rate_hz:.2f}–{(start + length) / units.rate_hz:.2f} s")
        for unit, start, length in zip(runs.ids.tolist(), starts.tolist(), runs.durations.tolist(), strict=True)
    ]  # fmt: skip


def _label_segments(labels: Sequence[Label], rate: float, span: int) -> list[svg.Segment]:
    shown = [
        (max(a, 0.0) * rate, min(b * rate, span), label)
        for a, b, label in labels
        if a * rate < span and b > max(a, 0.0)
    ]
    return [
        svg.Segment(round(a, 3), round(b - a, 3), label, "", f"{label}, {a / rate:.2f}–{b / rate:.2f} s")
        for a, b, label in shown
    ]


def _speaker(recording: Recording) -> str:
    return f"speaker {html.escape(recording.speaker)} · " if recording.speaker else ""


def _facts(units: Units) -> str:
    runs = units.dedup()
    if not len(units):
        return f"{units.seconds:.2f} s · no unit: shorter than one frame"
    return (
        f"{units.seconds:.2f} s · {units.num_frames} frames · {len(runs)} units "
        f"({len(np.unique(runs.ids))} different) · {units.bitrate():.0f} bit/s"
    )

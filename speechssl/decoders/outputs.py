"""Decoded words with times as files: text, ctm, srt, json, TextGrid. Pure functions from utterances to text."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from speechssl.decoders.hypothesis import Word
from speechssl.errors import DataError

_LONGEST_LINE, _LONGEST_CUE_S, _LONGEST_PAUSE_S = 42, 6.0, 1.0  # of subtitles


@dataclass(frozen=True)
class Transcript:
    """What was said in an utterance. Times of words count from its own begin."""

    id: str
    text: str
    words: tuple[Word, ...] = ()
    duration_s: float = 0.0
    recording: str = ""  # where it lies; "": the id
    begin_s: float = 0.0  # in the recording
    channel: str = "1"
    score: float = 0.0  # the decoder's: natural log probability, a language model's weighted share included
    symbols: int = 0  # which it is of, spaces between words among them


def as_text(transcripts: Iterable[Transcript]) -> str:
    """Kaldi's `text`: id and words, a line each."""
    return "".join(f"{t.id} {t.text}".rstrip() + "\n" for t in transcripts)


def as_ctm(transcripts: Iterable[Transcript]) -> str:
    """NIST's ctm: recording, channel, begin, duration, word, confidence; sorted as sclite wants it."""
    rows = [(t.recording or t.id, t.channel, t.begin_s + word.start_s, word) for t in transcripts for word in _timed(t)]
    rows.sort(key=lambda row: row[:3])
    return "".join(
        f"{recording} {channel} {begin:.3f} {word.end_s - word.start_s:.3f} {word.text} {word.confidence:.4f}\n"
        for recording, channel, begin, word in rows
    )


def as_srt(transcripts: Iterable[Transcript]) -> str:
    """Subtitles of one recording: cues of at most 42 characters and 6 s, a new one after a pause of 1 s."""
    spoken = list(transcripts)
    if len({t.recording or t.id for t in spoken}) > 1:
        raise DataError("subtitles are of one recording: write a file for each")
    words = sorted((t.begin_s + w.start_s, t.begin_s + w.end_s, w.text) for t in spoken for w in _timed(t))
    cues: list[list[tuple[float, float, str]]] = []
    for word in words:
        cue = cues[-1] if cues else None
        if cue is None or _breaks(cue, word):
            cues.append([word])
        else:
            cue.append(word)
    blocks = (
        f"{i}\n{_clock(cue[0][0])} --> {_clock(max(end for _, end, _ in cue))}\n{' '.join(w for _, _, w in cue)}\n"
        for i, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def as_json(transcripts: Iterable[Transcript]) -> str:
    """A JSON object a line: id, recording, begin_s, duration_s, text, score, symbols, words with their times."""
    rows = ({**asdict(t), "recording": t.recording or t.id} for t in transcripts)
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def joined(transcripts: Sequence[Transcript]) -> Transcript:
    """Utterances of one recording as one, in its time; `duration_s` is where the last of them ends."""
    spoken = sorted(transcripts, key=lambda t: t.begin_s)
    words = tuple(replace(w, start_s=t.begin_s + w.start_s, end_s=t.begin_s + w.end_s) for t in spoken for w in t.words)
    first, end = spoken[0], max(t.begin_s + t.duration_s for t in spoken)
    return Transcript(first.recording or first.id, " ".join(t.text for t in spoken if t.text), words, end)


def as_textgrid(transcript: Transcript) -> str:
    """Praat's long text format with one interval tier `words`, pauses as empty intervals."""
    end = max([transcript.duration_s, *(word.end_s for word in transcript.words)])
    intervals: list[tuple[float, float, str]] = []
    now = 0.0
    for word in sorted(_timed(transcript), key=lambda w: w.start_s):
        if word.start_s < now:
            raise DataError(f"{transcript.id}: words overlap at {word.start_s:.3f} s, which a tier cannot hold")
        intervals += [(now, word.start_s, "")] if word.start_s > now else []
        intervals.append((word.start_s, word.end_s, word.text))
        now = word.end_s
    intervals += [(now, end, "")] if now < end else []
    head = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}",
            "tiers? <exists>", "size = 1", "item []:", "    item [1]:", '        class = "IntervalTier"',
            '        name = "words"', "        xmin = 0", f"        xmax = {end:.6f}",
            f"        intervals: size = {len(intervals)}"]  # fmt: skip
    for i, (start, stop, text) in enumerate(intervals, 1):
        quoted = text.replace('"', '""')
        head += [f"        intervals [{i}]:", f"            xmin = {start:.6f}", f"            xmax = {stop:.6f}",
                 f'            text = "{quoted}"']  # fmt: skip
    return "\n".join(head) + "\n"


def _timed(transcript: Transcript) -> Sequence[Word]:
    if transcript.text and not transcript.words:
        raise DataError(f"{transcript.id}: its words have no times, which this format needs")
    return transcript.words


def _breaks(cue: list[tuple[float, float, str]], word: tuple[float, float, str]) -> bool:
    """Whether a word begins a new cue."""
    length = sum(len(text) + 1 for _, _, text in cue) + len(word[2])
    return word[0] - cue[-1][1] >= _LONGEST_PAUSE_S or word[1] - cue[0][0] > _LONGEST_CUE_S or length > _LONGEST_LINE


def _clock(seconds: float) -> str:
    """HH:MM:SS,mmm."""
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"

"""Utterances to lhotse's recordings and supervisions; and the lengths that this and other formats state."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechssl.audio import AudioInfo
from speechssl.data.corpus import probe_utterance, stream_utterance
from speechssl.data.export_kaldi import absolute, name_recordings
from speechssl.data.kaldi_dir import check_absent
from speechssl.data.lines import write_several
from speechssl.data.recording import is_file
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError


def write_lhotse(utterances: Sequence[Utterance], target: Path, allow_pipes: bool) -> list[str]:
    """`recordings.jsonl.gz` and `supervisions.jsonl.gz` in a new folder. Raises DataError, AudioError."""
    check_absent(target)
    names = name_recordings(utterances)
    recordings: dict[str, dict[str, Any]] = {}
    supervisions = []
    for u in utterances:
        if not (u.pipe or is_file(u.audio)):
            raise DataError(f"{u.id!r}: lhotse manifests are written for files only ({u.shown})")
        name = names[u.audio, u.pipe]
        if name not in recordings:
            recordings[name] = _lhotse_recording(u, name, allow_pipes)
        duration, channels = recordings[name]["duration"], recordings[name]["channel_ids"]
        start = u.start_s or 0.0
        end = duration if u.end_s is None else min(u.end_s, duration)
        row = {"id": u.id, "recording_id": name, "start": start, "duration": round(end - start, 8),
               "channel": channels[0] if len(channels) == 1 else channels, "text": u.text, "speaker": u.speaker,
               "custom": dict(u.extra) if u.extra else None}  # fmt: skip
        supervisions.append({key: value for key, value in row.items() if value is not None})
    write_several({
        target / f"{kind}.jsonl.gz": (json.dumps(row, ensure_ascii=False) for row in rows)
        for kind, rows in (("supervisions", supervisions), ("recordings", list(recordings.values())))
    })  # fmt: skip
    return []


def _lhotse_recording(utterance: Utterance, name: str, allow_pipes: bool) -> dict[str, Any]:
    info = probe_utterance(utterance, allow_pipes=allow_pipes)
    num_samples = length(utterance, info, allow_pipes)
    channels = list(range(info.channels))
    source = utterance.audio if utterance.pipe else absolute(utterance.audio)
    return {
        "id": name,
        "sources": [{"type": "command" if utterance.pipe else "file", "channels": channels,
                     "source": source.removesuffix("|").rstrip() if utterance.pipe else source}],
        "sampling_rate": info.sample_rate, "num_samples": num_samples,
        "duration": num_samples / info.sample_rate, "channel_ids": channels,
    }  # fmt: skip


def num_samples(utterance: Utterance, allow_pipes: bool) -> int:
    """Samples of the utterance at its recording's rate."""
    info = probe_utterance(utterance, allow_pipes=allow_pipes)
    if utterance.end_s is not None:
        return round(utterance.end_s * info.sample_rate) - round((utterance.start_s or 0.0) * info.sample_rate)
    return length(utterance, info, allow_pipes) - round((utterance.start_s or 0.0) * info.sample_rate)


def length(utterance: Utterance, info: AudioInfo, allow_pipes: bool) -> int:
    """Samples of the whole recording: by its header, or counted where that does not say."""
    if info.num_frames >= 0:
        return info.num_frames
    whole = Utterance(utterance.id, utterance.audio, pipe=utterance.pipe)
    return sum(map(len, stream_utterance(whole, sample_rate=info.sample_rate, allow_pipes=allow_pipes)))

"""Reading: blocks of mono float32 at the wanted rate, whole or as a stream of bounded memory.

Channels are averaged. Resampling is soxr's HQ (linear phase); its output is the same whatever the block size, so a
stream gives exactly the samples of a whole read. A segment is cut at the file's own rate (start and end rounded to its
samples) and then resampled, so it does not see its surroundings. A segment of an Opus file may differ from the same
stretch of a whole read by 2e-3, because the decoder carries state.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from speechssl.audio.flac import HASHED, Md5Reader
from speechssl.audio.source import AudioInfo, Source
from speechssl.errors import AudioError

MAX_OVERSHOOT_S = 0.5  # a segment may end this much after the recording (as in Kaldi's extract-segments); it is cut
_BLOCK_SAMPLES = 1 << 19  # decoded at once, all channels together
_EXACT_SEEK = frozenset(["PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
_RUN_UP_S = 1  # lossy codecs carry state from frame to frame: decode this much before a segment. MP3 and Vorbis are
# then exact; Opus mostly is, else within 2e-3 (44 dB below the speech) on 24 segments of real recordings
_USUAL_RATES = frozenset(
    [
        8000,
        10000,
        11025,
        12000,
        12500,
        16000,
        20000,
        22050,
        24000,
        25000,
        32000,
        44100,
        48000,
        88200,
        96000,
        176400,
        192000,
    ]
)  # Hz; AU, AIFF, CAF and SPHERE state it once, unchecked
_LARGEST_SAMPLE = 2.0**31  # beyond integer-scaled floats: no recording


@dataclass(frozen=True)
class Audio:
    """Samples [S] float32, mono, at `sample_rate`; `notes` says what was done to them."""

    samples: NDArray[np.float32]
    sample_rate: int
    source: AudioInfo
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Seconds of `samples`."""
        return len(self.samples) / self.sample_rate


def read(
    path: str | Path | Source,
    *,
    sample_rate: int = 16000,
    start_s: float | None = None,
    end_s: float | None = None,
    max_s: float | None = None,
) -> Audio:
    """A recording, or its part from start_s to end_s, in memory. Raises AudioError; `max_s` limits the seconds read."""
    blocks = stream(path, sample_rate=sample_rate, start_s=start_s, end_s=end_s, max_s=max_s)
    parts = list(blocks)
    samples = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.zeros(0, np.float32)])
    return Audio(samples, sample_rate, blocks.source, blocks.notes)


def stream(
    path: str | Path | Source,
    *,
    sample_rate: int = 16000,
    start_s: float | None = None,
    end_s: float | None = None,
    block_s: float = 30.0,
    max_s: float | None = None,
) -> "AudioStream":
    """The same samples as `read`, as an iterator of float32 blocks of at most block_s seconds.

    Damage that only decoding shows raises AudioError after good blocks were given: drop what came of them.
    """
    source = path if isinstance(path, Source) else Source(path)
    return AudioStream(source, sample_rate, start_s, end_s, block_s, max_s)


class AudioStream(Iterator[NDArray[np.float32]]):
    """Blocks of one recording. `source` is its AudioInfo; `notes` is complete once the last block was taken."""

    def __init__(
        self,
        source: Source,
        sample_rate: int,
        start_s: float | None,
        end_s: float | None,
        block_s: float,
        max_s: float | None,
    ) -> None:
        self._source, self._rate = source, sample_rate
        self.source = source.info
        self._notes: list[str] = list(source.header.notes)
        try:
            self._start, self._end = _frame_range(source, start_s, end_s, self._notes)
            self._max_frames = None if max_s is None else int(max_s * source.info.sample_rate)
            if source.info.num_frames >= 0 or end_s is not None:  # else it is seen while decoding
                self._check_length(self._end - self._start)
        except AudioError:
            source.close()
            raise
        self._num_full_scale = self._num_decoded = 0
        self._peak = 0.0
        self._blocks = self._reblocked(max(1, round(block_s * sample_rate)))

    def __next__(self) -> NDArray[np.float32]:
        return next(self._blocks)

    def close(self) -> None:
        """Release the file before the end of the stream."""
        self._blocks.close()
        self._source.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the samples, and what is odd about them."""
        notes, info = list(self._notes), self.source
        if info.channels > 1:
            notes.append(f"mixed {info.channels} channels to mono")
        if info.sample_rate != self._rate:
            notes.append(f"resampled {info.sample_rate} Hz to {self._rate} Hz")
        if info.sample_rate not in _USUAL_RATES:
            notes.append(f"unusual sample rate {info.sample_rate} Hz: perhaps a damaged header")
        share = self._num_full_scale / max(1, self._num_decoded)
        if share > 0.001:
            notes.append(f"clipped: {100 * share:.1f} % of samples at full scale")
        if self._num_decoded and self._peak == 0:
            notes.append("silent: every sample is zero")
        if self._peak > 1.5:
            notes.append(f"samples reach {self._peak:.3g}, outside -1..1")
        return tuple(notes)

    def _check_length(self, num_frames: int) -> None:
        if self._max_frames is not None and num_frames > self._max_frames:
            seconds = num_frames / self.source.sample_rate
            limit = self._max_frames / self.source.sample_rate
            raise AudioError("too-long", f"{self._source.name}: {seconds:.1f} s, the limit is {limit:.1f} s")

    def _reblocked(self, size: int) -> Generator[NDArray[np.float32], None, None]:
        """Blocks of exactly `size` samples (the last may be shorter)."""
        held: list[NDArray[np.float32]] = []
        num_held = 0
        with self._source:
            for block in self._resampled():
                while num_held + len(block) >= size:
                    cut = size - num_held
                    yield np.concatenate([*held, block[:cut]]) if held else block[:cut]
                    held, num_held, block = [], 0, block[cut:]
                if len(block):
                    held.append(block)
                    num_held += len(block)
            if held:
                yield np.concatenate(held) if len(held) > 1 else held[0]

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        if self.source.sample_rate == self._rate:
            yield from self._mono()
            return
        resampler = soxr.ResampleStream(self.source.sample_rate, self._rate, 1, dtype="float32", quality="HQ")
        for block in self._mono():
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)

    def _mono(self) -> Iterator[NDArray[np.float32]]:
        wanted = self._end - self._start
        for block in self._decoded(wanted):
            self._num_decoded += len(block)
            self._check_length(self._num_decoded)
            self._look_at(block)
            yield block.reshape(-1) if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        if self.source.num_frames < 0 and self._num_decoded == 0:
            raise AudioError("empty", f"{self._source.name}: no samples")

    def _decoded(self, wanted: int) -> Iterator[NDArray[np.float32]]:
        sound, name, info = self._source.sound, self._source.name, self.source
        whole = self._start == 0 and wanted >= info.num_frames >= 0
        if self._start == 0 and (whole or info.num_frames < 0):
            self._notes += self._source.verify_whole()
        md5 = self._source.header.md5 if whole and info.subtype in HASHED else None
        checked = Md5Reader(sound) if md5 else None
        size = max(1, _BLOCK_SAMPLES // self.source.channels)
        num_done = 0
        try:
            self._seek()
            while num_done < wanted:
                ask = min(size, wanted - num_done)
                block = checked.read(ask) if checked else sound.read(ask, dtype="float32", always_2d=True)
                if not len(block):
                    break
                num_done += len(block)
                yield block
        except soundfile.LibsndfileError as error:
            code = "truncated" if self._source.at_end() else "corrupt"
            message = error.error_string or f"error {error.code}"
            raise AudioError(code, f"{name}: the decoder stopped after {num_done} frames: {message}") from None
        if self.source.num_frames >= 0 and num_done < wanted:
            message = f"header announces {wanted} frames from {self._start}, only {num_done} could be decoded"
            raise AudioError("truncated", f"{name}: {message}")
        if checked and md5 and not checked.matches(md5):
            raise AudioError("corrupt", f"{name}: the decoded audio does not match the MD5 in the FLAC header")

    def _seek(self) -> None:
        """Go to the first frame: by seeking where that is exact, else by decoding up to it."""
        sound, block = self._source.sound, max(1, _BLOCK_SAMPLES // self.source.channels)
        run_up = 0 if self.source.subtype in _EXACT_SEEK else round(_RUN_UP_S * self.source.sample_rate)
        to_skip = self._start
        if sound.can_seek() and self._start > run_up:
            sound.seek(self._start - run_up)
            to_skip = run_up
        while to_skip > 0:
            skipped = len(sound.read(min(block, to_skip), dtype="float32", always_2d=True))
            if not skipped:
                return
            to_skip -= skipped

    def _look_at(self, block: NDArray[np.float32]) -> None:
        peak = max(float(block.max(initial=0.0)), -float(block.min(initial=0.0)))  # NaN where there is one
        if not np.isfinite(peak):
            raise AudioError("non-finite", f"{self._source.name}: NaN or infinite samples")
        if peak > _LARGEST_SAMPLE:
            raise AudioError("corrupt", f"{self._source.name}: samples reach {peak:.3g}")
        self._peak = max(self._peak, peak)
        full_scale = 127 / 128 if self.source.subtype in ("PCM_U8", "PCM_S8") else 0.9999
        if peak >= full_scale:
            self._num_full_scale += int(np.count_nonzero(np.abs(block) >= full_scale)) // block.shape[1]


def _frame_range(source: Source, start_s: float | None, end_s: float | None, notes: list[str]) -> tuple[int, int]:
    """First and last+1 frame of a segment at the file's rate. Raises AudioError("bad-segment")."""
    info, name = source.info, source.name
    total = info.num_frames if info.num_frames >= 0 else 1 << 62
    start, end = start_s or 0.0, end_s
    if not (0 <= start < float("inf")) or (end is not None and not start < end < float("inf")):
        raise AudioError("bad-segment", f"{name}: segment {start_s}..{end_s} s is not a stretch of time")
    first = round(start * info.sample_rate)
    last = total if end is None else round(end * info.sample_rate)
    if first >= total or last - total > MAX_OVERSHOOT_S * info.sample_rate:
        message = f"segment {start_s}..{end_s} s does not lie in the recording of {info.duration_s:.3f} s"
        raise AudioError("bad-segment", f"{name}: {message}")
    if last <= first:
        raise AudioError("bad-segment", f"{name}: segment {start_s}..{end_s} s holds no sample")
    if last > total:
        notes.append(f"segment end {end_s} s cut to the recording's end, {info.duration_s:.3f} s")
    return first, min(last, total)

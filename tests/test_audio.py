"""Audio: exact samples from every format, every damaged file refused with its reason, no hang, no large allocation."""

import io
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from speechssl import audio
from speechssl.audio.mp3 import _MAYBE_HEADER, frame_length
from speechssl.audio.ogg import page_crc
from speechssl.errors import AudioError

RATE = 16000
SINE = (np.sin(np.arange(24000) / 20) * 0.3).astype(np.float32)
LOSSLESS = {  # name: format, subtype
    "s16.wav": ("WAV", "PCM_16"), "u8.wav": ("WAV", "PCM_U8"), "s24.wav": ("WAV", "PCM_24"), 
    "s32.wav": ("WAV", "PCM_32"), "f32.wav": ("WAV", "FLOAT"), "f64.wav": ("WAV", "DOUBLE"),
    "ulaw.wav": ("WAV", "ULAW"), "alaw.wav": ("WAV", "ALAW"),
    "x.wavex": ("WAVEX", "PCM_16"), "s16.flac": ("FLAC", "PCM_16"), "s24.flac": ("FLAC", "PCM_24"),
    "s8.flac": ("FLAC", "PCM_S8"), "x.aiff": ("AIFF", "PCM_16"), "f.aiff": ("AIFF", "FLOAT"), "x.au": ("AU", "PCM_16"),
    "x.caf": ("CAF", "PCM_16"), "x.w64": ("W64", "PCM_16"), "x.rf64": ("RF64", "PCM_16"), "x.sph": ("NIST", "PCM_16"),
    "x.voc": ("VOC", "PCM_16"),
}  # fmt: skip
LOSSY = {
    "x.ogg": ("OGG", "VORBIS"), "x.opus": ("OGG", "OPUS"), "x.mp3": ("MP3", "MPEG_LAYER_III"),
    "ima.wav": ("WAV", "IMA_ADPCM"), "ms.wav": ("WAV", "MS_ADPCM"), 
    "gsm.wav": ("WAV", "GSM610"), "g721.au": ("AU", "G721_32"),
}  # fmt: skip
FORMATS = {**LOSSLESS, **LOSSY}
CHECKED = [name for name in FORMATS if name != "x.voc"]  # the last byte of a VOC is its end mark, no audio


def encoded(name: str, samples: NDArray[np.float32] = SINE, rate: int = RATE) -> bytes:
    kind, subtype = FORMATS[name]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def read_bytes(folder: Path, data: bytes, name: str = "x", **options: float) -> audio.Audio:
    (folder / name).write_bytes(data)
    return audio.read(folder / name, **options)  # type: ignore[arg-type]


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(AudioError) as caught:
        action()
    assert caught.value.code in audio.REASONS
    return caught.value.code


@pytest.mark.parametrize("name", FORMATS)
def test_samples_are_those_of_libsndfile(tmp_path: Path, name: str) -> None:
    data = encoded(name)
    found = read_bytes(tmp_path, data, name)
    expected, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert (found.samples.dtype, rate, found.source.subtype) == (np.float32, RATE, FORMATS[name][1])
    np.testing.assert_allclose(found.samples, expected, rtol=0, atol=1e-7 if name == "x.mp3" else 0)
    assert found.notes == ()


@pytest.mark.parametrize("channels", [2, 8])
@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_any_rate_and_channels_become_mono_at_16_khz_and_the_notes_say_so(
    tmp_path: Path, rate: int, channels: int
) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (rate, channels)).astype(np.float32)
    audio.write(tmp_path / "x.wav", samples, rate, subtype="FLOAT")
    found = audio.read(tmp_path / "x.wav")
    expected = soxr.resample(samples.mean(1, dtype=np.float32), rate, RATE, quality="HQ")
    np.testing.assert_allclose(found.samples, expected, atol=1e-6)
    assert found.notes == (f"mixed {channels} channels to mono", f"resampled {rate} Hz to 16000 Hz")


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("block_s", [0.01, 0.37, 30.0])
def test_a_stream_gives_exactly_the_samples_of_a_whole_read(tmp_path: Path, rate: int, block_s: float) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * rate + 77)
    audio.write(tmp_path / "x.flac", samples, rate)
    for start, end in ((None, None), (0.5, 2.25)):
        blocks = list(audio.stream(tmp_path / "x.flac", start_s=start, end_s=end, block_s=block_s))
        whole = audio.read(tmp_path / "x.flac", start_s=start, end_s=end).samples
        np.testing.assert_array_equal(np.concatenate(blocks), whole)
        assert {len(block) for block in blocks[:-1]} <= {round(block_s * RATE)}


@pytest.mark.parametrize("name", FORMATS)
def test_decoding_in_small_blocks_changes_nothing(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """soundfile seeks after each read, which breaks MP3 at every block; we must not."""
    whole = read_bytes(tmp_path, encoded(name)).samples
    monkeypatch.setattr("speechssl.audio.decode._BLOCK_SAMPLES", 1000)
    np.testing.assert_array_equal(audio.read(tmp_path / "x").samples, whole)


@pytest.mark.parametrize("name", FORMATS)
def test_a_segment_is_that_part_of_the_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(encoded(name, np.tile(SINE, 3)))
    whole = audio.read(tmp_path / name).samples
    for start, end in ((0.1, 0.6), (1.7, 3.9), (2.5, None)):
        part = audio.read(tmp_path / name, start_s=start, end_s=end).samples
        stop = len(whole) if end is None else round(end * RATE)
        tolerance = {"x.opus": 3e-3, "x.mp3": 2e-7}.get(name, 0)
        np.testing.assert_allclose(part, whole[round(start * RATE) : stop], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 1.5, 24000), (0, 1.9, 24000), (0, 2.01, None), (1.5, None, None), (1.6, 1.7, None), (1, 1, None),
     (1, 0.5, None), (-0.1, 1, None), (float("nan"), 1, None), (0, float("inf"), None),
     (0.5, 0.500001, None), (1.4999, None, 2)],
)  # fmt: skip
def test_a_segment_may_end_half_a_second_late_and_must_lie_in_the_recording(
    tmp_path: Path, start: float, end: float | None, expected: int | None
) -> None:
    audio.write(tmp_path / "x.wav", SINE, RATE)
    if expected is None:
        assert code_of(lambda: audio.read(tmp_path / "x.wav", start_s=start, end_s=end)) == "bad-segment"
        return
    found = audio.read(tmp_path / "x.wav", start_s=start, end_s=end)
    assert len(found.samples) == expected
    assert bool(found.notes) == (end == 1.9)


@pytest.mark.parametrize("num_samples", [1, 2, 320, 399, 400, 401, 719, 720])
@pytest.mark.parametrize("name", ["s16.wav", "s16.flac", "x.ogg", "x.opus"])
def test_short_recordings_are_read_whole(tmp_path: Path, num_samples: int, name: str) -> None:
    assert len(read_bytes(tmp_path, encoded(name, SINE[:num_samples])).samples) == num_samples


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, -1])
def test_a_file_that_lacks_its_end_is_never_accepted(tmp_path: Path, name: str, share: float) -> None:
    data = encoded(name, np.tile(SINE, 4))
    size = len(data) - 1 if share == -1 else int(len(data) * share)
    code = code_of(lambda: read_bytes(tmp_path, data[:size]))
    assert code in ("truncated", "empty", "unsupported", "bad-header")
    assert code == "truncated" or share < 0.1


@pytest.mark.parametrize("name", ["s16.flac", "s24.flac", "s8.flac", "x.ogg", "x.opus"])
def test_no_flipped_bit_of_a_file_with_checksums_changes_the_samples(tmp_path: Path, name: str) -> None:
    data, rng = encoded(name), np.random.default_rng(0)
    expected = read_bytes(tmp_path, data).samples
    num_refused = 0
    for position in rng.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.integers(8)
        try:
            np.testing.assert_array_equal(read_bytes(tmp_path, damaged).samples, expected)
        except AudioError:
            num_refused += 1
    assert num_refused > 40


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_raise_nothing_but_audio_error(tmp_path: Path, name: str) -> None:
    data, rng = encoded(name, SINE[:4000]), np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 1, 20])):
            position = rng.integers(min(len(data), 100) if rng.random() < 0.5 else len(data))
            damaged[position : position + 4] = rng.choice(
                [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(rng.bytes(4))]
            )
        try:
            read_bytes(tmp_path, damaged)
        except AudioError as error:
            assert error.code in audio.REASONS


def patched(name: str, /, **fields: tuple[int, str, object]) -> bytes:
    data = bytearray(encoded(name))
    for offset, layout, value in fields.values():
        struct.pack_into(layout, data, offset, value)
    return bytes(data)


def flac_claiming(num_frames: int) -> bytes:
    data = bytearray(encoded("s16.flac"))
    packed = int.from_bytes(data[18:26]) >> 36 << 36 | num_frames
    data[18:26] = packed.to_bytes(8)
    return bytes(data)


def wav_of(samples: NDArray[np.generic]) -> bytes:
    return encoded("f64.wav" if samples.dtype == np.float64 else "f32.wav", samples)  # type: ignore[arg-type]


MP3 = encoded("x.mp3")
MP3_FRAMES = [0]  # where they begin
while MP3_FRAMES[-1] < len(MP3):
    MP3_FRAMES.append(MP3_FRAMES[-1] + frame_length(MP3[MP3_FRAMES[-1] :][:4]))
MP3_FRAME = MP3_FRAMES[12]
NAN, INF, HUGE = SINE.copy(), SINE.copy(), SINE.copy()
NAN[100], INF[100], HUGE[100] = np.nan, -np.inf, 1e30
SPHERE = encoded("x.sph")[:16]
BAD = {  # bytes, reason
    "no bytes": (b"", "empty"),
    "no samples": (encoded("s16.wav", SINE[:0]), "empty"),
    "no samples in flac": (encoded("s16.flac", SINE[:0]), "empty"),
    "text": (b"this is no audio\n" * 100, "unsupported"),
    "zeros": (bytes(5000), "unsupported"),
    "json": (b'{"id": 1}', "unsupported"),
    "not a number": (wav_of(NAN), "non-finite"),
    "infinite": (wav_of(INF), "non-finite"),
    "infinite in 32 bits": (wav_of(SINE.astype(np.float64) * 1e300), "non-finite"),
    "1e30": (wav_of(HUGE), "corrupt"),
    "1 Hz": (patched("s16.wav", rate=(24, "<I", 1), per_second=(28, "<I", 2)), "bad-header"),
    "1 MHz": (patched("s16.wav", rate=(24, "<I", 10**6), per_second=(28, "<I", 2 * 10**6)), "bad-header"),
    "rate fields differ in w64": (patched("x.w64", rate=(68, "<I", 48000)), "bad-header"),
    "rate fields differ in ima": (patched("ima.wav", rate=(24, "<I", 48000)), "bad-header"),
    "rate fields differ": (patched("s16.wav", rate=(24, "<I", 48000)), "bad-header"),
    "block size differs": (patched("s16.wav", block=(32, "<H", 4)), "bad-header"),
    "no channels": (patched("s16.wav", channels=(22, "<H", 0)), "bad-header"),
    "data size 0": (patched("s16.wav", size=(40, "<I", 0)), "truncated"),
    "riff and data size 0": (patched("s16.wav", riff=(4, "<I", 0), size=(40, "<I", 0)), "truncated"),
    "data size too large": (patched("s16.wav", size=(40, "<I", 0x7FFFFFFE)), "truncated"),
    "data size of 4 GB": (patched("s16.wav", size=(40, "<I", 0xFFFFFFFF)), "truncated"),
    "data size too small": (patched("s16.wav", size=(40, "<I", 1000)), "bad-header"),
    "no data chunk": (patched("s16.wav", name=(36, "4s", b"dota")), "bad-header"),
    "au size 0": (patched("x.au", size=(8, ">I", 0)), "truncated"),
    "w64 size 0": (patched("x.w64", size=(0x68 - 8, "<Q", 0)), "bad-header"),
    "aiff frames": (patched("x.aiff", frames=(22, ">I", 10**6)), "bad-header"),
    "flac of 2^36 frames": (flac_claiming(2**36 - 1), "bad-header"),
    "flac of too many frames": (flac_claiming(25000), "truncated"),
    "flac of too few frames": (flac_claiming(20000), "corrupt"),
    "flac of a killed writer": (flac_claiming(0), "truncated"),
    "mp3 with a broken frame header": (MP3[:MP3_FRAME] + b"\xff\xff" + MP3[MP3_FRAME + 2 :], "corrupt"),
    "mp3 without the start of a frame": (MP3[:MP3_FRAME] + MP3[MP3_FRAME + 9 :], "corrupt"),
    "mp3 and much else": (MP3[:MP3_FRAME] + b"\xff\xfb" * 40_000 + MP3[MP3_FRAME:], "corrupt"),
    "mp3 of a killed writer": (MP3[:4] + bytes(MP3_FRAMES[1] - 4) + MP3[MP3_FRAMES[1] : -500], "truncated"),
    "sphere of a killed writer": (encoded("x.sph").replace(b"-i 24000", b"-i 0"), "truncated"),
    "voc of a killed writer": (patched("x.voc", size=(27, "<H", 12)), "truncated"),
    "two ogg streams": (encoded("x.ogg") + encoded("x.opus"), "unsupported"),
    "ogg without its beginning": (encoded("x.ogg")[58:], "truncated"),
    "sphere with shorten": (SPHERE + b"sample_coding -s26 pcm,embedded-shorten-v2.00\n" + bytes(1000), "unsupported"),
    "sphere header size": (b"NIST_1A\n   abc\n" + bytes(2000), "bad-header"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_its_reason(tmp_path: Path, case: str) -> None:
    data, code = BAD[case]
    assert code_of(lambda: read_bytes(tmp_path, data, "x.wav")) == code


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "dir.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "dangling.wav").symlink_to("nothing")
    (tmp_path / "plain.wav").write_bytes(encoded("s16.wav"))
    expected = {
        "fifo.wav": "not-a-file", "dir.wav": "not-a-file", "loop.wav": "not-a-file", "dangling.wav": "missing",
        "plain.wav/x.wav": "missing", "none.wav": "missing", "x" * 300: "missing", "nul\0.wav": "missing",
    }  # fmt: skip
    for name, code in expected.items():
        for action in (audio.probe, audio.read, audio.stream):
            assert code_of(lambda n=name, a=action: a(tmp_path / n)) == code  # type: ignore[misc]
    assert code_of(lambda: audio.read("/dev/zero")) == "not-a-file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_forbidden_file_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(encoded("s16.wav"))
    (tmp_path / "x.wav").chmod(0)
    assert code_of(lambda: audio.read(tmp_path / "x.wav")) == "unreadable"


def test_oddities_that_leave_the_audio_whole_are_noted(tmp_path: Path) -> None:
    good = encoded("s16.wav")
    size = struct.unpack("<I", good[4:8])[0]
    cases = {
        "passed over": good + bytes(range(200, 250)),
        "bytes before its header says": good[:4] + struct.pack("<I", size + 5000) + good[8:],
        "states no length": good[:4] + b"\xff" * 4 + good[8:40] + b"\xff" * 4 + good[44:],
        "clipped: 50.0 %": encoded("s16.wav", np.tile(np.float32([0.1, 1.0]), 12000)),
        "clipped: 100.0 %": encoded("s16.wav", np.tile(np.float32([-1.0, 1.0]), 12000)),
        "silent": encoded("s16.flac", SINE * 0),
        "outside -1..1": wav_of(SINE * 30000),
        "cannot be seen": b"RIFF"[:0] + encoded("x.mp3")[:0] + _mp3_without_info(),
        "between MP3 frames": MP3[:MP3_FRAME] + b"junk" * 9 + MP3[MP3_FRAME:],
        "36 bytes after the end of the audio": MP3 + b"junk" * 9,
        "3000000 bytes after the end of the audio": MP3 + b"\xff" * 3_000_000,  # once took a second per 200 kB
    }
    for message, data in cases.items():
        found = read_bytes(tmp_path, data)
        assert any(message in note for note in found.notes), (message, found.notes)
    assert len(read_bytes(tmp_path, good[:36] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + good[36:]).samples) == 24000


def _mp3_without_info() -> bytes:
    return MP3[MP3_FRAMES[1] :]


def test_a_limit_on_seconds_holds_before_and_while_decoding(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", np.tile(SINE, 10), RATE)
    assert code_of(lambda: audio.read(tmp_path / "x.wav", max_s=14.9)) == "too-long"
    assert len(audio.read(tmp_path / "x.wav", max_s=15).samples) == 240000
    assert len(audio.read(tmp_path / "x.wav", max_s=2, start_s=10, end_s=12).samples) == 32000


def test_a_long_recording_streams_in_bounded_memory(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "x.flac", "w", 44100, 2) as file:
        for _ in range(6):
            file.write(np.zeros((44100 * 60, 2), np.int16))
    assert (tmp_path / "x.flac").stat().st_size < 400_000
    tracemalloc.start()
    num_samples = sum(len(block) for block in audio.stream(tmp_path / "x.flac", block_s=30))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_samples == 6 * 60 * RATE
    assert peak < 40e6


def test_probe_reads_the_header_alone(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.flac", np.zeros((8000, 2)), 8000, subtype="PCM_24")
    info = audio.probe(tmp_path / "x.flac")
    assert info == audio.AudioInfo(8000, 2, 8000, "FLAC", "PCM_24")
    assert info.duration_s == 1.0


def test_open_files_do_not_pile_up(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(encoded("s16.wav")[:-9])
    audio.write(tmp_path / "good.wav", SINE, RATE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        audio.read(tmp_path / "good.wav")
        audio.probe(tmp_path / "good.wav")
        code_of(lambda: audio.read(tmp_path / "bad.wav"))
        code_of(lambda: audio.read(tmp_path / "good.wav", start_s=9))
        abandoned = audio.stream(tmp_path / "good.wav", block_s=0.1)
        next(abandoned)
        abandoned.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 12345, 16000, 44100, 48000, 65000, 65530, 96000, 100000, 192000])
@pytest.mark.parametrize("num_samples", [300, 4000, 80000])
def test_a_flac_whose_rate_was_damaged_is_refused(tmp_path: Path, rate: int, num_samples: int) -> None:
    """Its MD5 does not cover the rate, and libsndfile takes the one of the stream information."""
    data = bytearray(encoded("s16.flac", np.tile(SINE, 4)[:num_samples], rate))
    assert len(read_bytes(tmp_path, data, sample_rate=rate).samples) == num_samples
    packed = int.from_bytes(data[18:26])
    for bit in range(20):
        damaged = packed ^ 1 << 44 + bit
        data[18:26] = damaged.to_bytes(8)
        assert code_of(lambda: read_bytes(tmp_path, data)) == "bad-header"


def test_an_unusual_rate_is_noted(tmp_path: Path) -> None:
    found = read_bytes(tmp_path, encoded("x.aiff", rate=15872))
    assert found.notes[-1] == "unusual sample rate 15872 Hz: perhaps a damaged header"


def test_the_pattern_of_mp3_headers_is_what_frame_length_takes() -> None:
    for number in range(1 << 16):
        head = b"\xff" + number.to_bytes(2) + b"\x40"
        assert bool(_MAYBE_HEADER.match(head)) == (frame_length(head) > 0), head


def test_the_ogg_checksum_is_the_slow_one_of_the_specification() -> None:
    def slow(page: bytes) -> int:
        crc = 0
        for byte in page:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
        return crc

    for size in (1, 2, 100):
        page = np.random.default_rng(size).bytes(size)
        assert page_crc(page) == slow(page)

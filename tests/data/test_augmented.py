"""Recordings in other conditions: rooms against a slow form, ratios and times by measurement, the command."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl import audio
from speechssl.audio.augment import Augmentation, add_noise, augment, reverberate
from speechssl.audio.room import SPEED, Room, draw_room, impulse_response, reflection
from speechssl.cli import main
from speechssl.data.corpus import open_corpus
from speechssl.errors import ConfigError

RATE = 16_000
ROOM = Room((4.0, 3.0, 2.5), (1.0, 1.2, 1.5), (3.1, 2.0, 1.2))


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_echoes_equal_a_loop_over_images() -> None:
    """Allen & Berkley's eq. (10): images at (1 - 2p) s + 2 n L, beta^(|n - p| + |n|) along each axis."""
    rt60, length = 0.03, round(0.03 * RATE) + 1
    beta, direct = reflection(ROOM.size, rt60), math.dist(ROOM.source, ROOM.microphone)
    slow = np.zeros(length)
    axis = list(itertools.product((0, 1), range(-6, 7)))
    for images in itertools.product(axis, axis, axis):
        place = [(1 - 2 * p) * s + 2 * n * size for (p, n), s, size in zip(images, ROOM.source, ROOM.size, strict=True)]
        distance = math.dist(place, ROOM.microphone)
        sample = round((distance - direct) / SPEED * RATE)
        if sample < length:
            slow[sample] += beta ** sum(abs(n - p) + abs(n) for p, n in images) * direct / distance
    np.testing.assert_allclose(impulse_response(ROOM, rt60, RATE), slow, atol=1e-12)
    assert slow[0] == 1 and np.count_nonzero(slow) > 10


@pytest.mark.parametrize("rt60", [0.2, 0.5])
def test_sound_dies_away_as_fast_as_asked_for(rt60: float) -> None:
    """Schroeder's backward integral falls from -5 to -25 dB in a third of the reverberation time, about."""
    for seed in range(3):
        response = impulse_response(draw_room(random(seed)), rt60, RATE)
        left = np.cumsum(np.square(response)[::-1])[::-1]
        level = 10 * np.log10(left / left[0])
        measured = 3 * (np.argmax(level < -25) - np.argmax(level < -5)) / RATE
        assert measured == pytest.approx(rt60, rel=0.35)


def test_reverberation_keeps_timing_energy_and_length() -> None:
    click = np.zeros(RATE, np.float32)
    click[4000] = 0.5
    wet = reverberate(click, impulse_response(ROOM, 0.3, RATE))
    assert wet.shape == click.shape and not wet[:4000].round(6).any() and wet[4000] > 0.01
    assert np.square(wet).sum() == pytest.approx(0.25, rel=1e-3)
    assert not reverberate(np.zeros(100, np.float32), impulse_response(ROOM, 0.3, RATE)).any()
    assert len(reverberate(np.zeros(0, np.float32), np.ones(1))) == 0


@pytest.mark.parametrize("noise", [None, tone(50, 0.1)])
def test_noise_has_the_ratio_asked_for(noise: np.ndarray | None) -> None:
    speech = tone(440)
    added = add_noise(speech, noise, 7.0, random()).astype(np.float64) - speech
    assert 10 * np.log10(np.square(speech).sum() / np.square(added).sum()) == pytest.approx(7, abs=0.01)
    with pytest.raises(ConfigError, match="no samples"):
        add_noise(speech, np.zeros(0, np.float32), 7.0, random())


def loudest_hertz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * RATE / len(samples))


def test_stretch_changes_the_length_and_pitch_the_frequency() -> None:
    faster = augment(tone(440), RATE, Augmentation(stretch=1.25), random())
    assert len(faster) == pytest.approx(RATE / 1.25, abs=1) and loudest_hertz(faster) == pytest.approx(440, rel=0.02)
    higher = augment(tone(440), RATE, Augmentation(pitch=4), random())
    assert len(higher) == RATE and loudest_hertz(higher) == pytest.approx(440 * 2 ** (4 / 12), rel=0.02)


def test_nothing_clips_and_nothing_asked_for_is_nothing_done() -> None:
    loud = np.sign(tone(440))
    assert np.abs(augment(loud, RATE, Augmentation(rt60_s=0.3, snr_db=0), random())).max() <= 1
    assert np.array_equal(augment(tone(440), RATE, Augmentation(), random()), tone(440))
    every = Augmentation(1.1, 2.0, 0.2, 10.0)
    assert len(augment(np.zeros(0, np.float32), RATE, every, random())) == 0
    assert np.isfinite(augment(np.zeros(1, np.float32), RATE, every, random())).all()


@pytest.mark.parametrize("bad", [{"stretch": 0}, {"pitch": 30}, {"rt60_s": -1}, {"snr_db": math.nan}])
def test_what_has_no_meaning_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Augmentation(**bad)
    with pytest.raises(ConfigError):
        impulse_response(ROOM, 60.0, RATE)
    with pytest.raises(ConfigError):
        Room((3, 3, 3), (1, 1, 1), (4, 1, 1))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "b ü").mkdir(parents=True)
    for name, hertz in (("a", 300), ("b ü/a", 500)):
        soundfile.write(folder / f"{name}.wav", tone(hertz, 0.3), RATE)
    (folder / "broken.wav").write_bytes(b"RIFF....")
    return folder


def test_the_command(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wav.scp").write_text(f"x/1 {corpus}/a.wav\ny {corpus}/b ü/a.wav\nz {corpus}/broken.wav\n")
    (tmp_path / "utt2spk").write_text("x/1 eva\ny ida\nz ida\n")
    words = ["data", "augment", str(tmp_path / "wav.scp"), "--reverb", "0.2", "--noise", "10", "--json"]
    told = []
    for name, more in (("one", ["--workers", "0"]), ("two", ["--workers", "2"]), ("three", ["--seed", "1"])):
        assert main([*words[:3], str(tmp_path / name), *words[3:], *more]) == 1
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["num_utterances"] == 2 and [s["id"] for s in told[0]["skipped"]] == ["z"]
    one, two, three = (
        {u.id: audio.read(u.audio, sample_rate=RATE).samples for u in open_corpus(tmp_path / name).utterances}
        for name in ("one", "two", "three")
    )
    assert set(one) == {"x/1", "y"}
    for name, samples in one.items():
        assert np.array_equal(samples, two[name]) and not np.array_equal(samples, three[name])


def test_the_command_refuses_what_it_cannot_do(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, reason in (
        ([], "say what to do"),
        (["--pitch", "2", "--noise-from", "x.wav"], "no effect"),
        (["--noise", "3", "--noise-from", str(corpus / "broken.wav")], "broken.wav"),
    ):
        assert main(["data", "augment", str(corpus), str(tmp_path / "out"), *words]) == 2
        assert reason in capsys.readouterr().err and not (tmp_path / "out").exists()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    assert main(["data", "augment", str(corpus), str(tmp_path / "there"), "--noise", "3"]) == 2
    assert "exists" in capsys.readouterr().err

"""Telephone lines: G.711 against ITU's tables and another implementation, the band by measurement, in training."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from speechssl import audio
from speechssl.audio import telephone as lines
from speechssl.audio.augment import Augmentation, Drawing, augment
from speechssl.audio.telephone import telephone
from speechssl.cli import main
from speechssl.data.corpus import open_corpus
from speechssl.errors import ConfigError

RATE = 16_000
LAWS = {"alaw": (lines.encode_alaw, lines.alaw_values, 8), "mulaw": (lines.encode_mulaw, lines.mulaw_values, 4)}
# table 1a and 2a of G.711, positive values: decision value, the value decoded above it, and the code as it is sent
TABLES = {
    "alaw": [(0, 1, 0xD5), (62, 63, 0xCA), (64, 66, 0xF5), (128, 132, 0xE5), (1024, 1056, 0xB5), (2048, 2112, 0xA5),
             (3968, 4032, 0xAA)],
    "mulaw": [(0, 0, 0xFF), (1, 2, 0xFE), (31, 33, 0xEF), (95, 99, 0xDF), (223, 231, 0xCF), (2015, 2079, 0x9F),
              (4063, 4191, 0x8F), (7903, 8031, 0x80)],
}  # fmt: skip


def tone(hertz: float, seconds: float = 1.0, peak: float = 0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("law", sorted(LAWS))
def test_codes_and_values_are_those_of_the_tables(law: str) -> None:
    encode, values, scale = LAWS[law]
    for decision, value, code in TABLES[law]:
        at = np.array([decision * scale])
        assert encode(at)[0] == code and values()[code] == value * scale
        assert values()[code ^ 128] == -value * scale
        if decision:
            assert encode(at - 1)[0] != code and encode(-at - 1)[0] == code ^ 128


@pytest.mark.parametrize("law", sorted(LAWS))
def test_every_sample_has_the_code_that_another_implementation_gives(law: str) -> None:
    """It rounds negative numbers down to fewer bits, so those between its steps alone are compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop")  # gone in Python 3.13
    encode, values, scale = LAWS[law]
    samples = np.arange(-32768, 32768)
    samples = samples[(samples >= 0) | ((samples % scale == 0) if law == "mulaw" else (samples % scale != 0))]
    other = getattr(audioop, f"lin2{law.replace('mu', 'u')}")(samples.astype("<i2").tobytes(), 2)
    assert np.array_equal(encode(samples), np.frombuffer(other, np.uint8))
    back = getattr(audioop, f"{law.replace('mu', 'u')}2lin")(bytes(range(256)), 2)
    assert np.array_equal(values(), np.frombuffer(back, "<i2"))


@pytest.mark.parametrize("law", sorted(LAWS))
def test_what_was_decoded_is_encoded_again_as_it_was(law: str) -> None:
    encode, values, _ = LAWS[law]
    codes = encode(values())
    assert np.array_equal(values()[codes], values())
    assert np.array_equal(codes, np.where(np.arange(256) == 0x7F, 0xFF, np.arange(256)) if law == "mulaw" else codes)


@pytest.mark.parametrize("law", sorted(LAWS))
@pytest.mark.parametrize("peak", [0.7, 0.1, 0.03])
def test_noise_of_the_code_is_as_low_as_it_is_known_to_be(law: str, peak: float) -> None:
    """About 38 dB below speech whatever its level, which is what the logarithm is for."""
    plain, coded = (telephone(tone(1020, peak=peak), RATE, line, random()) for line in ("band", law))
    inner = slice(800, -800)
    ratio = 10 * math.log10(np.square(plain[inner]).sum() / np.square(coded - plain)[inner].sum())
    assert 35 < ratio < 42


@pytest.mark.parametrize(("hertz", "least", "most"), [
    (50, -200, -35), (200, -200, -20), (1000, -0.2, 0.2), (3000, -0.2, 0.2), (3600, -200, -20), (6000, -200, -40),
])  # fmt: skip
def test_the_band_is_that_of_a_telephone(hertz: float, least: float, most: float) -> None:
    there, here = tone(hertz), telephone(tone(hertz), RATE, "band", random())
    inner = slice(2000, -2000)
    level = 20 * math.log10(float(np.abs(here[inner]).max()) / float(np.abs(there[inner]).max()))
    assert least < level < most


def test_nothing_moves_in_time() -> None:
    click = np.zeros(RATE + 7, np.float32)
    click[5000:5004] = 0.5
    heard = telephone(click, RATE, "band", random())
    assert heard.shape == click.shape and heard.dtype == np.float32 and abs(int(np.abs(heard).argmax()) - 5001) <= 2
    for size in (0, 1, 5):
        assert telephone(np.ones(size, np.float32), RATE, "mulaw", random()).shape == (size,)


def test_packets_are_lost_as_often_as_asked_for() -> None:
    whole = telephone(tone(440, 20.0), RATE, "alaw", random())
    heard = telephone(tone(440, 20.0), RATE, "alaw", random(), 0.2)
    inner = np.abs(heard.reshape(-1, 320)[:, 100:220]).max(axis=1)
    assert (inner < 0.05).mean() == pytest.approx(0.2, abs=0.04)
    assert np.abs(whole.reshape(-1, 320)).max(axis=1).min() > 0.3


def test_it_is_the_last_thing_that_happens_to_a_recording() -> None:
    settings = Augmentation(snr_db=0.0, telephone="band")
    heard = augment(tone(1000), RATE, settings, random())
    spectrum = np.square(np.abs(np.fft.rfft(heard * np.hanning(len(heard)))))
    assert spectrum[4500:].sum() < 1e-4 * spectrum.sum()  # the noise is in the band, too
    assert np.abs(augment(4 * tone(1000), RATE, Augmentation(telephone="mulaw"), random())).max() <= 1


def test_draws_of_older_settings_stay_what_they_were() -> None:
    for seed in range(20):
        plain, phone = (Drawing(telephone=line).draw(random(seed)) for line in ((), ("alaw", "mulaw")))
        assert plain.telephone == "none" and phone.telephone in ("alaw", "mulaw")
        assert (plain.stretch, plain.pitch, plain.rt60_s, plain.snr_db) == (
            phone.stretch, phone.pitch, phone.rt60_s, phone.snr_db)  # fmt: skip


def test_lines_and_losses_are_drawn_as_often_as_said() -> None:
    drawing = Drawing(telephone=("alaw", "mulaw", "none"), telephone_share=0.6, packet_loss=(0.0, 0.1))
    generator = random()
    drawn = [drawing.draw(generator) for _ in range(3000)]
    for line, share in (("alaw", 0.2), ("mulaw", 0.2), ("none", 0.6)):
        assert sum(one.telephone == line for one in drawn) / 3000 == pytest.approx(share, abs=0.03)
    losses = [one.packet_loss for one in drawn if one.telephone != "none"]
    assert min(losses) < 0.01 and 0.09 < max(losses) < 0.1
    assert all(one.packet_loss == 0 for one in drawn if one.telephone == "none")


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in ({"packet_loss": 0.1}, {"packet_loss": 1.0, "telephone": "alaw"}):
        with pytest.raises(ConfigError, match="packet_loss"):
            Augmentation(**wrong)  # type: ignore[arg-type]
    for values in ({"packet_loss": (0.0, 0.1)}, {"telephone": ("alaw",), "telephone_share": 2.0}):
        with pytest.raises(ConfigError, match="telephone"):
            Drawing(**values)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="8000 Hz"):
        telephone(tone(440), 4000, "alaw", random())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    audio.write(tmp_path / "in" / "a.wav", tone(1000) + tone(6000), RATE)
    words = ["data", "augment", str(tmp_path / "in"), str(tmp_path / "out"), "--telephone", "alaw", "--packet-loss",
             "0.1", "--workers", "0", "--json"]  # fmt: skip
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["telephone"] == "alaw"
    (found,) = open_corpus(str(tmp_path / "out")).utterances
    spectrum = np.abs(np.fft.rfft(audio.read(found.audio).samples))
    assert spectrum[6000] < 0.01 * spectrum[1000]
    assert main([*words[:3], str(tmp_path / "two"), "--packet-loss", "0.1"]) == 2
    assert "packet_loss" in capsys.readouterr().err

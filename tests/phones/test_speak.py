"""Text to speech by espeak-ng."""

import numpy as np
import pytest

from speechssl.errors import ConfigError, DataError
from speechssl.phones import speak
from speechssl.phones.speak import Speaker


def test_what_is_longer_takes_longer_and_every_language_says_it_its_way() -> None:
    pytest.importorskip("espeakng_loader")
    spanish, french = Speaker("es"), Speaker("fr")
    short, long = spanish("lunes"), spanish("lunes, martes, miércoles y jueves")
    assert short.dtype == np.float32 and 0.1 < np.abs(short).max() <= 1
    assert 0.2 < len(short) / spanish.sample_rate < len(long) / spanish.sample_rate / 2
    other = french("lunes")
    again = spanish("lunes")
    assert abs(len(again) - len(short)) < 0.02 * len(short) < abs(len(other) - len(short)), "voices take turns"


def test_what_cannot_be_said_is_an_error() -> None:
    pytest.importorskip("espeakng_loader")
    for text in ("", " ", "x" * 5000):
        with pytest.raises(DataError, match=r"says nothing|more than"):
            Speaker("es")(text)
    for language in ("", "no-such"):
        with pytest.raises(ConfigError, match="no voice"):
            Speaker(language)


def test_without_espeak_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    monkeypatch.setattr(speak.ctypes.util, "find_library", lambda name: None)
    speak._library.cache_clear()
    with pytest.raises(ConfigError, match=r"speechssl\[phones\]"):
        Speaker("es")
    speak._library.cache_clear()

"""Text to phones by espeak-ng."""

import sys

import pytest

from speechssl.errors import ConfigError, DataError
from speechssl.phones import espeak
from speechssl.phones.espeak import Espeak, foreign, main_script
from speechssl.phones.segments import Rules
from speechssl.phones.texts import lexicon, phonemize

pytest.importorskip("phonemizer")
pytest.importorskip("espeakng_loader")


def test_spanish_is_what_a_grammar_of_spanish_says() -> None:
    spoken = Espeak("es")("Una moneda, chica guerra.")
    assert spoken.words == (("u", "n", "a"), ("m", "o", "n", "e", "ð", "a"), ("t͡ʃ", "i", "k", "a"),
                            ("ɣ", "e", "r", "a"))  # fmt: skip
    assert spoken.phones[:4] == ["u", "n", "a", "m"]


def test_two_languages_take_turns_in_one_process() -> None:
    spanish, french = Espeak("es"), Espeak("fr-fr")
    assert spanish("lunes").phones == ["l", "u", "n", "e", "s"]
    assert french("lune").phones == ["l", "y", "n"]
    assert spanish("lunes").phones == ["l", "u", "n", "e", "s"]


def test_stress_is_kept_where_asked_for() -> None:
    assert Espeak("es", Rules(stress=True))("moneda").phones == ["m", "o", "n", "ˈe", "ð", "a"]


def test_a_language_that_espeak_lacks_is_an_error_that_names_those_near_it() -> None:
    with pytest.raises(ConfigError, match=r"'fr'.*fr-fr"):
        Espeak("fr")
    with pytest.raises(ConfigError, match=r"'xx'.*it has af"):
        Espeak("xx")


@pytest.mark.parametrize("text", ["", " \t ", "...", "¡!"])
def test_a_text_without_phones_is_an_error(text: str) -> None:
    with pytest.raises(DataError, match=r"no phones|says nothing"):
        Espeak("es")(text)


def test_a_word_read_as_of_another_language_is_said_and_its_flags_are_no_phones() -> None:
    spoken = Espeak("fr-fr")("Un cochon Tamworth.")
    assert spoken.switched == ("(en)", "(fr)")
    assert not any("(" in phone for phone in spoken.phones)


def test_a_word_for_which_espeak_says_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = Espeak("es")
    monkeypatch.setattr(voice, "_raw", lambda text: "u_n a" if text == "uno a b" else "" if text == "b" else "a")
    assert voice("uno a b").silent == ("b",)


def test_without_phonemizer_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    espeak._library.cache_clear()
    monkeypatch.setitem(sys.modules, "phonemizer.backend.espeak.wrapper", None)
    with pytest.raises(ConfigError, match=r"speechssl\[phones\]"):
        Espeak("es")
    espeak._library.cache_clear()


def test_letters_of_another_script_and_pictures_are_foreign_punctuation_and_digits_are_not() -> None:
    own = main_script(["Знак для буквы", "Tux"])
    assert own == "CYRILLIC"
    assert foreign("Тукс — Linux! 3 ☃", own) == ["L", "i", "n", "u", "x", "☃"]
    assert main_script(["1", ""]) is None


def test_texts_that_cannot_be_used_are_listed_with_their_reason() -> None:
    texts = {"a": "una moneda", "b": "", "c": "漢字", "d": "..."}
    found = phonemize(texts, Espeak("es"))
    assert found.phones == {"a": "u n a m o n e ð a"}
    assert list(found.left_out) == ["b", "c", "d"]
    assert "no LATIN letters" in found.left_out["c"]
    kept = phonemize(texts, Espeak("es"), others="keep")
    assert list(kept.phones) == ["a", "c"] and "LATIN" in kept.notes["c"]


def test_no_texts_have_no_phones() -> None:
    assert phonemize({}, Espeak("es")).phones == {}


def test_a_lexicon_has_each_word_once_and_alone() -> None:
    assert lexicon(["les", "amis", "les"], Espeak("fr-fr")).phones == {"les": "l e", "amis": "a m i"}

"""IPA into segments: a letter with what belongs to it (tʲ, ɑ̃, aː, t͡ʃ).

What is one phoneme to espeak may be several letters. Here a plosive with the fricative after it is an affricate and
gets a tie; diphthongs become their vowels. Stress (ˈ ˌ), tone (letters ˥ to ˩, espeak's digits) and length (ː ˑ) are
kept or left out. Segments are in Unicode's composed form (NFC), as vocabularies have them.
"""

import unicodedata
from dataclasses import dataclass

from speechssl.errors import DataError

TIE, TIES = "͡", "͜͡"
STRESS, LENGTH, TONES = "ˈˌ", "ːˑ", "˥˦˧˨˩0123456789"
PLOSIVES, FRICATIVES = set("pbtdʈɖcɟkɡqɢ"), set("ɸβfvθðszʃʒʂʐçʝɕʑxɣχʁɬɮ")
_SAME = str.maketrans({"g": "ɡ", ":": "ː", "'": "ʼ", "ᵻ": "ɨ", "ε": "ɛ"})  # other ways to write the same
_NO_SOUND = '-‿"^;!?\u200b\u200c\u200d'  # espeak's signs of liaison, of variants, of Danish stød; joiners


@dataclass(frozen=True)
class Rules:
    """What a segment keeps of stress, tone and length. Stress stands before its segment, the others behind."""

    stress: bool = False
    tone: bool = False
    length: bool = True
    diphthongs: bool = False  # vowels that are one phoneme stay one segment


def segments(phoneme: str, rules: Rules | None = None) -> list[str]:
    """The segments of one phoneme, or of several written together. DataError for what is no letter of the IPA."""
    rules = rules or Rules()
    found: list[str] = []
    ahead = ""  # stress that waits for its segment
    tied = False
    for sign in unicodedata.normalize("NFD", phoneme).translate(_SAME):
        if sign in _NO_SOUND:
            continue
        if sign in STRESS:
            ahead += sign if rules.stress else ""
        elif sign in TIES:
            if not found:
                raise DataError(f"a tie before the first letter of {phoneme!r}")
            tied = True
            found[-1] += TIE
        elif sign in LENGTH or sign in TONES or unicodedata.category(sign) in ("Mn", "Lm", "Sk"):
            kept = (sign not in LENGTH or rules.length) and (sign not in TONES or rules.tone)
            if kept and not found:
                raise DataError(f"{sign!r} (U+{ord(sign):04X}) before the first letter of {phoneme!r}")
            if kept and not found[-1].endswith(sign):  # espeak's Romanian has ʲʲ
                found[-1] += sign
        else:
            if unicodedata.category(sign) not in ("Ll", "Lo", "Lu"):
                raise DataError(f"{sign!r} (U+{ord(sign):04X}) in {phoneme!r} is no letter of the IPA")
            if tied:
                found[-1] += sign
            elif found and found[-1] in PLOSIVES and sign in FRICATIVES:
                found[-1] += TIE + sign
            elif found and rules.diphthongs and not ahead and is_vowel(found[-1][0]) and is_vowel(sign):
                found[-1] += sign
            else:
                found.append(ahead + sign)
                ahead = ""
            tied = False
    return [unicodedata.normalize("NFC", segment) for segment in found]


def is_vowel(letter: str) -> bool:
    """Of the IPA's vowel letters."""
    return letter in "iyɨʉɯuɪʏʊeøɘɵɤoəɛœɜɞʌɔæɐaɶɑɒɚɝ"

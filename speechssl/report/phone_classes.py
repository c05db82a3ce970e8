"""Broad classes of phones, to order the rows of a picture: what a label's spelling tells, and no more.

Known are the labels of ARPAbet (with or without stress), of the IPA, and the letters of orthographies that are written
as they sound; marks (tone, length, nasality) and case are passed over. Where many are unknown, frequency orders better.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechssl.metrics.abx_items import SILENCES

CLASSES = ("silence", "vowels", "glides, liquids", "nasals", "fricatives", "affricates", "stops", "others")
_ARPABET = {
    "vowels": "AA AE AH AO AW AX AXR AY EH ER EY IH IX IY OW OY UH UW UX",
    "glides, liquids": "L EL R W Y WH",
    "nasals": "M N NG EM EN ENG NX",
    "fricatives": "F V TH DH S Z SH ZH H HH HV",
    "affricates": "CH JH",
    "stops": "P B T D K G DX Q BCL DCL GCL PCL TCL KCL",
}
_LETTERS = {
    "vowels": "aeiouyøœæɶɑɒɐɔəɘɚɛɜɝɞɤɨɪɯɵʉʊʌʏıεωɷ",
    "glides, liquids": "lrwjɹɻɾɽʀʁʎɭɫʟɥɰʋɺɬɮ",
    "nasals": "mnɱɲɳŋɴ",
    "fricatives": "fvszhθðʃʒçʝxɣχħʕɦβɸʂʐɕʑ",
    "affricates": "ʦʣʧʤʨʥ",
    "stops": "pbtdkgɡqʈɖcɟɢʔɓɗʄɠʛ",
}
_BY_ARPABET = {name: label for label, names in _ARPABET.items() for name in names.split()}
_BY_LETTER = {letter: label for label, letters in _LETTERS.items() for letter in letters}
_SHARE_KNOWN = 0.8  # of the phones, by time


def broad_class(label: str, *, arpabet: bool, y_glides: bool = False) -> str:
    """One of CLASSES; "others" for what is not known. y_glides: y is no vowel, as where nothing is written j."""
    if label in SILENCES:
        return "silence"
    if arpabet:
        return _BY_ARPABET.get(label.upper().rstrip("0123456789"), "others")
    letters = [c for c in unicodedata.normalize("NFD", label.lower()) if unicodedata.category(c)[0] != "M"]
    found = {_BY_LETTER[c] for c in letters if c in _BY_LETTER}
    if len(letters) > 1 and found == {"stops", "fricatives"}:  # written as two: t + s
        return "affricates"
    if y_glides and letters[:1] == ["y"]:
        return "glides, liquids"
    return _BY_LETTER.get(letters[0], "others") if letters else "others"


def order_phones(labels: Sequence[str], frames: NDArray[np.integer]) -> tuple[list[int], list[str]]:
    """An order of the phones that occur in frames [P], and the class of each in it.

    By broad class, in a class the frequent first; by frequency alone, with no classes, where too few are known.
    """
    seen = [int(p) for p in np.argsort(-frames, kind="stable") if frames[p]]
    spelt = {labels[p].upper().rstrip("0123456789") for p in seen} - {name.upper() for name in SILENCES}
    arpabet = len([name for name in spelt if len(name) > 1 and name in _BY_ARPABET]) >= 3
    y_glides = not any(name.startswith("J") for name in spelt)
    classes = {p: broad_class(labels[p], arpabet=arpabet, y_glides=y_glides) for p in seen}
    known = sum(int(frames[p]) for p in seen if classes[p] not in ("others", "silence"))
    total = sum(int(frames[p]) for p in seen if classes[p] != "silence")
    if known < _SHARE_KNOWN * total or not total:
        return seen, []
    seen.sort(key=lambda p: CLASSES.index(classes[p]))  # stable: the frequent first
    return seen, [classes[p] for p in seen]

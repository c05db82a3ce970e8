#!/usr/bin/env python3
"""What recogniser NAME (es, or es+fr) writes for the test's captions: EXP/texts/NAME/LANGUAGE/SYSTEM.

decode.py NAME --data DATA --exp EXP --languages "es ca ..." --tune-on ca --seeds "0 1" --order 4 --beam 30

greedy              of every language, in the recogniser's phones. The others of a language left out, of which only
                    texts of the training's pictures are known, without those that the test has as well:
features            greedy, every phone renamed to its nearest of the language
id, random.sSEED    the same by maps that it must beat; id_kept, random_kept.sSEED: phones of both sides keep their name
outputs, inventory  beam: a phone of the language is spelled by all phones that become it, or by its own nearest alone
phone_lm            as outputs, with an n-gram of the language's phones
word_lm             beam over words spelled by their phones' nearest, with a 3-gram of words
Weight and bonus of the language models are those with the fewest errors on the validation part of --tune-on, a language
of the training, with language models made in the same way; EXP/texts/NAME/tuning.json has all trials.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechssl.data.lines import read_unique, write_lines
from speechssl.decoders import vocabulary
from speechssl.decoders.decoder import Decoder, Settings
from speechssl.decoders.lexicon import Lexicon
from speechssl.decoders.ngram import NgramModel
from speechssl.decoders.ngram_fit import fit_ngrams
from speechssl.decoders.spelling import Spelling, spelling_of
from speechssl.decoders.tune import tune
from speechssl.extract.outputs import read_features
from speechssl.metrics.text_rules import TextRules
from speechssl.phones import features, mapping
from speechssl.phones.espeak import Espeak
from speechssl.phones.segments import Rules
from speechssl.phones.texts import lexicon

VOICES = {"fr": "fr-fr"}
RULES = TextRules("lower", "remove")
GRID = {"lm_weights": (0.3, 0.7, 1.2), "bonuses": (0.0, 1.5)}
WORD_ORDER = 3


@dataclass(frozen=True)
class Knowledge:
    """Of a language: maps of phones in both directions, and language models and lexicons of phones and words."""

    targets: list[str]
    outputs: list[mapping.Row]
    inventory: list[mapping.Row]
    phone_model: NgramModel
    word_model: NgramModel
    words: list[str]  # lines of a lexicon, spelled with the recogniser's phones

    def spelled(self) -> list[str]:
        """Phones of the language by all that become them; those that none becomes by their nearest."""
        reached = {row.target for row in self.outputs}
        return mapping.spellings(self.outputs, [row for row in self.inventory if row.source not in reached])


def main() -> int:
    """Write all texts of a recogniser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    for name in ("--data", "--exp"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--languages", "--tune-on", "--seeds"):
        parser.add_argument(name, required=True)
    parser.add_argument("--order", type=int, default=4)
    parser.add_argument("--beam", type=int, default=30)
    args = parser.parse_args()
    emissions = args.exp / "emissions" / args.name
    spelling = spelling_of(vocabulary.load(args.exp / args.name / "recognizer"))
    spoken = {name: np.array(log_probs) for name, log_probs in read_features(emissions / "emissions")}
    greedy = read_unique(emissions / "text", empty_ok=True)
    texts = args.exp / "texts" / args.name
    base = Settings(beam=args.beam, unknown=None)
    tuned = tune_on(args.tune_on, args, spelling, spoken, base, texts)
    for language in args.languages.split():
        names = [name for name in read_unique(args.data / "phones" / language / "test/text") if name in spoken]
        write(texts / language / "greedy", {name: greedy[name] for name in names})
        if language not in args.name.split("+"):
            continue
        known = learn(args.data, language, "test", spelling, args.order)
        for system, rows in floors(spelling, known, args.seeds.split()).items():
            table = {row.source: row.target for row in rows}
            renamed = {name: " ".join(mapping.renamed(greedy[name].split(), table)) for name in names}
            write(texts / language / system, renamed)
        alone = mapping.spellings([], known.inventory)
        for system, lines, model, settings in (
            ("outputs", known.spelled(), None, base), ("inventory", alone, None, base),
            ("phone_lm", known.spelled(), known.phone_model, tuned["phones"]),
            ("word_lm", known.words, known.word_model, tuned["words"]),
        ):  # fmt: skip
            decoder = Decoder(spelling, settings, model=model, lexicon=tree(lines, spelling))
            found = {name: decoder.decode(spoken[name]) for name in names}
            write(texts / language / system, {name: best[0].text if best else "" for name, best in found.items()})
    return 0


def learn(data: Path, language: str, part: str, spelling: Spelling, order: int) -> Knowledge:
    """From texts of the training's pictures that do not stand in `part`, by espeak and the features of phones."""
    phones, captions = (unseen(data / kind / language, part) for kind in ("phones", "captions"))
    written = [symbol for i, symbol in enumerate(spelling.symbols) if i != spelling.blank]
    targets = sorted({phone for text in phones for phone in text.split()})
    table = features.panphon()
    inventory = mapping.nearest(targets, written, table)
    nearest = {row.source: row.target for row in inventory}
    sentences = [RULES(text).split() for text in captions]
    voice = Espeak(VOICES.get(language, language), Rules(length=False))
    found = lexicon({word for words in sentences for word in words}, voice).phones
    spellable = {w: text.split() for w, text in found.items() if set(text.split()) <= set(nearest)}
    lines = {f"{word} {' '.join(mapping.renamed(text, nearest))}" for word, text in spellable.items()}
    return Knowledge(targets, mapping.nearest(written, targets, table), inventory,
                     fit_ngrams([text.split() for text in phones], order=order).model,
                     fit_ngrams(sentences, order=WORD_ORDER).model, sorted(lines))  # fmt: skip


def tune_on(
    language: str,
    args: argparse.Namespace,
    spelling: Spelling,
    spoken: dict[str, np.ndarray],
    base: Settings,
    out: Path,
) -> dict[str, Settings]:
    """The settings with the fewest errors in phones, and in words."""
    known = learn(args.data, language, "valid", spelling, args.order)
    references = read_unique(args.data / "phones" / language / "valid/text")
    captions = read_unique(args.data / "captions" / language / "valid/text")
    names = [name for name in references if name in spoken]
    log_probs = [spoken[name] for name in names]
    best, trials = {}, {}
    for kind, wanted, model, lines in (
        ("phones", references, known.phone_model, known.spelled()),
        ("words", {name: RULES(text) for name, text in captions.items()}, known.word_model, known.words),
    ):
        found = tune(log_probs, [wanted[name] for name in names], spelling=spelling, base=base, model=model,
                     lexicon=tree(lines, spelling), **GRID)  # fmt: skip
        tried = found.trials[1:]  # the first is greedy, which takes no language model
        best[kind] = min(tried, key=lambda trial: trial.words.errors).settings
        trials[kind] = [[t.settings.lm_weight, t.settings.bonus, t.words.rate] for t in tried]
        print(f"  {kind} on {language}: weight {best[kind].lm_weight}, bonus {best[kind].bonus}")
    write_lines(out / "tuning.json", [json.dumps({"language": language, "weight, bonus, rate": trials})])
    return best


def floors(spelling: Spelling, known: Knowledge, seeds: list[str]) -> dict[str, list[mapping.Row]]:
    """The map by features, and those that it must beat."""
    written = [symbol for i, symbol in enumerate(spelling.symbols) if i != spelling.blank]
    maps = {"features": known.outputs}
    for suffix, kept in (("", False), ("_kept", True)):
        maps[f"id{suffix}"] = mapping.by_id(written, known.targets, keep_shared=kept)
        for seed in seeds:
            rows = mapping.at_random(written, known.targets, seed=int(seed), keep_shared=kept)
            maps[f"random{suffix}.s{seed}"] = rows
    return maps


def unseen(folder: Path, part: str) -> list[str]:
    """Texts of the training's pictures but those that `part` has as well."""
    said = set(read_unique(folder / part / "text").values())
    return [text for text in read_unique(folder / "train/text").values() if text not in said]


def tree(lines: list[str], spelling: Spelling) -> Lexicon:
    """The lexicon of lines."""
    number_of = {symbol: i for i, symbol in enumerate(spelling.symbols)}
    entries = ((word, tuple(number_of[s] for s in symbols)) for word, *symbols in map(str.split, lines))
    return Lexicon(entries, num_symbols=len(spelling.symbols))


def write(path: Path, texts: dict[str, str]) -> None:
    """Kaldi's text."""
    write_lines(path, [f"{name} {text}".rstrip() for name, text in texts.items()])


if __name__ == "__main__":
    sys.exit(main())

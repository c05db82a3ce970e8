"""Language models of words or characters, for decoding.

    speechssl lm train text.txt -o lm.arpa --order 3 --unit word
    speechssl lm train data/train/text --ids -o lm.arpa.gz --order 6 --unit char
    speechssl lm score lm.arpa text.txt --unit word

TEXT has a sentence a line; with --ids the first field of each is an id (Kaldi's `text`). It is brought to Unicode's
composed form (NFC) and single spaces; case and punctuation stay unless --case and --punctuation say otherwise. Models
are n-grams with interpolated modified Kneser-Ney smoothing, written as ARPA text, which KenLM and others read. With
--unit char the characters are the words, and --boundary stands between words: give the recogniser's. For pieces or
phones, give text with a space between them and --unit word.

exit code: 0 all done; 2 nothing done.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUMMARY = "n-gram language models of words or characters: train, measure"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """train, score."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--unit", choices=("word", "char"), default="word", help="default: word")
    common.add_argument("--boundary", default="|", metavar="SYMBOL", help="between words, for --unit char (default |)")
    common.add_argument("--ids", action="store_true", help="the first field of each line is an id")
    common.add_argument("--case", choices=("keep", "lower"), default="keep", help="default: keep")
    common.add_argument("--punctuation", choices=("keep", "remove"), default="keep", help="default: keep")
    common.add_argument("--json", action="store_true", help="one JSON object instead of text")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = actions.add_parser("train", parents=[common], help="learn a model from text")
    train.add_argument("text", metavar="TEXT", nargs="+", help="files of sentences, gzipped or not")
    train.add_argument("-o", "--output", required=True, metavar="FILE", help="ARPA file; gzipped if it ends in .gz")
    train.add_argument("--order", type=int, default=3, metavar="N", help="longest n-grams (default 3)")
    train.add_argument("--overwrite", action="store_true", help="replace a model that is there")
    score = actions.add_parser("score", parents=[common], help="perplexity of a text")
    score.add_argument("model", metavar="LM", help="ARPA file")
    score.add_argument("text", metavar="TEXT", nargs="+", help="files of sentences, gzipped or not")


def run(args: argparse.Namespace) -> int:
    """Do one action."""
    import json

    row, lines = {"train": _train, "score": _score}[args.action](args)
    print(json.dumps(row, ensure_ascii=False) if args.json else "\n".join(lines))
    return 0


def _train(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from speechssl.data.lines import check_target
    from speechssl.decoders.arpa import MOST_ORDER, write_arpa
    from speechssl.decoders.ngram_fit import fit_ngrams
    from speechssl.errors import ConfigError

    if not 1 <= args.order <= MOST_ORDER:
        raise ConfigError(f"--order {args.order}: 1 to {MOST_ORDER}")
    path = Path(args.output)
    if not args.overwrite:
        check_target(path)
    fit = fit_ngrams(_sentences(args), order=args.order)
    write_arpa(path, fit.model)
    sizes = [len(grams) for grams, _, _ in fit.model.tables]
    row = {"output": args.output, "order": fit.model.order, "ngrams": sizes, "sentences": fit.sentences,
           "tokens": fit.tokens, "discounts": fit.discounts, "fallbacks": fit.fallbacks}  # fmt: skip
    lines = [f"{args.output}: {' + '.join(map(str, sizes))} n-grams of {args.unit}s, from {fit.tokens} in "
             f"{fit.sentences} sentences"]  # fmt: skip
    if fit.model.order < args.order:
        lines.append(f"  no sentence has {args.order} {args.unit}s with its ends: the order is {fit.model.order}")
    if fit.fallbacks:
        orders = ", ".join(map(str, fit.fallbacks))
        lines.append(f"  too little text for discounts of order {orders}: 0.5, 1 and 1.5 taken")
    return row, lines


def _score(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    import math

    from speechssl.decoders.arpa import read_arpa
    from speechssl.errors import DataError

    model = read_arpa(Path(args.model))
    total, tokens, unknown, sentences = 0.0, 0, 0, 0
    for words in _sentences(args):
        total += model.sentence(words)
        unknown += sum(word not in model.number_of for word in words)
        tokens, sentences = tokens + len(words) + 1, sentences + 1
    if not tokens:
        raise DataError("nothing to score: no sentence in the text")
    row = {"perplexity": math.exp(-total / tokens), "log_prob": total, "tokens": tokens, "unknown": unknown,
           "sentences": sentences}  # fmt: skip
    return row, [f"perplexity {row['perplexity']:.4f} of {tokens} {args.unit}s and ends in {sentences} sentences, "
                 f"{unknown} of them unknown"]  # fmt: skip


def _sentences(args: argparse.Namespace) -> Iterator[list[str]]:
    """Words, or characters with the boundary between words; DataError where the text holds the boundary itself."""
    from speechssl.data.lines import read_lines
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.text_rules import TextRules

    if args.unit == "char" and (len(args.boundary) != 1 or args.boundary.isspace()):
        raise ConfigError(f"--boundary {args.boundary!r}: one character that is no space")
    rules = TextRules(args.case, args.punctuation)
    for path in args.text:
        for number, line in read_lines(Path(path)):
            text = line.replace("\t", " ")
            words = rules(text.lstrip(" ").partition(" ")[2] if args.ids else text)
            if args.unit == "char" and args.boundary in words:
                raise DataError(f"{path}:{number}: {args.boundary!r} stands in the text: give another --boundary")
            if words:
                yield words.split(" ") if args.unit == "word" else list(words.replace(" ", args.boundary))

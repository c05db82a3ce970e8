"""The weights of a decoder, chosen on recordings whose texts are known.

    speechssl transcribe data/valid --model exp/ctc/recognizer -o exp/valid
    speechssl tune exp/valid data/valid/text --model exp/ctc/recognizer --lm lm.arpa -o exp/decoder.json
    speechssl transcribe data/test --model exp/ctc/recognizer -o exp/test --lm lm.arpa --decoder exp/decoder.json

Every pair of --lm-weights and --bonuses is tried with a beam, and greedy decoding before them: what is kept is never
worse than that on these recordings. OUT is an output folder of `speechssl transcribe`, whose log probabilities are
used; recordings without a line in TEXT are left out.

exit code: 0 written; 2 nothing could be tuned.
"""

import argparse
from pathlib import Path

from speechssl.errors import ConfigError

SUMMARY = "weights of language model and bonus, chosen on known texts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """OUT TEXT, the models, the grid."""
    parser.add_argument("transcripts", metavar="OUT", help="output folder of speechssl transcribe")
    parser.add_argument("text", metavar="TEXT", help="what was said: lines `id word word ...`")
    parser.add_argument("--model", required=True, metavar="DIR", help="the recogniser that made OUT")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="settings, JSON")
    parser.add_argument("--lm", metavar="FILE", help="language model of words or symbols, ARPA")
    parser.add_argument("--lexicon", metavar="FILE", help="lines of a word and its symbols")
    parser.add_argument("--closed", action="store_true", help="as of speechssl transcribe")
    parser.add_argument("--language", metavar="CODE", help="as of speechssl transcribe")
    parser.add_argument("--beam", type=int, default=30, metavar="N", help="texts kept after each frame (30)")
    parser.add_argument("--lm-weights", type=float, nargs="+", default=[0.3, 0.6, 1.0], metavar="W", help="0.3 0.6 1.0")
    parser.add_argument("--bonuses", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5, 2.0], metavar="B",
                        help="0 0.5 1 1.5 2")  # fmt: skip
    parser.add_argument("--by", choices=("words", "characters"), default="words", help="errors to have few of (words)")
    parser.add_argument("--case", choices=("keep", "lower"), default="keep", help="default: keep")
    parser.add_argument("--punctuation", choices=("keep", "remove"), default="keep", help="default: keep")
    parser.add_argument("--json", action="store_true", help="print what was written")


def run(args: argparse.Namespace) -> int:
    """Try all and write the best."""
    import json

    from speechssl.data.lines import read_table
    from speechssl.decoders.decoder import Settings
    from speechssl.extract import tuning
    from speechssl.extract.transcripts import Decoding
    from speechssl.metrics.text_rules import TextRules
    from speechssl.recognition.model import load_recognizer
    from speechssl.recognition.units import UnitRecognizer, is_unit_recognizer

    if args.beam < 2 or min(args.lm_weights) < 0:
        raise ConfigError(f"--beam {args.beam}, --lm-weights {args.lm_weights}: a beam of 2 or more, weights of 0 or "
                          "more")  # fmt: skip
    if args.closed and args.lm is None and args.lexicon is None:
        raise ConfigError("--closed needs --lexicon, or a language model of words")
    if is_unit_recognizer(args.model):
        if args.language is not None:
            raise ConfigError("--language has no effect on recognisers of units: leave it out")
        of_units = UnitRecognizer.load(args.model)
        vocabulary, sha256, emissions = of_units.vocabulary, of_units.card.sha256, "emissions.npz"
    else:
        recognizer = load_recognizer(args.model, language=args.language)
        if recognizer.transducer is not None:
            raise ConfigError(
                f"{args.model}: a transducer is decoded without a language model, so nothing can be tuned"
            )
        vocabulary, sha256, emissions = recognizer.vocabulary, recognizer.sha256, "emissions"
    settings = Settings(beam=args.beam, unknown=None) if args.closed else Settings(beam=args.beam)
    lm, lexicon = (None if path is None else Path(path) for path in (args.lm, args.lexicon))
    base = Decoding(settings, lm, lexicon)
    texts = {name: said for _, name, said in read_table(args.text, empty_ok=True)}
    found = tuning.tune_output(
        Path(args.transcripts) / emissions, texts, vocabulary, base, lm_weights=args.lm_weights,
        bonuses=args.bonuses, by=args.by, rules=TextRules(case=args.case, punctuation=args.punctuation),
    )  # fmt: skip
    facts = {"recognizer_sha256": sha256, "by": args.by, "texts": args.text}
    values = tuning.save(Path(args.output), found, base, facts)
    if args.json:
        print(json.dumps(values))
        return 0
    for trial in found.trials:
        own, rates = trial.settings, tuning.errors(trial)
        name = "greedy" if own.beam == 1 else f"weight {own.lm_weight:g}, bonus {own.bonus:g}"
        kept = "  <- kept" if own == found.settings else ""
        print(f"{name:<26} WER {100 * rates['wer']:5.1f} %  CER {100 * rates['cer']:5.1f} %{kept}")
    return 0

"""Speech to units, text or speech of another language, by a model of recipes.seq2seq or recipes.unit_translation.

    speechssl translate data/test --model exp/s2ut/model -o out                    out/units: id and units, a line each
    speechssl translate data/test --model exp/st/model -o out --beam 10            out/text, of a model that says text
    speechssl translate data/test --model exp/s2ut/model -o out --to speech --vocoder exp/vocoder
                                                                out/units and out/speech, a Kaldi data dir of WAV files
    speechssl translate data/test --model s2ut.pt -o out        a speech-to-unit model of fairseq
    speechssl translate data/test --model exp/unit/model -o out --target-language fr        a model from units to units
    speechssl translate exp/units/test --model exp/unit/model -o out --target-language fr   units that are there already

A model from units to units (recipes.unit_translation) reads recordings through the unit model that its card names by
hash: the built-in one where that is it, else --units; or INPUT is an output folder of `speechssl units`.

The vocoder must be one of the model's own units: both cards hold the unit model's hash. Files from elsewhere hold none:
where neither does, the number of units must agree, and that they are the same ones is yours to know.

Utterances that cannot be used, those of more than a minute among them, are in OUT/failures.tsv with their reason.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 nothing could be used.
"""

import argparse

from speechssl.cli import _extraction
from speechssl.cli._translator import add_translator, open_translator
from speechssl.errors import ConfigError

SUMMARY = "speech to units, text or speech of another language"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, -o, the models, how it is searched."""
    _extraction.add_input(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="new output folder")
    add_translator(parser)
    parser.add_argument("--to", choices=("speech", "units", "text"), help="default: what the model says")
    parser.add_argument("--vocoder", metavar="DIR", help="of the model's units, for --to speech")
    parser.add_argument("--beam", type=int, default=5, metavar="W", help="hypotheses that go on (default 5)")
    parser.add_argument("--num-best", type=int, default=1, metavar="N", help="more than 1: nbest.tsv, too")
    parser.add_argument("--max-tokens", type=int, default=200, metavar="L", help="of a hypothesis (default 200)")
    parser.add_argument("--max-per-frame", type=float, default=1.0, metavar="A",
                        help="so many more for each frame that the decoder sees (default 1)")  # fmt: skip
    parser.add_argument("--min-tokens", type=int, default=0, metavar="L", help="before a hypothesis may end")
    parser.add_argument("--length-penalty", type=float, default=1.0, metavar="P",
                        help="0: sums of log probabilities, 1: means (default), more: longer")  # fmt: skip
    parser.add_argument("--no-repeat", type=int, default=0, metavar="N", help="no N symbols come twice (0: may)")
    parser.add_argument("--ctc-weight", type=float, default=0.0, metavar="W", help="of the model's CTC head (0)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch threads (default 1)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Translate a corpus and report."""
    import dataclasses
    import json

    import torch

    from speechssl.cli._translation import translate
    from speechssl.decoders.search import Search
    from speechssl.generation.unit_translator import Into
    from speechssl.units import vocoder as vocoders

    torch.set_num_threads(max(1, args.threads))
    search = Search(beam=args.beam, num_best=args.num_best, max_tokens=args.max_tokens, min_tokens=args.min_tokens,
                    max_per_frame=args.max_per_frame, length_penalty=args.length_penalty,
                    no_repeat=args.no_repeat)  # fmt: skip
    vocoder = None if args.vocoder is None else vocoders.load(args.vocoder)
    model, corpus, units = open_translator(args)
    if isinstance(model, Into) and args.ctc_weight:
        raise ConfigError("a model from units to units has no CTC head: leave --ctc-weight out")
    report = translate(corpus, args.output, model, search, ctc_weight=args.ctc_weight, to=args.to, vocoder=vocoder,
                       units=units)  # fmt: skip
    if args.json:
        print(json.dumps(dataclasses.asdict(report), indent=2))
        return report.exit_code
    notes = [(report.empty, "empty"), (report.unended, "cut off at their longest"), (report.spoken, "spoken"),
             (report.failed, "could not be used (failures.tsv)")]  # fmt: skip
    told = "".join(f", {count} {what}" for count, what in notes if count)
    print(f"{report.output}: {report.utterances} utterances{told}")
    return report.exit_code

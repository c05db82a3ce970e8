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

The vocoder ("default": the built-in one) must be one of the model's own units: both cards hold the unit model's hash.
Files from elsewhere hold none: where neither does, the number of units must agree, and that they are the same ones is
yours to know. A mel decoder predicts no durations: it speaks what models of all frames say (data.reduced=false), by
Griffin-Lim or a vocoder of its mels. --speaker is who of a voice that can be several people: a name that it knows, or
as in `speechssl convert-voice` a recording, a folder of recordings, or an .npy file of an embedding.

Utterances that cannot be used, those of more than a minute among them, are in OUT/failures.tsv with their reason.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 nothing could be used.
"""

import argparse

from speechssl.cli import _extraction, _searching, _voices
from speechssl.cli._translator import add_translator, open_translator
from speechssl.errors import ConfigError

SUMMARY = "speech to units, text or speech of another language"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, -o, the models, how it is searched."""
    _extraction.add_input(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="new output folder")
    add_translator(parser)
    parser.add_argument("--to", choices=("speech", "units", "text"), help="default: what the model says")
    _voices.add_voice(parser)
    _searching.add_search(parser, max_tokens=200, max_each=1.0, each="frame")
    parser.add_argument("--ctc-weight", type=float, default=0.0, metavar="W", help="of the model's CTC head (0)")
    _searching.add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Translate a corpus and report."""
    import torch

    from speechssl.cli._translation import translate
    from speechssl.generation.unit_translator import Into

    torch.set_num_threads(max(1, args.threads))
    search = _searching.search(args)
    voice, speaker = _voices.voice_as(_voices.load_voice(args), args.speaker)
    model, corpus, units = open_translator(args)
    if isinstance(model, Into) and args.ctc_weight:
        raise ConfigError("a model from units to units has no CTC head: leave --ctc-weight out")
    report = translate(corpus, args.output, model, search, ctc_weight=args.ctc_weight, to=args.to, voice=voice,
                       speaker=speaker, units=units)  # fmt: skip
    return _searching.tell(report, as_json=args.json)

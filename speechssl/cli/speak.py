"""Text to units, and on to speech, by a model of recipes.text_to_units.

    speechssl speak "une grenouille" --model exp/speak/model                     prints `text-1 17 4 ...`
    speechssl speak data/test/text --model exp/speak/model --language fr -o out  out/units: id and units, a line each
    speechssl speak data/test --model exp/speak/model --vocoder exp/vocoder -o out
                                                        out/units and out/speech, a Kaldi data dir of WAV files
    speechssl speak "une grenouille" --model exp/speak/model --speaker anna.wav --mel-decoder exp/mel -o out

TEXT is a Kaldi `text` file, a folder with one (whose utt2lang says each utterance's language, where --language does
not), a manifest, or the texts themselves, each in quotes. A text is spelt as the model was trained: what is not in its
vocabulary is an error; of a model of phones it is phones (`speechssl data phones`).

The vocoder ("default": the built-in one) or mel decoder must be one of the model's own units, which both cards name by
hash. A mel decoder predicts no durations: it speaks what models of all frames say (data.reduced=false), by Griffin-Lim
or a vocoder of its mels (--mel-vocoder, recipes.mel_vocoder).

--speaker is who speaks: of the model, where it is told (data.embeddings), and of a voice that can be several people. A
name that they know, a recording, a folder of recordings, or an .npy file of an embedding.

Texts that cannot be said are in OUT/failures.tsv with their reason.

exit code: 0 all done; 1 done, but some texts were skipped; 2 nothing could be said.
"""

import argparse

from speechssl.cli import _searching, _voices
from speechssl.errors import ConfigError

SUMMARY = "text to units, and to speech"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT, -o, the models, how it is searched."""
    parser.add_argument("text", nargs="+", metavar="TEXT", help="file or folder of texts, or texts themselves")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder model/ of a run of recipes.text_to_units")
    parser.add_argument("-o", "--output", metavar="OUT", help="new output folder (default: units are printed)")
    parser.add_argument("--language", metavar="L", help="of a model that knows several")
    _voices.add_voice(parser)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    _searching.add_search(parser, max_tokens=50, max_each=10.0, each="symbol")
    _searching.add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Say all texts and report."""
    import torch

    from speechssl.cli import _speaking
    from speechssl.generation.text_to_units import TextToUnits

    torch.set_num_threads(max(1, args.threads))
    search, voice = _searching.search(args), _voices.load_voice(args)
    if args.output is None and (voice is not None or args.json):
        raise ConfigError("speech and --json need an output folder: -o OUT")
    model = TextToUnits.load(args.model).to(args.device)
    corpus = _speaking.read(args.text, model)
    if args.output is None:
        return _speaking.print_units(corpus, model, search, language=args.language, speaker=args.speaker)
    report = _speaking.speak(corpus, args.output, model, search, language=args.language, speaker=args.speaker,
                             voice=voice)  # fmt: skip
    return _searching.tell(report, as_json=args.json)

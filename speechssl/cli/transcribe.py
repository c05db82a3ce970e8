"""Speech to text: what is said in every utterance of a corpus, by a recogniser.

    speechssl transcribe recordings/ --model exp/ctc/recognizer -o out       out/text: id and words, a line each
    speechssl transcribe data/dev --model exp/ctc/recognizer -o exp/dev --device cuda
    speechssl transcribe talk.wav --model exp/ctc/recognizer -o -            prints them

--model: the folder that recipes.ctc wrote (recognizer/), a Hugging Face folder of a fine-tuned model (Wav2Vec2ForCTC,
HubertForCTC, WavLMForCTC …, MMS with --language), or fairseq's checkpoint beside its dict.ltr.txt. Greedy: the best
symbol of every frame. Long recordings are done in windows (--window) of which --overlap seconds at either end are
computed and left out. Log probabilities stay in OUT/emissions, with failures.tsv (every utterance that could not be
used, and why); a run that was stopped or killed goes on where it was when the same command is given again.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 stopped early, or nothing could be used.
"""

import argparse
import sys
import tempfile

from speechssl.cli import _extraction
from speechssl.errors import ConfigError

SUMMARY = "speech to text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, -o, the recogniser, the format, how to run."""
    _extraction.add_input(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="output folder, or - to print")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a recogniser")
    parser.add_argument("--format", default="text", choices=("text",), help="of what is written (default text)")
    parser.add_argument("--language", metavar="CODE", help="of adapters in a model of many languages (MMS): eng, fra")
    _extraction.add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Transcribe a corpus."""
    if args.output != "-":
        return _write(args, args.output)
    if args.shard != "0/1":
        raise ConfigError("-o - prints the whole input: leave --shard out")
    with tempfile.TemporaryDirectory(prefix="speechssl-") as folder:
        return _write(args, folder, printed=True)


def _write(args: argparse.Namespace, output: str, *, printed: bool = False) -> int:
    import dataclasses
    from pathlib import Path

    from speechssl.extract import transcripts
    from speechssl.extract.job import ModelSpec
    from speechssl.extract.run import run_features
    from speechssl.recognition.model import load_recognizer

    if args.kernel == "fast":
        raise ConfigError("--kernel fast has no form for recognisers: leave it out")
    recognizer = load_recognizer(args.model, language=args.language)  # before anything is computed
    running = _extraction.running(args) | {"kernel": "plain"}
    if printed:
        running["options"] = dataclasses.replace(running["options"], workers=0, quiet=True)
    emissions = Path(output) / "emissions"
    spec = ModelSpec(recognizer=args.model, language=args.language)
    report = run_features(_extraction.open_input(args), emissions, spec, format="npz", **running)
    if report.finished:
        text = transcripts.write(
            emissions, Path(output), recognizer, transcripts.greedy(recognizer), format=args.format
        )
        if printed:
            sys.stdout.write(text.read_text(encoding="utf-8"))
            failures = (emissions / "failures.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
            sys.stderr.writelines(f"skipped: {line}\n" for line in failures)
            return report.exit_code
        if not args.json:
            print(f"{text}: {report.ok} utterances")
    return report.exit_code if printed else _extraction.finish(report, args)

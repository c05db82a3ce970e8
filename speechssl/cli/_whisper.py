"""`speechssl transcribe` by Whisper: one utterance after the other, nothing stored but the texts.

OUT/text              id and text as Whisper writes it, a line each, in the corpus's order
OUT/failures.tsv      utterances that could not be used, and why
OUT/transcripts.json  by which model; of how many utterances
"""

import argparse
import json
import sys
from pathlib import Path

from speechssl.cli import _extraction
from speechssl.errors import AudioError, ConfigError, DataError

# Options of transcribe that steer our own recognisers, with the values that say nothing.
_WITHOUT_EFFECT = {"format": "text", "decoder": None, "beam": None, "lm": None, "lm_weight": None, "bonus": None,
                   "lexicon": None, "closed": False, "sessions": None, "utt_list": None, "shard": "0/1",
                   "engine": "local", "device": "cpu", "precision": "fp32", "merge": False}  # fmt: skip


def write(args: argparse.Namespace, output: str, *, printed: bool) -> int:
    """Transcribe and report; the exit code. ConfigError for options without effect on Whisper."""
    from speechssl.data.corpus import read_utterance
    from speechssl.data.lines import check_id
    from speechssl.extract import atomic
    from speechssl.recognition.whisper import BEAM, Whisper

    if given := [name for name, unset in _WITHOUT_EFFECT.items() if getattr(args, name) != unset]:
        raise ConfigError(f"--{given[0].replace('_', '-')} has no effect on Whisper: leave it out")
    folder = Path(output)
    if not args.overwrite and (folder / "transcripts.json").exists():
        raise DataError(f"{folder}: has transcripts already: --overwrite, or another folder")
    corpus = _extraction.open_input(args)
    whisper = Whisper.load(args.model, language=args.language, threads=args.threads)
    lines, failures = [], ["id\tcode\terror"]
    for utterance in corpus.utterances:
        check_id(utterance.id, f"{folder}/text")
        try:
            samples = read_utterance(utterance, sample_rate=16_000).samples
            lines.append(f"{utterance.id} {whisper(samples, 16_000)}".rstrip())
        except AudioError as error:
            failures.append("\t".join((utterance.id, error.code, " ".join(str(error).split()))))
    told = {"format": "speechssl-whisper-1", "model_sha256": atomic.sha256(whisper.folder / "model.bin"), "beam": BEAM,
            "language": whisper.language, "utterances": len(lines), "failed": len(failures) - 1}  # fmt: skip
    files = {"text": lines, "failures.tsv": failures, "transcripts.json": [json.dumps(told, indent=2)]}
    with atomic.scratch(folder, "whisper") as scratch:
        for name, rows in files.items():
            (scratch / name).write_text("".join(row + "\n" for row in rows), encoding="utf-8")
        atomic.commit(scratch, folder)
    if printed:
        sys.stdout.write("".join(line + "\n" for line in lines))
        sys.stderr.writelines(f"skipped: {line}\n" for line in failures[1:])
    else:
        print(json.dumps(told) if args.json else f"{folder / 'text'}: {len(lines)} utterances")
    return 2 if not lines else int(len(failures) > 1)

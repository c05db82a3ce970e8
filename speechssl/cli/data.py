"""Look after corpora: check, mend, cut down, divide and convert their tables.

  speechssl data check data/train              every problem with file and line (also folders and manifests)
  speechssl data fix data/train data/good      sorted, complete, consistent; says what it dropped
  speechssl data subset data/train data/1k --num 1000 --seed 1
  speechssl data split data/train data/split8 8 --by speaker
  speechssl data convert data/train train.jsonl        kaldi, espnet, tsv, jsonl, lhotse; reads any corpus
  speechssl data augment data/dev data/noisy --noise 10  the same words in noise; --stretch, --pitch, --reverb
  speechssl data augment data/dev data/phone --telephone alaw --packet-loss 0.03
  speechssl data pseudo data/rest exp/pseudo --transcripts exp/rest/json --labelled data/10m --keep 0.6
                                               the texts of a recogniser that the next one may learn from
  speechssl data convert shards/ index.jsonl           an index of tar archives: later runs need not look through them
  speechssl data phones data/train data/phones --language es     texts as phones, by espeak-ng
  speechssl data lexicon data/train lexicon.txt --language es    words and their phones
  speechssl data phone-map exp/ctc/recognizer data/phones map.tsv   to each phone the nearest of another language
  speechssl data rename-phones map.tsv out/text renamed

Exit codes: 0 done and clean, 1 done with problems or dropped lines (printed), 2 nothing done.
"""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from speechssl.cli import _phones

if TYPE_CHECKING:
    from speechssl.data.utterance import Utterance

SUMMARY = "check, fix, subset, split, convert and augment data directories and manifests"
_SUFFIX_KINDS = {".tsv": "tsv", ".jsonl": "jsonl"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON object instead of text")
    common.add_argument("--allow-pipes", action="store_true", help="accept commands in wav.scp (a list of programs)")
    common.add_argument("--allow-remote", action="store_true", help="accept addresses (s3://, https:// ...)")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    check = actions.add_parser("check", parents=[common], help="every problem, with file and line")
    check.add_argument("source", help="Kaldi data dir, or any other corpus")
    check.add_argument("--audio", action="store_true", help="read the header of every recording, too")

    fix = actions.add_parser("fix", parents=[common], help="mend a Kaldi data directory")
    fix.add_argument("source", help="Kaldi data dir")
    fix.add_argument("target", nargs="?", help="new data dir; without it in place, the old files kept in .backup")

    subset = actions.add_parser("subset", parents=[common], help="a new Kaldi data dir with some of the utterances")
    subset.add_argument("source", help="Kaldi data dir")
    subset.add_argument("target", help="new data dir")
    subset.add_argument("--utt-list", metavar="FILE", help="ids, first on each line")
    subset.add_argument("--speakers", metavar="A,B|FILE", help="speakers, or a file with one on each line")
    subset.add_argument("--per-speaker", type=int, metavar="N", help="at most N of each speaker")
    subset.add_argument("--first", type=int, metavar="N", help="the first N in C order")
    subset.add_argument("--last", type=int, metavar="N", help="the last N in C order")
    subset.add_argument("--num", type=int, metavar="N", help="N at random")
    subset.add_argument("--max-duration", type=float, metavar="S", help="at random, S seconds at most in all")
    subset.add_argument("--seed", type=int, default=0, help="of the random choices (default 0)")

    split = actions.add_parser("split", parents=[common], help="divide a Kaldi data dir: TARGET/1 ... TARGET/N")
    split.add_argument("source", help="Kaldi data dir")
    split.add_argument("target", help="folder for the parts")
    split.add_argument("num_parts", type=int, metavar="N")
    split.add_argument("--by", choices=["utterance", "speaker"], default="utterance", help="what stays in one part")

    convert = actions.add_parser("convert", parents=[common], help="any corpus into another format")
    convert.add_argument(
        "source", help="folder, Kaldi data dir, wav.scp, .tsv, .jsonl, lhotse manifest, glob, - (stdin)"
    )
    convert.add_argument("target", help="new data dir, or .tsv or .jsonl file")
    convert.add_argument("--from", dest="kind", default="auto", help="what SOURCE is, where its name does not tell")
    convert.add_argument("--to", choices=["kaldi", "espnet", "tsv", "jsonl", "lhotse"], help="default: by the suffix")
    convert.add_argument("--id-from", choices=["relative", "name", "archive"], default="relative",
                         help="ids of files and tar members: path (default), name, tar's name / path")  # fmt: skip
    convert.add_argument("--skip-bad", action="store_true", help="leave out recordings with unreadable headers, listed")

    augment = actions.add_parser("augment", parents=[common], help="the same words in other conditions")
    augment.add_argument("source", help="any corpus")
    augment.add_argument("target", help="new data dir with the same ids; the recordings go into TARGET/audio")
    augment.add_argument("--stretch", type=float, default=1.0, metavar="X", help="X times as fast (needs librosa)")
    augment.add_argument("--pitch", type=float, default=0.0, metavar="N", help="N semitones up (needs librosa)")
    augment.add_argument("--reverb", type=float, default=0.0, metavar="S", help="rooms with this reverberation time")
    augment.add_argument("--noise", type=float, default=float("inf"), metavar="DB", help="signal-to-noise ratio")
    augment.add_argument("--telephone", choices=("none", "band", "alaw", "mulaw"), default="none",
                         help="a line of 300 to 3400 Hz at 8 kHz, in G.711 or as it is")  # fmt: skip
    augment.add_argument("--packet-loss", type=float, default=0.0, metavar="P", help="share of its packets (20 ms)")
    augment.add_argument("--noise-from", metavar="FILE", help="a recording of noise (default: white noise)")
    augment.add_argument("--rate", type=int, default=16_000, metavar="HZ", help="of what is written (default 16000)")
    augment.add_argument("--seed", type=int, default=0, help="of rooms and noise (default 0)")
    augment.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1; 0: none but this)")
    _phones.add_actions(actions, common)

    pseudo = actions.add_parser("pseudo", parents=[common], help="texts of a recogniser to learn from (self-training)")
    pseudo.add_argument("source", help="corpus that was transcribed, its own texts not looked at")
    pseudo.add_argument("target", help="new folder: data/ (Kaldi), labels.tsv (each with its reason), report.json")
    pseudo.add_argument("--transcripts", required=True, metavar="FILE", help="of speechssl transcribe --format json")
    pseudo.add_argument("--labelled", required=True, metavar="DATA", help="corpus with texts, for rates of speech")
    pseudo.add_argument("--keep", type=float, default=1.0, metavar="S", help="share that is kept, the surest (1)")
    pseudo.add_argument("--least", type=float, default=float("-inf"), metavar="C",
                        help="confidence, log probability a symbol, below which none is kept")  # fmt: skip
    pseudo.add_argument("--deviations", type=float, default=3.0, metavar="D",
                        help="of log characters a second from the labelled mean, at most (3)")  # fmt: skip
    pseudo.add_argument("--truth", metavar="DATA", help="corpus with true texts: error rates in the report, no more")


def run(args: argparse.Namespace) -> int:
    """Do one action; the exit code."""
    actions = {"check": _check, "fix": _fix, "subset": _subset, "split": _split, "convert": _convert,
               "augment": _augment, "pseudo": _pseudo, "phones": _phones.phones, "lexicon": _phones.lexicon,
               "phone-map": _phones.phone_map, "rename-phones": _phones.rename_phones}  # fmt: skip
    result, lines, code = actions[args.action](args)
    if args.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print("\n".join(lines))
    return code


def _check(args: argparse.Namespace) -> tuple[dict[str, Any], list[str], int]:
    from dataclasses import asdict

    from speechssl.data.corpus import check_recordings, open_corpus
    from speechssl.data.kaldi_check import check_dir
    from speechssl.data.kaldi_dir import Problem, is_data_dir

    if is_data_dir(args.source):
        problems = check_dir(args.source, allow_pipes=args.allow_pipes, audio=args.audio)
        count = None
    else:
        corpus = open_corpus(args.source, allow_pipes=args.allow_pipes, allow_remote=args.allow_remote)
        problems = [Problem(args.source, 0, text, is_error=False) for text in corpus.problems]
        if args.audio:
            faults = check_recordings(corpus, allow_pipes=args.allow_pipes, allow_remote=args.allow_remote)
            problems += [Problem(args.source, 0, f"{key!r}: {error.code}: {error}") for key, error in faults]
        count = len(corpus)
    num_errors = sum(problem.is_error for problem in problems)
    summary = f"{num_errors} problems, {len(problems) - num_errors} warnings"
    if count is not None:
        summary = f"{count} utterances: {summary}"
    result = {"num_errors": num_errors, "problems": [asdict(problem) for problem in problems], "num_utterances": count}
    return result, [*map(str, problems), f"{args.source}: {summary}"], int(num_errors > 0)


def _fix(args: argparse.Namespace) -> tuple[dict[str, Any], list[str], int]:
    from dataclasses import asdict

    from speechssl.data.kaldi_edit import fix_dir

    report = fix_dir(args.source, args.target)
    lines = [f"{p} (dropped)" if "dropped" not in p.message else str(p) for p in report.dropped]
    lines.append(
        f"{args.target or args.source}: {report.num_utterances} utterances kept, {len(report.dropped)} lines dropped, "
        f"files changed: {' '.join(report.changed) or 'none'}"
    )
    if report.backup:
        lines.append(f"the files as they were: {report.backup}")
    return asdict(report), lines, int(bool(report.dropped))


def _subset(args: argparse.Namespace) -> tuple[dict[str, Any], list[str], int]:
    from speechssl.data.kaldi_part import Selection, subset_dir

    selection = Selection(args.utt_list, args.speakers, args.per_speaker, args.first, args.last, args.num,
                          args.max_duration, args.seed)  # fmt: skip
    count = subset_dir(args.source, args.target, selection)
    return {"num_utterances": count}, [f"{args.target}: {count} utterances"], 0


def _split(args: argparse.Namespace) -> tuple[dict[str, Any], list[str], int]:
    from speechssl.data.kaldi_part import split_dir

    counts = split_dir(args.source, args.target, args.num_parts, by=args.by)
    lines = [f"{args.target}/{index + 1}: {count} utterances" for index, count in enumerate(counts)]
    return {"num_utterances": counts}, lines, 0


def _convert(args: argparse.Namespace) -> tuple[dict[str, Any], list[str], int]:
    from pathlib import Path

    from speechssl.data.corpus import check_recordings, open_corpus
    from speechssl.data.export import write_corpus
    from speechssl.errors import DataError

    kind = args.to or _SUFFIX_KINDS.get(Path(args.target).suffix)
    if kind is None:
        raise DataError(f"{args.target}: add --to kaldi, espnet, tsv, jsonl or lhotse")
    corpus = open_corpus(
        args.source, kind=args.kind, allow_pipes=args.allow_pipes, allow_remote=args.allow_remote, id_from=args.id_from
    )
    notes, skipped = list(corpus.problems), []
    utterances: Sequence[Utterance] = corpus.utterances
    if args.skip_bad:
        faults = dict(check_recordings(corpus, allow_pipes=args.allow_pipes, allow_remote=args.allow_remote))
        skipped = [{"id": key, "code": error.code, "message": str(error)} for key, error in faults.items()]
        utterances = [utterance for utterance in utterances if utterance.id not in faults]
        if not utterances:
            raise DataError(f"{args.source}: no recording can be read; the first: {skipped[0]['message']}")
    notes += write_corpus(utterances, args.target, kind, allow_pipes=args.allow_pipes)
    result = {"num_utterances": len(utterances), "format": kind, "notes": notes, "skipped": skipped}
    lines = [*notes, *(f"skipped {s['id']!r}: {s['code']}: {s['message']}" for s in skipped)]
    return result, [*lines, f"{args.target}: {len(utterances)} utterances as {kind}"], int(bool(skipped))


def _augment(args: argparse.Namespace) -> tuple[dict[str, Any], list[str], int]:
    import dataclasses
    from pathlib import Path

    from speechssl import audio
    from speechssl.audio.augment import Augmentation
    from speechssl.data.augmented import write_augmented
    from speechssl.data.corpus import open_corpus
    from speechssl.errors import ConfigError

    settings = Augmentation(args.stretch, args.pitch, args.reverb, args.noise, args.telephone, args.packet_loss)
    if settings == Augmentation():
        raise ConfigError("say what to do: --stretch, --pitch, --reverb, --noise, --telephone")
    if args.noise_from and args.noise == float("inf"):
        raise ConfigError("--noise-from has no effect without --noise")
    corpus = open_corpus(args.source, allow_pipes=args.allow_pipes, allow_remote=args.allow_remote)
    noise = audio.read(args.noise_from, sample_rate=args.rate).samples if args.noise_from else None
    notes, failed = write_augmented(corpus.utterances, Path(args.target), settings, sample_rate=args.rate,
                                    seed=args.seed, noise=noise, workers=args.workers)  # fmt: skip
    skipped = [{"id": key, "code": error.code, "message": str(error)} for key, error in failed]
    notes = [*corpus.problems, *notes]
    done = len(corpus.utterances) - len(skipped)
    result = {"num_utterances": done, **dataclasses.asdict(settings), "notes": notes, "skipped": skipped}
    result["snr_db"] = None if args.noise == float("inf") else args.noise
    lines = [*notes, *(f"skipped {s['id']!r}: {s['code']}: {s['message']}" for s in skipped)]
    return result, [*lines, f"{args.target}: {done} utterances"], int(bool(skipped))


def _pseudo(args: argparse.Namespace) -> tuple[dict[str, Any], list[str], int]:
    from pathlib import Path

    from speechssl.data import pseudo_labels
    from speechssl.data.corpus import open_corpus
    from speechssl.data.pseudo_files import labelled_texts, write_pseudo_labels

    rules = pseudo_labels.Rules(args.keep, args.least, args.deviations)
    allowed = {"allow_pipes": args.allow_pipes, "allow_remote": args.allow_remote}
    corpus = open_corpus(args.source, **allowed)
    limits = pseudo_labels.rate_limits(labelled_texts(open_corpus(args.labelled, **allowed), **allowed), rules)
    truths = None
    if args.truth is not None:
        truths = {u.id: u.text or "" for u in open_corpus(args.truth, **allowed).utterances}
    labels = pseudo_labels.read_transcripts(Path(args.transcripts))
    told = write_pseudo_labels(corpus, labels, Path(args.target), rules, limits, truths)
    lines = [*corpus.problems, f"{limits[0]:.2f} to {limits[1]:.2f} characters a second"]
    for name, row in told["labels"].items():
        errors = f", CER {row['cer']}, WER {row['wer']}" if "cer" in row else ""
        lines.append(f"{name}: {row['utterances']} utterances, {row['hours']:.2f} h{errors}")
    return told, lines, 0

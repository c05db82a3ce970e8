#!/usr/bin/env python3
"""LibriSpeech to a Kaldi data dir: wav.scp, utt2spk, spk2utt, text (where transcripts are there), align/phones.tsv.

    prepare_data.py SUBSET... OUT [--alignments PATH]

Each SUBSET is a folder like LibriSpeech/dev-clean: SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac beside *.trans.txt.
Ids are the file names, the speaker is the id's first field, as LibriSpeech's README defines them. Alignments are
anything `speechssl score` reads (a folder of TextGrids, jsonl, ctm, tsv); they may cover more or fewer utterances.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

AUDIO = {".flac", ".wav", ".opus", ".ogg"}


def main() -> int:
    """Write one data dir."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subsets", type=Path, nargs="+", metavar="SUBSET")
    parser.add_argument("out", type=Path)
    parser.add_argument("--alignments", type=Path, help="phone alignments; vowels lose their stress mark (AH0 -> AH)")
    args = parser.parse_args()
    audio: dict[str, Path] = {}
    for subset in args.subsets:
        if not subset.is_dir():
            return fail(f"{subset}: no such folder; run.sh --download true fetches the subsets of LibriSpeech")
        before = len(audio)
        for path in subset.rglob("*"):
            if path.suffix.lower() in AUDIO and audio.setdefault(path.stem, path) != path:
                return fail(f"two recordings of one utterance: {audio[path.stem]} and {path}")
        if len(audio) == before:
            return fail(f"{subset}: no recordings there ({', '.join(sorted(AUDIO))})")
    wrong = next((name for name in audio if name.count("-") != 2), None)
    if wrong is not None:
        return fail(f"{audio[wrong]}: not named SPEAKER-CHAPTER-UTTERANCE as in LibriSpeech")
    ids = sorted(audio)  # ASCII by definition: the order of LC_ALL=C
    speakers: dict[str, list[str]] = defaultdict(list)
    for name in ids:
        speakers[name.partition("-")[0]].append(name)
    text = {name: words for subset in args.subsets for name, words in transcripts(subset).items()}
    files = {
        "wav.scp": [f"{name} {audio[name].resolve()}" for name in ids],
        "utt2spk": [f"{name} {name.partition('-')[0]}" for name in ids],
        "spk2utt": [f"{speaker} {' '.join(names)}" for speaker, names in sorted(speakers.items())],
    }
    if text:
        files["text"] = [f"{name} {text[name]}" for name in ids if name in text]
    args.out.mkdir(parents=True, exist_ok=True)
    if args.alignments:
        files["align/phones.tsv"] = phone_lines(args.alignments, ids)
        (args.out / "align").mkdir(exist_ok=True)
    for name, lines in files.items():
        (args.out / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    print(f"  {args.out}: {len(ids)} utterances, {len(speakers)} speakers, {len(files.get('text', []))} transcripts")
    return 0


def transcripts(subset: Path) -> dict[str, str]:
    """Utterance -> words, from every *.trans.txt."""
    lines = (line for path in subset.rglob("*.trans.txt") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: words for name, _, words in (line.partition(" ") for line in lines) if name}


def phone_lines(path: Path, ids: list[str]) -> list[str]:
    """Lines of phones.tsv for those of the utterances that have an alignment."""
    from speechssl.metrics.alignments import read_alignments

    alignments = read_alignments(path)
    labels = [label[:-1] if label[:-1].isalpha() and label[-1] in "012" else label for label in alignments.labels]
    lines = ["utt_id\tstart_s\tend_s\tlabel"]
    scale = 1 / (alignments.rate_hz or 1)
    for name in (name for name in ids if name in alignments):
        for start, end, label in zip(*alignments.runs[name], strict=True):
            lines.append(f"{name}\t{start * scale:.4f}\t{end * scale:.4f}\t{labels[label]}")
    return lines


def fail(message: str) -> int:
    """Say what is wrong."""
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

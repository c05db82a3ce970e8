#!/usr/bin/env python3
"""Mboshi to Kaldi data dirs: data/{train,dev} with wav.scp, utt2spk, spk2utt, text, translation, align/phones.tsv.

Reads CORPUS/utterances.tsv (utt_id, split, speaker, mboshi, french), CORPUS/phones.tsv.gz (utt_id, start_s, end_s,
label) and checks that CORPUS/{train,dev}/UTT_ID.opus (or .wav, .flac) is there. phones.tsv keeps the alignments of the
utterances of its own split; Mboshi has none for some 500 utterances, which stay in the data.
"""

import argparse
import csv
import gzip
import sys
from collections import defaultdict
from pathlib import Path

AUDIO = (".opus", ".wav", ".flac")


def main() -> int:
    """Write the data dirs of both splits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path, help="the folder for train/ and dev/")
    parser.add_argument("--limit", type=int, default=0, help="at most so many utterances per split (0: all)")
    args = parser.parse_args()
    table = args.corpus / "utterances.tsv"
    if not table.is_file():
        print(f"{table}: no such file; --corpus must name the Mboshi folder", file=sys.stderr)
        return 2
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    with gzip.open(args.corpus / "phones.tsv.gz", "rt", encoding="utf-8") as file:
        header = next(file)
        phones = defaultdict(list)
        for line in file:
            phones[line.partition("\t")[0]].append(line)
    for split in ("train", "dev"):
        own = sorted((row for row in rows if row["split"] == split), key=lambda row: row["utt_id"].encode())
        own = own[:: max(1, len(own) // args.limit)][: args.limit] if args.limit else own  # spread over the speakers
        write(args.out / split, args.corpus / split, own, header, phones)
    return 0


def write(folder: Path, audio: Path, rows: list[dict[str, str]], header: str, phones: dict[str, list[str]]) -> None:
    """One data dir, every file sorted by id in C order as Kaldi wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [row["utt_id"] for row in rows]
    speakers = defaultdict(list)
    for row in rows:
        speakers[row["speaker"]].append(row["utt_id"])
    files = {
        "wav.scp": [f"{name} {find_audio(audio, name)}" for name in ids],
        "utt2spk": [f"{row['utt_id']} {row['speaker']}" for row in rows],
        "spk2utt": [f"{speaker} {' '.join(names)}" for speaker, names in sorted(speakers.items())],
        "text": [f"{row['utt_id']} {row['mboshi']}" for row in rows],
        "translation": [f"{row['utt_id']} {row['french']}" for row in rows],
    }
    for name, lines in files.items():
        (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    aligned = [name for name in ids if name in phones]
    text = header + "".join(line for name in aligned for line in phones[name])
    (folder / "align").mkdir(exist_ok=True)  # many lines for one utterance: no table of a Kaldi data dir
    (folder / "align" / "phones.tsv").write_text(text, encoding="utf-8")
    print(f"  {folder}: {len(ids)} utterances, {len(speakers)} speakers, {len(aligned)} with phone alignments")


def find_audio(folder: Path, name: str) -> Path:
    """The recording of an utterance."""
    for suffix in AUDIO:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path.resolve()
    raise SystemExit(f"{folder}: no recording of utterance {name} ({', '.join(AUDIO)})")


if __name__ == "__main__":
    sys.exit(main())

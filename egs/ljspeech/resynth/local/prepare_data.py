#!/usr/bin/env python3
"""LJSpeech 1.1 (public domain, one English voice, 24 h) to Kaldi data dirs: train, valid and test, drawn by a hash.

prepare_data.py --corpus DIR [--valid 100] [--test 500] [--limit N] OUT

DIR is LJSpeech-1.1: metadata.csv (`id|text|text with numbers spelled out`) and wavs/ID.wav at 22.05 kHz. Texts are the
third column. OUT/{train,valid,test} get wav.scp, text, utt2spk, spk2utt and utt2dur, OUT/audio the recordings as 16 kHz
WAV, at which the units are. A line of the table without a recording is an error.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import Row
from sentences import main


def find(corpus: Path) -> tuple[list[Row], dict[str, str]]:
    """Recordings, and texts by their names."""
    lines = (corpus / "metadata.csv").read_text(encoding="utf-8").splitlines()
    columns = [line.split("|") for line in lines if line]
    rows = [Row(path.stem, path, "lj", "en") for path in sorted(corpus.glob("wavs/*.wav"))]
    return rows, {name: texts[-1] for name, *texts in columns}


if __name__ == "__main__":
    sys.exit(main(find, __doc__, table="metadata.csv", corpus="LJSpeech-1.1", valid=100, test=500))

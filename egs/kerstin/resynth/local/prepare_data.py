#!/usr/bin/env python3
"""Kerstin's German sentences (CC0) to Kaldi data dirs: train, valid and test, drawn by a hash of the utterance's id.

prepare_data.py --corpus DIR [--valid 20] [--test 40] [--limit N] OUT

DIR has metadata.csv (`id|text`) and verified/ID.opus. OUT/{train,valid,test} get wav.scp, text, utt2spk, spk2utt and
utt2dur, OUT/audio the recordings as 16 kHz WAV. A line of the table without a recording is an error.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import Row, kerstin
from sentences import main


def find(corpus: Path) -> tuple[list[Row], dict[str, str]]:
    """Recordings, and texts by their names."""
    lines = (corpus / "metadata.csv").read_text(encoding="utf-8").splitlines()
    return list(kerstin(corpus)), {name: text for name, _, text in (line.partition("|") for line in lines if line)}


if __name__ == "__main__":
    sys.exit(main(find, __doc__, table="metadata.csv", corpus="Kerstin's corpus", valid=20, test=40))

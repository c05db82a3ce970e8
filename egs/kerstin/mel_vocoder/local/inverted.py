#!/usr/bin/env python3
"""Recordings by Griffin-Lim of the mels that a mel vocoder takes: the floor, of the same mels.

inverted.py DATA VOCODER OUT

OUT is a data dir. Of every recording whole hops, as of `speechssl resynth --mel-vocoder`.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from kaldi_dir import write_speech

from speechssl import load_mel_vocoder
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.vocoders import griffin_lim


def main(arguments: list[str] | None = None) -> int:
    """Write the data dir."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("vocoder", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args(arguments)
    vocoder = load_mel_vocoder(args.vocoder)
    speech = ((utterance.id, read_utterance(utterance, sample_rate=vocoder.sample_rate).samples)
              for utterance in open_corpus(args.data).utterances)  # fmt: skip
    mels = vocoder.module.config.mels
    made = ((name, griffin_lim.waveform(vocoder.mels(samples).numpy(), mels)) for name, samples in speech)
    write_speech(args.out, made, vocoder.sample_rate, "griffin-lim")
    return 0


if __name__ == "__main__":
    sys.exit(main())

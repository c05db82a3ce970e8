#!/usr/bin/env python3
"""Recordings by Griffin-Lim of the mels that a mel vocoder takes: the floor, of the same mels.

inverted.py DATA VOCODER OUT

OUT is a data dir. Of every recording whole hops, as of `speechssl resynth --mel-vocoder`.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from kaldi_dir import write_dir

from speechssl import load_mel_vocoder
from speechssl.audio import write as write_audio
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
    (args.out / "audio").mkdir(parents=True, exist_ok=True)
    paths = {}
    for number, utterance in enumerate(open_corpus(args.data).utterances):
        samples = read_utterance(utterance, sample_rate=vocoder.sample_rate).samples
        wav = griffin_lim.waveform(vocoder.mels(samples).numpy(), vocoder.module.config.mels)
        paths[utterance.id] = (args.out / "audio" / f"{number:06}.wav").resolve()
        write_audio(paths[utterance.id], wav, vocoder.sample_rate)
    write_dir(args.out, paths, dict.fromkeys(paths, "griffin-lim"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

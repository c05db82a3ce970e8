#!/usr/bin/env python3
"""What a mel spectrogram alone gives back, by Griffin and Lim: the floor of every vocoder that makes waveforms.

griffin_lim.py DATA OUT [--iterations 60]

Of every recording of a data dir the magnitudes of 80 mel bands (1,024 samples, a quarter of it apart), inverted by
non-negative least squares, and phases by Griffin-Lim with momentum (librosa). OUT is a data dir. Phases start at random
from seed 0.
"""

import argparse
import sys
from pathlib import Path

import librosa
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kaldi_dir import write_speech

from speechssl.data.corpus import open_corpus, read_utterance

RATE, FFT = 16_000, 1024


def main() -> int:
    """Write the data dir."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--iterations", type=int, default=60)
    args = parser.parse_args()
    speech = ((utterance.id, read_utterance(utterance, sample_rate=RATE).samples)
              for utterance in open_corpus(args.data).utterances)  # fmt: skip
    made = ((name, inverted(samples, args.iterations)) for name, samples in speech)
    write_speech(args.out, made, RATE, "griffin-lim")
    return 0


def inverted(samples: np.ndarray, iterations: int) -> np.ndarray:
    """Samples [S] of the mels of samples [S]."""
    mels = librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=FFT, hop_length=FFT // 4, n_mels=80, power=1.0)
    magnitudes = librosa.feature.inverse.mel_to_stft(mels, sr=RATE, n_fft=FFT, power=1.0)
    return librosa.griffinlim(magnitudes, n_iter=iterations, hop_length=FFT // 4, n_fft=FFT, length=len(samples),
                              random_state=0).clip(-1, 1)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

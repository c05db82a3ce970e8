#!/usr/bin/env python3
"""Mels that a decoder makes of recordings' units, beside the recordings' own: L1, variance, sharpness.

mel_scores.py DATA DECODER OUT.json [--steps 16] [--guidance 0] [--seed 0] [--units default]

DATA is a data dir. With --inverted FOLDER the recordings' own mels, by Griffin-Lim, become a data dir: what is lost
behind every decoder of such mels.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from kaldi_dir import write_speech

from speechssl import load_mel_decoder, load_unit_model
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.metrics.mel import compare
from speechssl.units.mel_decoder import TrainedMelDecoder
from speechssl.vocoders import griffin_lim
from speechssl.vocoders.mel_decoder import Sampling


def main(arguments: list[str] | None = None) -> int:
    """Write the JSON object, and the data dir."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("decoder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--units", default="default", help="unit model")
    parser.add_argument("--inverted", type=Path)
    args = parser.parse_args(arguments)
    decoder, model = load_mel_decoder(args.decoder), load_unit_model(args.units)
    decoder.check(model.hash)
    sampling = Sampling(steps=args.steps, guidance=args.guidance, seed=args.seed)
    pairs = {}
    for utterance in open_corpus(args.data).utterances:
        wav = read_utterance(utterance, sample_rate=model.sample_rate).samples
        made = decoder(decoder.hear(model, wav), sampling=sampling).numpy()
        pairs[utterance.id] = (own_mel(decoder, wav, len(made) // decoder.module.config.frames_per_unit), made)
    scores = asdict(compare(list(pairs.values())))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    if args.inverted is not None:
        config = decoder.module.config
        made = ((name, griffin_lim.waveform(real, config)) for name, (real, _) in pairs.items())
        write_speech(args.inverted, made, config.sample_rate, "griffin-lim")
    return 0


def own_mel(decoder: TrainedMelDecoder, wav: np.ndarray, frames: int) -> np.ndarray:
    """Log mels [T, M] of samples [S] in step with so many units."""
    module = decoder.module
    patches = module.patches(torch.from_numpy(wav)[None], torch.tensor([len(wav)]), frames)
    return module.mels(patches)[0].numpy()


if __name__ == "__main__":
    sys.exit(main())

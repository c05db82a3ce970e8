"""What bf16 and int8 cost and gain on this machine: error of the features, units that stay the same, speed.

python tools/bench/precision.py --encoder hubert-base-ls960 --audio *.flac
python tools/bench/precision.py --encoder wavlm --threads 1             (random weights, synthetic audio)

Error is the mean over frames of |difference| / |features|; of spread: relative to how far frames lie from their mean,
which is what units depend on. With random weights all frames are much alike, the spread is small, and "same units" says
nothing about trained weights. Units are those of a k-means fitted on fp32 features. Speed is the best of several runs
over 10 s, everything included, relative to fp32 at the same number of threads.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from at_hand import add_arguments, codebook, encoder, layer_of, recording

from speechssl.encoders.pretrained import Pretrained


def seconds(pretrained: Pretrained, wav: torch.Tensor, layer: int, runs: int) -> float:
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        pretrained.features(wav, layer)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    exact = encoder(args)
    rate = exact.encoder.sample_rate
    cuts = recording(args, rate).split(10 * rate)
    layer = layer_of(args, exact)
    features = torch.cat([exact.features(cut, layer) for cut in cuts])
    units = codebook(features, args.units)
    expected = units.encode(features)
    fp32 = seconds(exact, cuts[0], layer, args.runs)
    print(f"{exact.card.name}, layer {layer}, {args.units} units, {args.threads} threads, torch {torch.__version__}")
    print("precision     error  of spread  same units  speed")
    print(f"fp32            0.0        0.0     100.00%   1.00x  ({len(cuts[0]) / rate / fp32:.1f} times real time)")
    for precision in ("bf16", "int8"):
        low = exact.with_precision(precision)
        ours = torch.cat([low.features(cut, layer) for cut in cuts])
        error = float(((ours - features).norm(dim=1) / features.norm(dim=1)).mean())
        spread = float((ours - features).norm() / (features - features.mean(0)).norm())
        same = float((units.encode(ours) == expected).float().mean())
        speed = fp32 / seconds(low, cuts[0], layer, args.runs)
        print(f"{precision:9s} {error:9.1e} {spread:10.1e} {same:11.2%}  {speed:5.2f}x", flush=True)


if __name__ == "__main__":
    main()

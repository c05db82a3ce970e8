#!/usr/bin/env python3
"""Features of one layer on a CPU, one utterance at a time: transformers, our plain module, our fast form.

    OMP_WAIT_POLICY=passive python tools/bench/encoder_cpu.py --threads 1
    OMP_WAIT_POLICY=passive python tools/bench/encoder_cpu.py --threads 2 --utterances 6
    python tools/bench/encoder_cpu.py --low           (bf16 and int8 too)

Random weights of the base size; lengths are quantiles of a log-normal law between 1 and 35 s. Every utterance is timed
by all in turn, `--repeats` times, and counts with its median; one run before is not counted. Wall time and CPU time
are both given: where other work shares the cores, CPU time is the fairer one. The same run measures what the machine
can do: products by MKL and by oneDNN, and the limit of its fused multiply-adds where there is a C compiler.
`transformers` computes all layers, as it always does; the others stop at the asked one.
"""

import argparse
import math
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from speechssl import encoders
from speechssl.encoders.pretrained import EncoderCard, Pretrained, best_kernel
from speechssl.nn.fast.encoder import FastEncoder
from speechssl.nn.fast.linear import PackedLinear

FMA = """
#include <stdio.h>
#include <time.h>
typedef float V __attribute__((vector_size(%(bytes)d)));
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DECLARE(i) V a##i = {i};
#define STEP(i) a##i = a##i * b + c; asm volatile("" : "+v"(a##i));
static double now(void) {
  struct timespec t; clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); return t.tv_sec + 1e-9 * t.tv_nsec;
}
int main(void) {
  double best = 1e9; V b = {0}, c = {0}; b += 0.999f; c += 0.001f;
  for (int r = 0; r < 20; r++) { ALL(DECLARE) double t = now();
    for (long k = 0; k < 3000000; k++) { ALL(STEP) }
    t = now() - t; if (t < best) best = t; }
  printf("%%f", 3e6 * 12 * %(bytes)d / 4 * 2 / best / 1e9);
}
"""


def fma_limit() -> float | None:
    """GFLOP/s of one core that does nothing but fused multiply-adds; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for width in (32, 64):  # AVX2, AVX-512
            source, program = Path(folder, "fma.c"), Path(folder, f"fma{width}")
            source.write_text(FMA % {"bytes": width})
            flags = ["-O3", "-march=native", "-ffp-contract=fast"]
            done = subprocess.run([compiler, *flags, source, "-o", program], capture_output=True)
            if done.returncode == 0:
                ran = subprocess.run([program], capture_output=True, text=True)
                rates += [float(ran.stdout)] if ran.returncode == 0 else []
    return max(rates, default=None)


def medians(contestants: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds of each, all in turn."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, work in contestants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            if repeat:
                spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: (statistics.median(w for w, _ in t), statistics.median(c for _, c in t)) for name, t in spent.items()}


def utterances(count: int, rate: int) -> list[Tensor]:
    """Noise of log-normal lengths: median 9 s, 1 to 35 s."""
    normal = statistics.NormalDist()
    quantiles = [math.exp(math.log(9) + 0.7 * normal.inv_cdf((i + 0.5) / count)) for i in range(count)]
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(round(min(35.0, max(1.0, s)) * rate), generator=generator) for s in quantiles]


def products(config: Any, num_samples: int, layer: int) -> float:
    """GFLOP of the textbook computation up to a layer (what the fast form saves is not taken off)."""
    total, rows, channels = 0.0, num_samples, 1
    for width, kernel, stride in config.conv_layers:
        rows = (rows - kernel) // stride + 1
        total += rows * width * channels * kernel
        channels = width
    dim = config.dim
    total += rows * dim * (channels + dim // config.pos_conv_groups * config.pos_conv_kernel * config.pos_conv_depth)
    total += layer * rows * (4 * dim * dim + 2 * dim * config.ffn_dim + 2 * rows * dim)
    return 2 * total / 1e9


def gemm_rates(repeats: int) -> None:
    print("products, GFLOP/s (wall, CPU)           MKL          oneDNN, packed")
    for rows, width, out in ((500, 768, 3072), (500, 3072, 768), (1600, 1024, 512)):
        x, weight, bias = torch.randn(rows, width), torch.randn(out, width), torch.randn(out)
        packed = PackedLinear(weight, bias)
        contestants: dict[str, Callable[[], object]] = {
            "mkl": lambda x=x, w=weight, b=bias: F.linear(x, w, b), "onednn": lambda x=x, p=packed: p(x),
        }  # fmt: skip
        work = 2e-9 * rows * width * out
        found = medians(contestants, 2 * repeats + 1)
        rates = "   ".join(f"{work / wall:6.1f} {work / cpu:6.1f}" for wall, cpu in found.values())
        print(f"  [{rows}, {width}] x [{width}, {out}]".ljust(34), rates, flush=True)


def parts(encoder: FastEncoder, wav: Tensor, layer: int, repeats: int) -> None:
    """Where the fast form's time goes."""
    conv, transformer = encoder._conv, encoder._transformer
    frames = conv(wav)
    x = encoder._project(frames)
    block = transformer._blocks[0]
    attention = block._attention
    query, key, value = attention._split(x)
    hidden = block._up.gelu(x)
    steps: dict[str, tuple[int, Callable[[], object]]] = {
        "whole": (1, lambda: encoder.layers(wav[None], upto=layer)),
        "convolutions": (1, lambda: conv(wav)),
        "projection": (1, lambda: encoder._project(frames)),
        "positions": (1, lambda: encoder._position(x)),
        "query, key, value, out": (layer, lambda: (attention._inputs(x), attention._out.plus(x, x))),
        "attention": (layer, lambda: F.scaled_dot_product_attention(query, key, value)),
        "feed-forward": (layer, lambda: (block._up.gelu(x), block._down.plus(hidden, x))),
        "norms": (layer, lambda: (block._ffn_norm(x), block._attention_norm(x))),
    }
    found = medians({name: step for name, (_, step) in steps.items()}, repeats)
    whole, known = found["whole"][1], 0.0
    print(f"parts of the fast form, {len(wav) / encoder.sample_rate:.1f} s of audio, CPU time")
    for name, (times, _) in steps.items():
        share = times * found[name][1] / whole
        known += share if name != "whole" else 0
        print(f"  {name:24s}{1e3 * times * found[name][1]:9.1f} ms {share:7.1%}")
    print(f"  {'rest':24s}{'':12s} {1 - known:7.1%}", flush=True)


def whole(contestants: dict[str, Callable[[Tensor], Tensor]], wavs: Sequence[Tensor], repeats: int,
          ) -> dict[str, tuple[float, float]]:  # fmt: skip
    totals = dict.fromkeys(contestants, (0.0, 0.0))
    for wav in wavs:
        found = medians({n: lambda c=c, wav=wav: c(wav) for n, c in contestants.items()}, repeats)
        totals = {name: (wall + found[name][0], cpu + found[name][1]) for name, (wall, cpu) in totals.items()}
    return totals


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("hubert", "wav2vec2", "wavlm"), default="hubert")
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--utterances", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--low", action="store_true", help="bf16 and int8 too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    name = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}[args.family]
    peer = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")()).eval()
    plain = Pretrained(encoders.build(args.family, {}).eval(), EncoderCard(args.family, {}))
    ours = plain.with_kernel("fast")
    wavs = utterances(args.utterances, plain.encoder.sample_rate)
    seconds = sum(map(len, wavs)) / plain.encoder.sample_rate
    contestants: dict[str, Callable[[Tensor], Tensor]] = {
        "transformers": lambda wav: peer(wav[None], output_hidden_states=True).hidden_states[args.layer],
        "plain": lambda wav: plain.features(wav, args.layer),
        "fast": lambda wav: ours.features(wav, args.layer),
    }
    for precision in ("bf16", "int8") if args.low else ():
        low = plain.with_precision(precision)
        contestants[precision] = lambda wav, low=low: low.features(wav, args.layer)
        if best_kernel(args.family, precision=precision, device="cpu") == "fast":
            fast = low.with_kernel("fast")
            contestants[f"fast {precision}"] = lambda wav, fast=fast: fast.features(wav, args.layer)

    core = fma_limit()
    limit = core * args.threads if core else None
    print(f"{args.family} base, layer {args.layer}, {len(wavs)} utterances, {seconds:.0f} s, {args.threads} threads")
    print(f"torch {torch.__version__}, transformers {transformers.__version__} ({peer.config._attn_implementation})")
    print(f"limit of fused multiply-adds: {f'{limit:.0f} GFLOP/s' if limit else 'not measured (no C compiler)'}")
    gemm_rates(args.repeats)
    work = sum(products(plain.encoder.config, len(wav), args.layer) for wav in wavs)
    totals = whole(contestants, wavs, args.repeats)
    print(f"textbook products up to layer {args.layer}: {work / seconds:.1f} GFLOP per second of audio")
    print("               ms per second of audio    times transformers    of the limit    error")
    print("                    wall      CPU           wall    CPU        wall    CPU")
    base = totals["transformers"]
    for name, (wall, cpu) in totals.items():
        shares = [f"{work / t / limit:7.1%}" if limit else "      -" for t in (wall, cpu / args.threads)]
        worst = ""
        if name not in ("transformers", "plain"):
            pairs = [(contestants[name](wav), contestants["plain"](wav)) for wav in (wavs[0], wavs[-1])]
            worst = f"{max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs):9.1e}"
        print(f"{name:14s} {1e3 * wall / seconds:9.1f} {1e3 * cpu / seconds:8.1f} {base[0] / wall:14.2f} "
              f"{base[1] / cpu:6.2f}     {shares[0]} {shares[1]} {worst}", flush=True)  # fmt: skip
    encoder = ours.encoder
    assert isinstance(encoder, FastEncoder)
    if args.family != "wavlm":  # its attention has biases on top
        parts(encoder, wavs[len(wavs) // 2], args.layer, args.repeats)


if __name__ == "__main__":
    main()

"""What the benches of encoders share: this machine's limits, the work of an encoder, utterances of mixed lengths."""

import math
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.nn.fast.linear import PackedLinear, available

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


def medians(
    contestants: dict[str, Callable[[], object]], repeats: int, warm: int = 1
) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds of each, all in turn, after `warm` rounds that do not count."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for repeat in range(repeats + warm):
        for name, work in contestants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat >= warm:
                spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: (statistics.median(w for w, _ in t), statistics.median(c for _, c in t)) for name, t in spent.items()}


def utterances(count: int, rate: int, median_s: float = 9.0) -> list[Tensor]:
    """Noise of log-normal lengths, 1 to 35 s, at the law's quantiles; in an order without meaning."""
    normal, generator = statistics.NormalDist(), torch.Generator().manual_seed(0)
    quantiles = [math.exp(math.log(median_s) + 0.7 * normal.inv_cdf((i + 0.5) / count)) for i in range(count)]
    order = torch.randperm(count, generator=generator).tolist()
    lengths = [round(min(35.0, max(1.0, quantiles[i])) * rate) for i in order]
    return [0.1 * torch.randn(n, generator=generator) for n in lengths]


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


def print_cpu_rates(repeats: int) -> None:
    """What one product of matrices reaches here, by each library and dtype."""
    low = available(torch.bfloat16)
    print("products, GFLOP/s of CPU time             MKL   oneDNN, packed" + ("   bfloat16" if low else ""))
    for rows, width, out in ((500, 768, 3072), (500, 3072, 768), (1600, 1024, 512)):
        x, weight, bias = torch.randn(rows, width), torch.randn(out, width), torch.randn(out)
        packed = PackedLinear(weight, bias)
        contestants: dict[str, Callable[[], object]] = {
            "mkl": lambda x=x, w=weight, b=bias: F.linear(x, w, b), "onednn": lambda x=x, p=packed: p(x),
        }  # fmt: skip
        if low:
            half = PackedLinear(weight, bias, torch.bfloat16)
            rounded = x.bfloat16()
            contestants["bf16"] = lambda x=rounded, p=half: p(x)
        found = medians(contestants, 2 * repeats + 1)
        rates = "   ".join(f"{2e-9 * rows * width * out / cpu:10.1f}" for _, cpu in found.values())
        print(f"  [{rows}, {width}] x [{width}, {out}]".ljust(34), rates, flush=True)


def device_rate(device: str, dtype: torch.dtype, size: int = 8192) -> float:
    """GFLOP/s of one large product of matrices on a device."""
    x = torch.randn(size, size, device=device).to(dtype)
    wall, _ = medians({"": lambda: x @ x}, 5)[""]
    return 2e-9 * size**3 / wall

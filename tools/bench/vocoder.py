#!/usr/bin/env python3
"""HiFi-GAN's generator on a CPU: ours, plain and fast, beside transformers' SpeechT5HifiGan with the same weights.

    pip install openvino onnx                                         # without them the library's rows are left out
    OMP_NUM_THREADS=1 python tools/bench/vocoder.py [--seconds 4] [--rounds 9]

Random weights, noise as mels (80 bands, a hop of 256 samples at 16 kHz: SpeechT5's sizes, HiFi-GAN V1's with another
upsampling), one thread; each in a process of its own, all in turn in a round, medians of CPU time. In one process for
all, what the others leave of the heap saves whoever allocates most up to a quarter of its time (page faults), as
GLIBC_TUNABLES do: see docs/vocoders.md. Error is the largest difference of a sample from transformers', of the largest.
"""

import argparse
import importlib.util
import io
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from speechssl.nn.fast import wave
from speechssl.nn.wave_generator import WaveGenerator


def pair() -> tuple[nn.Module, WaveGenerator]:
    """transformers' generator and ours with the same weights."""
    config = SpeechT5HifiGanConfig(normalize_before=False)
    torch.manual_seed(0)
    theirs = SpeechT5HifiGan(config).eval()
    ours = WaveGenerator(config.model_in_dim, channels=config.upsample_initial_channel, strides=config.upsample_rates,
                         up_kernels=config.upsample_kernel_sizes, kernels=config.resblock_kernel_sizes,
                         dilations=config.resblock_dilation_sizes[0], last_kernel=None, kind="leaky_relu")  # fmt: skip
    branches, tensors = len(config.resblock_kernel_sizes), {}
    for name, tensor in theirs.state_dict().items():
        if name in ("mean", "scale"):
            continue
        name = name.replace("conv_pre", "first").replace("conv_post", "last")
        name = re.sub(r"upsampler\.(\d+)", r"blocks.\1.1", name)
        if found := re.fullmatch(r"resblocks\.(\d+)\.convs([12])\.(\d+)\.(\w+)", name):
            block, branch = divmod(int(found[1]), branches)
            part = "dilated" if found[2] == "1" else "last"
            name = f"blocks.{block}.2.branches.{branch}.{found[3]}.{part}.{found[4]}"
        tensors[name] = tensor * 3 if name.endswith("weight") else tensor  # so that samples are not near zero
    ours.load_state_dict(tensors)
    theirs.load_state_dict({name: tensor * 3 if name.endswith("weight") else tensor
                            for name, tensor in theirs.state_dict().items()})  # fmt: skip
    ours.eval().activation = nn.LeakyReLU()  # as theirs before the last convolution
    return theirs, ours


def openvino(ours: WaveGenerator, mels: Tensor, precision: str) -> Callable[[], Tensor]:
    """The same through OpenVINO, by way of ONNX."""
    import openvino as ov

    encoded = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(ours, (mels,), encoded, input_names=["mels"], dynamo=False, opset_version=17)
    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(encoded.getvalue()), "CPU", settings)
    return lambda: torch.from_numpy(compiled([mels.numpy()])[0])


def contestants() -> list[str]:
    """Those that this machine can run."""
    names = ["transformers", "ours"]
    names += [
        f"ours, fast{ending}"
        for ending, dtype in (("", torch.float32), (", bf16", torch.bfloat16))
        if wave.available(dtype)
    ]
    if all(importlib.util.find_spec(package) for package in ("openvino", "onnx")):
        names += ["OpenVINO", "OpenVINO, bf16"]
    return names


def prepare(name: str, seconds: float) -> Callable[[], Tensor]:
    """What one contestant does in a round."""
    theirs, ours = pair()
    mels = torch.randn(1, round(seconds * 16_000 / ours.hop), 80, generator=torch.Generator().manual_seed(0))
    half = name.endswith("bf16")
    if name.startswith("OpenVINO"):
        return openvino(ours, mels, "bf16" if half else "f32")
    if name.startswith("ours, fast"):
        return partial(wave.FastWaveGenerator(ours, torch.bfloat16 if half else torch.float32), mels)
    return partial(theirs if name == "transformers" else ours, mels)


def work(name: str, seconds: float, samples: str) -> None:
    """A contestant's process: `samples` is what it made; then CPU seconds of one round for every line that comes in."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        make = prepare(name, seconds)
        torch.save(make().reshape(-1), samples)
        print("ready", flush=True)
        for _ in sys.stdin:
            started = time.process_time()
            make()
            print(time.process_time() - started, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of speech")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work[0], args.seconds, args.work[1])
    else:
        compare(args.seconds, args.rounds)


def compare(speech_s: float, rounds: int) -> None:
    """Prints each contestant's times and what they are beside transformers'."""
    names = contestants()
    with tempfile.TemporaryDirectory() as folder:
        made = {name: str(Path(folder, f"{number}.pt")) for number, name in enumerate(names)}
        command = [sys.executable, __file__, "--seconds", str(speech_s), "--work"]
        spent = in_turn({name: [*command, name, made[name]] for name in names}, rounds)
        samples = {name: torch.load(made[name], weights_only=True) for name in names}
    wanted, reference = samples["transformers"], median(spent["transformers"])
    print(f"{speech_s:g} s of speech; CPU seconds: least, median, most")
    for name, seconds in spent.items():
        cpu, error = median(seconds), float((samples[name] - wanted).abs().max() / wanted.abs().max())
        print(f"  {name:<16} {min(seconds):6.3f} {cpu:6.3f} {max(seconds):6.3f}  {speech_s / cpu:6.1f}x real time  "
              f"{reference / cpu:5.2f}x transformers  error {error:.1e}")  # fmt: skip


def in_turn(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every round but the first by each process."""
    running = {
        name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name, command in commands.items()
    }
    for name, process in running.items():
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{name} ended with {process.wait()}")
    spent: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds + 1):
        for name, process in running.items():
            process.stdin.write("\n")
            process.stdin.flush()
            spent[name].append(float(process.stdout.readline()))
    for process in running.values():
        process.stdin.close()
        process.wait()
    return {name: seconds[1:] for name, seconds in spent.items()}


if __name__ == "__main__":
    main()

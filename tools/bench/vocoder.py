#!/usr/bin/env python3
"""HiFi-GAN's generator on a CPU: ours, plain and fast, beside transformers' SpeechT5HifiGan with the same weights.

    pip install openvino onnx                                         # without them the library's rows are left out
    OMP_NUM_THREADS=1 python tools/bench/vocoder.py [--seconds 4] [--rounds 9]

Random weights, noise as mels (80 bands, a hop of 256 samples at 16 kHz: SpeechT5's sizes, HiFi-GAN V1's with another
upsampling), one thread; all in turn in a round, medians of this process's CPU time. Error is the largest difference of
a sample from transformers', of the largest sample.
"""

import argparse
import importlib.util
import io
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

sys.path.insert(0, str(Path(__file__).parent))
from machine import medians

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


def openvino(ours: WaveGenerator, mels: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The same through OpenVINO, by way of ONNX."""
    if importlib.util.find_spec("openvino") is None or importlib.util.find_spec("onnx") is None:
        return {}
    import openvino as ov

    encoded = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(ours, (mels,), encoded, input_names=["mels"], dynamo=False, opset_version=17)
    core, found = ov.Core(), {}
    for name, kind in (("OpenVINO", "f32"), ("OpenVINO bf16", "bf16")):
        model = core.read_model(encoded.getvalue())
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": 1})
        found[name] = lambda compiled=compiled: torch.from_numpy(compiled([mels.numpy()])[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of speech")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    theirs, ours = pair()
    mels = torch.randn(1, round(args.seconds * 16_000 / ours.hop), 80, generator=torch.Generator().manual_seed(0))
    contestants: dict[str, Callable[[], Tensor]] = {"transformers": lambda: theirs(mels), "ours": lambda: ours(mels)}
    for name, dtype in (("ours, fast", torch.float32), ("ours, fast, bf16", torch.bfloat16)):
        if wave.available(dtype):
            contestants[name] = partial(wave.FastWaveGenerator(ours, dtype), mels)
    contestants |= openvino(ours, mels)
    with torch.inference_mode():
        wanted = contestants["transformers"]().reshape(-1)
        errors = {name: float((work().reshape(-1) - wanted).abs().max() / wanted.abs().max())
                  for name, work in contestants.items()}  # fmt: skip
        spent = medians(contestants, args.rounds)
    reference = spent["transformers"][1]
    print(f"{args.seconds:g} s of speech, {sum(p.numel() for p in ours.parameters()) / 1e6:.1f} M parameters")
    for name, (_, cpu) in spent.items():
        print(f"  {name:<20} {cpu:7.3f} s of CPU  {args.seconds / cpu:6.1f}x real time  {reference / cpu:5.2f}x "
              f"transformers  error {errors[name]:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()

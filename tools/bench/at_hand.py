"""What the benches of encoders share: an encoder, a recording, units to compare by."""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechssl import audio, encoders
from speechssl.convert import load_encoder
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.quantizers.kmeans import KMeans


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", default="hubert", help="anything that load_encoder reads, or a family's name for "
                        "random weights of its default size (default: hubert)")  # fmt: skip
    parser.add_argument("--layer", type=int, help="default: three quarters up")
    parser.add_argument("--audio", type=Path, nargs="*", default=[], help="recordings, joined (default: synthesised)")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--sharpness", type=float, default=1.0, help="random weights only: multiplies the queries' and "
                        "keys' weights, so that attention is less even than freshly initialised ones give")  # fmt: skip


def encoder(args: argparse.Namespace) -> Pretrained:
    if args.encoder not in encoders.families():
        return load_encoder(args.encoder)
    torch.manual_seed(0)
    model = encoders.build(args.encoder, {}).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith(("attention.query.weight", "attention.key.weight")):
            parameter *= args.sharpness
    return Pretrained(model, EncoderCard(args.encoder, {}, name=f"{args.encoder}, random weights"))


def recording(args: argparse.Namespace, sample_rate: int) -> Tensor:
    """`args.seconds` of the joined files, or of something with syllables, pitch and pauses."""
    num_samples = round(args.seconds * sample_rate)
    if args.audio:
        wav = np.concatenate([audio.read(path, sample_rate=sample_rate).samples for path in args.audio])
        if len(wav) < num_samples:
            print(f"note: the recordings have {len(wav) / sample_rate:.0f} s only")
        return torch.from_numpy(wav[:num_samples])
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(num_samples) / sample_rate
    syllables = torch.rand(math.ceil(args.seconds * 4) + 1, 3, generator=generator)
    pitch, tone, level = syllables[(time * 4).long()].unbind(1)
    phase = (2 * math.pi / sample_rate * (80 + 150 * pitch)).cumsum(0)
    harmonics = sum(torch.sin(k * phase) / (1 + (k - 12 * tone).square()) for k in range(1, 25))
    noise = 0.05 * torch.randn(num_samples, generator=generator)
    return 0.1 * (level > 0.15) * (level * harmonics + noise) + 0.02 * noise


def codebook(features: Tensor, num_units: int) -> KMeans:
    """k-means of the features [T, C]."""
    import faiss

    kmeans = faiss.Kmeans(features.shape[1], num_units, niter=15, seed=0, min_points_per_centroid=1)
    kmeans.train(features.float().numpy())
    return KMeans(torch.from_numpy(kmeans.centroids))


def layer_of(args: argparse.Namespace, pretrained: Pretrained) -> int:
    return args.layer if args.layer is not None else round(0.75 * pretrained.encoder.num_layers)

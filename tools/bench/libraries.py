#!/usr/bin/env python3
"""Our fast form beside a library that makes encoders fast: OpenVINO, the same HuBERT base cut above one layer.

    pip install openvino
    OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 python tools/bench/libraries.py

Random weights, noise of log-normal lengths (median 9 s), one utterance at a time, one thread; all in turn in a round,
medians of this process's CPU time. Error is the largest difference from transformers in float32.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from machine import medians, utterances

from speechssl.convert import load_encoder


class Cut(nn.Module):
    """transformers' HuBERT up to a layer."""

    def __init__(self, model: nn.Module, layer: int) -> None:
        super().__init__()
        self.model = copy.copy(model)
        self.model._modules = {**model._modules, "encoder": copy.copy(model.encoder)}
        self.model.encoder._modules = {**model.encoder._modules, "layers": model.encoder.layers[:layer]}

    def forward(self, wav: Tensor) -> Tensor:
        return self.model(wav).last_hidden_state


def by_openvino(model: nn.Module, precision: str) -> Callable[[Tensor], Tensor]:
    """Compiled for one thread and any length. ImportError where it is not installed."""
    import openvino

    converted = openvino.convert_model(model, example_input=torch.zeros(1, 16_000), input=[(1, -1)])
    compiled = openvino.Core().compile_model(
        converted, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    )
    request = compiled.create_infer_request()
    return lambda wav: torch.from_numpy(request.infer({0: wav.numpy()})[0].copy())


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--utterances", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    peer = transformers.HubertModel(transformers.HubertConfig()).eval()
    cut = Cut(peer, args.layer).eval()
    with tempfile.TemporaryDirectory() as folder:
        peer.save_pretrained(folder)
        plain = load_encoder(folder, normalize=False)
    contestants: dict[str, Callable[[Tensor], Tensor]] = {"transformers, cut": cut}
    for precision, kind in (("fp32", "f32"), ("bf16", "bf16")):
        ours = plain.with_precision(precision).with_kernel("fast")
        contestants[f"ours, {precision}"] = lambda wav, ours=ours: ours.features(wav[0], args.layer)[None]
        try:
            contestants[f"OpenVINO, {precision}"] = by_openvino(cut, kind)
        except ImportError as error:
            print(f"OpenVINO takes no part: {error}")
    wavs = [wav[None] for wav in utterances(args.utterances, 16_000)]
    seconds = sum(wav.shape[1] for wav in wavs) / 16_000
    truth = [cut(wav) for wav in wavs]
    errors = {
        name: max(float((work(wav) - x).abs().max()) for wav, x in zip(wavs, truth, strict=True))
        for name, work in contestants.items()
    }
    found = medians(
        {name: lambda work=work: [work(wav) for wav in wavs] for name, work in contestants.items()}, args.rounds
    )
    base = found["transformers, cut"][1]
    print(f"layer {args.layer}, {len(wavs)} utterances, {seconds:.0f} s, medians of {args.rounds}")
    for name, (wall, cpu) in found.items():
        print(f"{name:18s} {1e3 * wall / seconds:7.1f} ms wall {1e3 * cpu / seconds:7.1f} ms CPU per s of audio "
              f"{base / cpu:5.2f} x   max error {errors[name]:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()

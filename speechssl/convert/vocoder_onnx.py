"""A unit vocoder as an ONNX graph, plain weights: units (and speaker, pitch) in, samples out, of any number of frames.

Inputs: ids [B, T] int64; speaker, [B] int64 or [B, E] float32, and pitch, [B, T] int64 or [B, T, P] float32, where the
vocoder has them. Output: wav [B, T * hop] float32.
"""

import importlib.util
import io
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.wave_generator import SpectralGenerator
from speechssl.vocoders.unit_vocoder import UnitVocoder

_OPSET = 17


class _Graph(nn.Module):
    """With inputs by place, of which some may not be there."""

    def __init__(self, vocoder: UnitVocoder, names: list[str]) -> None:
        super().__init__()
        self.vocoder, self.names = vocoder, names
        own = vocoder.generator
        self.generator = _Spectral(own) if isinstance(own, SpectralGenerator) else own

    def forward(self, *inputs: Tensor) -> Tensor:
        found = dict(zip(self.names, inputs, strict=True))
        return self.generator(self.vocoder.frames(found["ids"], found.get("speaker"), found.get("pitch")))


class _Spectral(nn.Module):
    """A spectral generator without complex numbers: the inverse transform is a product with cosines and sines.

    Frames are added by a transposed convolution whose kernel passes on each sample as it is.
    """

    identity: Tensor
    cosines: Tensor
    sines: Tensor
    squares: Tensor

    def __init__(self, generator: SpectralGenerator) -> None:
        super().__init__()
        self.own, length = generator, generator.window
        window = torch.hann_window(length)
        ones = torch.eye(length // 2 + 1, dtype=torch.complex128)  # a spectrum of one bin each
        self.register_buffer("cosines", (torch.fft.irfft(ones, n=length) * window).float())
        self.register_buffer("sines", (torch.fft.irfft(1j * ones, n=length) * window).float())
        self.register_buffer("squares", window.square()[None, None])
        self.register_buffer("identity", torch.eye(length)[:, None])

    def forward(self, frames: Tensor) -> Tensor:
        magnitude, phase = self.own.polar(frames)
        pieces = (magnitude * phase.cos()) @ self.cosines + (magnitude * phase.sin()) @ self.sines
        pieces, hop = pieces.transpose(1, 2), self.own.hop
        added = F.conv_transpose1d(pieces, self.identity, stride=hop).squeeze(1)
        weight = F.conv_transpose1d(torch.ones_like(pieces[:1, :1]), self.squares, stride=hop).squeeze(1)
        left = (self.own.window - hop) // 2
        return (added / weight.clamp_min(1e-8))[:, left : added.shape[1] - left]


def write(path: Path, vocoder: UnitVocoder) -> None:
    """Write the graph to a file. ConfigError without the package."""
    if importlib.util.find_spec("onnx") is None:
        raise ConfigError("writing ONNX needs the package: pip install 'speechssl[onnx]'")
    example = inputs(vocoder, frames=8)
    axes = {name: {0: "utterances", **({1: "frames"} if name != "speaker" else {})} for name in example}
    encoded = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter needs no compiler of graphs, and says it is old
        torch.onnx.export(
            _Graph(vocoder, list(example)).eval(), tuple(example.values()), encoded, input_names=list(example),
            output_names=["wav"], dynamic_axes={**axes, "wav": {0: "utterances", 1: "samples"}}, opset_version=_OPSET,
            dynamo=False,
        )  # fmt: skip
    path.write_bytes(encoded.getbuffer())


def inputs(vocoder: UnitVocoder, *, frames: int) -> dict[str, Tensor]:
    """Zeros for every input of the graph, one utterance."""
    config, found = vocoder.config, {"ids": torch.zeros(1, frames, dtype=torch.int64)}
    if config.speakers:
        found["speaker"] = torch.zeros(1, dtype=torch.int64)
    elif config.speaker_inputs:
        found["speaker"] = torch.zeros(1, config.speaker_inputs)
    if config.pitch_bins:
        found["pitch"] = torch.zeros(1, frames, dtype=torch.int64)
    elif config.pitch_channels:
        found["pitch"] = torch.zeros(1, frames, config.pitch_channels)
    return found

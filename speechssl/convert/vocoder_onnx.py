"""A unit vocoder as an ONNX graph, plain weights: units (and speaker, pitch) in, samples out, of any number of frames.

Inputs: ids [B, T] int64; speaker, [B] int64 or [B, E] float32, and pitch, [B, T] int64 or [B, T, P] float32, where the
vocoder has them. Output: wav [B, T * hop] float32.
"""

import importlib.util
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.wave_generator import WaveGenerator
from speechssl.vocoders.unit_vocoder import UnitVocoder

_OPSET = 17


class _Graph(nn.Module):
    """With inputs by place, of which some may not be there."""

    def __init__(self, vocoder: UnitVocoder, names: list[str]) -> None:
        super().__init__()
        self.vocoder, self.names = vocoder, names

    def forward(self, *inputs: Tensor) -> Tensor:
        found = dict(zip(self.names, inputs, strict=True))
        return self.vocoder(found["ids"], found.get("speaker"), pitch=found.get("pitch"))


def write(path: Path, vocoder: UnitVocoder) -> None:
    """Write the graph to a file. ConfigError for generators that ONNX has no operators for."""
    if not isinstance(vocoder.generator, WaveGenerator):
        raise ConfigError("an inverse STFT has no ONNX operator: only vocoders with a generator of kind wave export")
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

"""Less exact arithmetic for a trained encoder: bfloat16 under autocast, int8 in the linear layers. For inference only.

What this costs and gains on a machine is measured by `tools/bench/precision.py`.
"""

import copy
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conv import Moments
from speechssl.nn.transformer import Transformer
from speechssl.nn.windows import WholeRecording

Precision = Literal["fp32", "bf16", "int8"]


class LowPrecision(nn.Module):
    """An encoder whose calls run in less exact arithmetic and give float32; offers what the encoder offers."""

    def __init__(self, encoder: nn.Module, precision: Precision) -> None:
        """A converted copy of `encoder`, which stays as it is. ConfigError where `precision` would have no effect."""
        super().__init__()
        if not any(isinstance(module, Transformer) for module in encoder.modules()):
            raise ConfigError(f"precision={precision} has no effect on an encoder without a transformer: use fp32")
        for name in ("config", "sample_rate", "hop", "receptive_field", "dim", "num_layers"):
            setattr(self, name, getattr(encoder, name))
        self.precision = precision
        self.encoder = copy.deepcopy(encoder).float()
        convert = {"bf16": _round_weights, "int8": _quantize_linears}[precision]
        convert(self.encoder)

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As the encoder's."""
        with torch.autocast(wav.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            x, lengths = self.encoder(wav, lengths)
        return x.float(), lengths

    def layers(self, wav: Tensor, lengths: Tensor | None = None, **options: object) -> tuple[list[Tensor], Tensor]:
        """As the encoder's."""
        with torch.autocast(wav.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            layers, lengths = self.encoder.layers(wav, lengths, **options)
        return [layer.float() for layer in layers], lengths

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """As the encoder's."""
        return self.encoder.recording_moments(blocks) if isinstance(self.encoder, WholeRecording) else None

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """As the encoder's."""
        return self.encoder.frame_lengths(lengths)


class Int8Linear(nn.Module):
    """y = x W' + b with int8 products summed in int32.

    One scale per output channel of W and, at run time, one per row (frame) of x, both symmetric: the largest magnitude
    becomes 127. CPU only.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp_min(1e-12) / 127
        self.register_buffer("weight", (weight / scale.unsqueeze(1)).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] float32 to [..., out] float32."""
        rows = x.reshape(-1, x.shape[-1])
        scale = rows.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        products = torch._int_mm((rows / scale).round_().to(torch.int8), self.weight.T)
        y = products.float().mul_(scale).mul_(self.scale)
        if self.bias is not None:
            y += self.bias
        return y.unflatten(0, x.shape[:-1]) if x.ndim != 2 else y


def _round_weights(encoder: nn.Module) -> None:
    """Weights of linears and convolutions in bfloat16, ahead of autocast, which would round them at every call.

    Norms, softmax and the residual stream stay float32.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            module.to(torch.bfloat16)


def _quantize_linears(encoder: nn.Module) -> None:
    """The transformer's linears become `Int8Linear`, those with fewer than 16 outputs (WavLM's gate) excepted.

    Convolutions, norms, attention scores and the projection, through which all must pass, stay float32.
    """
    if any(parameter.device.type != "cpu" for parameter in encoder.parameters()):
        raise ConfigError("precision=int8 works on CPU only: use bf16 on an accelerator")
    for module in list(encoder.get_submodule("transformer").modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and child.out_features >= 16:
                setattr(module, name, Int8Linear(child))

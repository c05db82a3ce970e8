"""What the CPU at hand and this torch offer: oneDNN's operators, and instructions for bfloat16."""

import torch


def offered(*names: str, dtype: torch.dtype = torch.float32) -> bool:
    """Whether torch.ops.mkldnn has the operators of these names, and the CPU instructions for `dtype`."""
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return dtype != torch.bfloat16 or has_bf16()


def has_bf16() -> bool:
    """Whether products in bfloat16 are fast on this CPU; without AVX-512 they take many times as long as in float32."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is not None and bool(supported())


def slow_precision(device: str, precision: str) -> str | None:
    """What there is to say of computing in `precision` on a device of this type; None where nothing is wrong."""
    if device != "cpu" or precision != "bf16" or has_bf16():
        return None
    return "precision bf16: this CPU has no instructions for it, so that it takes many times as long as fp32"

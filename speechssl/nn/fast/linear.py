"""Linear maps through oneDNN with weights packed once, instead of through the BLAS that torch was built with.

oneDNN comes inside torch's wheels and picks its kernels by what the CPU offers; MKL, which `F.linear` calls, keeps to
AVX2 on CPUs that are not Intel's. The operators used here are those that torch's own compiler emits for a linear layer
with constant weights. They are reached by name and not documented, so `available` tries them and compares what they
give; without them nothing in this folder is used.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.nn.fast import operators

_OPERATORS = ("_linear_pointwise", "_reorder_linear_weight")


class PackedLinear:
    """x W' + b of rows x [N, in], which may be a strided view; CPU, no gradient. Not a module on purpose.

    Packed weights are opaque and would only get in the way of `state_dict` and `to`. In bfloat16 products are summed in
    float32 and then rounded.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype = torch.float32) -> None:
        """weight [out, in], bias [out]: copied."""
        self.dtype = dtype
        self.out_features, self.in_features = weight.shape
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous())
        self._bias = None if bias is None else bias.detach().to(dtype, copy=True)

    def __call__(self, x: Tensor) -> Tensor:
        """[N, out] of this dtype."""
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self._weight, self._bias, "none", [], "")

    def gelu(self, x: Tensor) -> Tensor:
        """GELU of the result [N, out], the exact one, in the same pass."""
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self._weight, self._bias, "gelu", [], "none")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The result plus other [N, out], of other's dtype; in the same pass where that is this dtype."""
        if other.dtype != self.dtype:
            return self(x).to(other.dtype).add_(other)  # a sum of two dtypes would take many times as long
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "add")


@cache
def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch, on this machine, has the operators and they do what is expected of them.

    For bfloat16 also whether the CPU has instructions for it: without them it would be slow.
    """
    if not operators.offered(*_OPERATORS, dtype=dtype):
        return False
    generator = torch.Generator().manual_seed(0)
    x, other = torch.randn(6, 64, generator=generator), torch.randn(3, 48, generator=generator)
    weight, bias = torch.randn(48, 32, generator=generator) / 8, torch.randn(48, generator=generator)
    rows = x.flatten().as_strided((3, 32), (24, 1), 5)  # overlapping rows, as the convolutions use
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):  # whoever asks first may be inside one
            expected = F.linear(rows, weight, bias)
            wanted = (expected, F.gelu(expected), expected + other)
            linear = PackedLinear(weight, bias, dtype)
            found = (linear(rows), linear.gelu(rows), linear.plus(rows, other))
    except (RuntimeError, TypeError, NotImplementedError):  # another signature, or no kernel for this CPU
        return False
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    return all(
        torch.allclose(a.float(), b, rtol=10 * tolerance, atol=tolerance) for a, b in zip(found, wanted, strict=True)
    )

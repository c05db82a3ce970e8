"""What the CPU offers, and what is said of a precision that it is slow in."""

import pytest
import torch

from speechssl.nn.fast import operators

NAME = "_is_mkldnn_bf16_supported"


@pytest.mark.parametrize("supported", [True, False])
def test_bf16_is_warned_of_on_a_cpu_without_instructions_for_it(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, NAME, lambda: supported, raising=False)
    said = operators.slow_precision("cpu", "bf16")
    assert said is None if supported else said is not None and "no instructions" in said
    assert operators.slow_precision("cuda", "bf16") is None and operators.slow_precision("cpu", "fp32") is None
    assert operators.offered(NAME, dtype=torch.bfloat16) == (supported and torch.backends.mkldnn.is_available())
    assert not operators.offered("no_such_operator")

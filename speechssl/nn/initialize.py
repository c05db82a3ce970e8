"""Fresh weights as wav2vec 2.0's code draws them, which the papers do not say and training depends on.

A module that knows better (a quantizer) has `draw_weights(generator)`, which has the last word.

Linear layers and embeddings as in BERT: normal with standard deviation 0.02, no bias. Convolutions over the waveform:
Kaiming normal. The positional convolution: normal with standard deviation sqrt(4 / (kernel * channels)).
differs: fairseq shrinks the last by the share that dropout leaves, sqrt(1 - dropout), 5 % with its default.
"""

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, nn

from speechssl.nn.conv import ConvStack
from speechssl.nn.positional import ConvPosition, ConvPositionLayer


@runtime_checkable
class DrawsWeights(Protocol):
    """A module with weights of its own kind."""

    def draw_weights(self, generator: Generator | None = None) -> None:
        """New weights for all parameters in it."""
        ...


@torch.no_grad()
def initialize(model: nn.Module, generator: Generator | None = None) -> None:
    """Draw new weights for every convolution, linear layer and embedding in `model`; norms are left as they are."""
    for module in model.modules():
        match module:
            case nn.Linear() | nn.Embedding():
                module.weight.normal_(0, 0.02, generator=generator)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    module.bias.zero_()
            case ConvStack():
                for layer in module.layers:
                    nn.init.kaiming_normal_(layer.conv.weight, generator=generator)
                    if layer.conv.bias is not None:
                        layer.conv.bias.zero_()
            case ConvPosition() | ConvPositionLayer():
                conv = module.conv
                std = math.sqrt(4 / (conv.kernel_size[0] * conv.in_channels))
                conv.weight.normal_(0, std, generator=generator)
                if conv.bias is not None:
                    conv.bias.zero_()
    for module in model.modules():
        if isinstance(module, DrawsWeights):
            module.draw_weights(generator)

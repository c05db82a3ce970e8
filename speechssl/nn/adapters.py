"""Adapters behind a transformer's blocks: small bottlenecks of one language each, on an encoder that all share (MMS,
arXiv:2305.13516, section 4.3, after Houlsby et al., arXiv:1902.00751).

differs: none; as `adapter_attn_dim` of wav2vec 2.0 in transformers. C channels, D of the bottleneck.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.speech_encoder import SpeechEncoder


class Adapter(nn.Module):
    """Norm, down to D, ReLU, up to C; gives what is added."""

    def __init__(self, dim: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.down = nn.Linear(dim, bottleneck)
        self.up = nn.Linear(bottleneck, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to the same."""
        return self.up(F.relu(self.down(self.norm(x))))


class AdaptedBlock(nn.Module):
    """A block with an adapter behind it; called as the block is."""

    def __init__(self, block: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.block, self.adapter = block, adapter

    def forward(
        self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None,
        branches: list[Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """[B, T, C] to the same."""
        x = self.block(x, keys, positions, branches)
        return x + self.adapter(x)


def add_adapters(encoder: SpeechEncoder, bottleneck: int) -> None:
    """Put a fresh adapter behind every block. ConfigError for post-norm encoders, whose blocks end with a norm."""
    if not encoder.transformer.norm_first or bottleneck < 1:
        raise ConfigError(f"adapters (of {bottleneck} channels) go behind pre-norm blocks")
    layers = encoder.transformer.layers
    for i, block in enumerate(layers):
        layers[i] = AdaptedBlock(block, Adapter(encoder.dim, bottleneck))


def bottleneck_of(encoder: nn.Module) -> int:
    """Channels of an encoder's adapters; 0 without."""
    found = (module.down.out_features for module in encoder.modules() if isinstance(module, Adapter))
    return next(found, 0)

"""vq-wav2vec (arXiv:1910.05453): wav2vec whose frames are quantized before they get their context, 100 Hz.

Layer 0 is the quantized z, layer 1 is c; `codes` gives the entries chosen, which BERT is trained on. Quantizers: Gumbel
softmax over the logits of a small network, or online k-means behind a projection with a group norm, which the released
code has (one group per codebook) and the paper does not mention. A norm of that kind leaves what all frames have in
common, so that they begin in a few entries and may end in one; `kmeans_norm="channel"` takes it away.

B utterances, S samples, T frames, C channels, G codebooks of V entries, N real frames of all utterances.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.causal import CausalConvStack
from speechssl.nn.causal_encoder import CausalEncoder
from speechssl.nn.conv import ConvStack, Moments, TimeNorm
from speechssl.nn.lengths import valid_mask
from speechssl.quantizers.gumbel import GumbelQuantizer, Quantized
from speechssl.quantizers.vq import Chosen, VectorQuantizer

_ENCODER = ((512, 10, 5), (512, 8, 4), *((512, 4, 2),) * 3)


@dataclass(frozen=True)
class Config:
    """Defaults: the paper's large model with Gumbel softmax. After each field: its name in fairseq's configs."""

    conv_layers: tuple[tuple[int, int, int], ...] = (*_ENCODER, *((512, 1, 1),) * 3)  # conv_feature_layers
    context_kernels: tuple[int, ...] = tuple(range(2, 14))  # conv_aggregator_layers
    context_bias: bool = True  # conv_bias of the aggregator
    context_zero_pad: bool = True  # agg_zero_pad
    skip: bool = True  # skip_connections_agg, with residual_scale 0.5
    log_compression: bool = True  # log_compression
    quantizer: Literal["gumbel", "kmeans"] = "gumbel"  # vq_type
    groups: int = 2  # vq_groups, G
    entries: int = 320  # vq_vars, V
    shared: bool = True  # combine_groups: one codebook for all groups
    depth: int = 2  # vq_depth, gumbel only: layers of the network that gives the logits
    kmeans_norm: Literal["group", "channel"] = "group"  # k-means only: over each codebook's channels, or each channel

    def __post_init__(self) -> None:
        """Refuse what cannot be built or would have no effect."""
        if not self.conv_layers or min(min(layer) for layer in self.conv_layers) < 1:
            raise ConfigError(f"conv_layers needs (channels, kernel, stride) triples >= 1, got {self.conv_layers}")
        if not self.context_kernels or min(self.context_kernels) < 1:
            raise ConfigError(f"context_kernels needs kernels >= 1, got {self.context_kernels}")
        if min(self.groups, self.depth) < 1 or self.entries < 2 or self.conv_layers[-1][0] % self.groups:
            raise ConfigError(f"{self.groups} codebooks of {self.entries} entries cannot share "
                              f"{self.conv_layers[-1][0]} channels evenly")  # fmt: skip
        if self.quantizer == "kmeans" and self.depth != 2:
            raise ConfigError(f'depth={self.depth} has no effect with quantizer="kmeans"')
        if self.quantizer == "gumbel" and self.kmeans_norm != "group":
            raise ConfigError(f'kmeans_norm="{self.kmeans_norm}" has no effect with quantizer="gumbel"')


@dataclass(frozen=True)
class Latent:
    """What quantization made of a batch."""

    z: Tensor  # [B, T, C] quantized, zeros behind an utterance's end
    inputs: Tensor  # [N, C] what the quantizer got
    quantized: Quantized | Chosen  # what it gave


class Model(CausalEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 100 a second."""

    def __init__(self, config: Config) -> None:
        conv = ConvStack(config.conv_layers, norm="single", activation=F.relu)
        network = CausalConvStack(conv.dim, config.context_kernels, skip=config.skip, bias=config.context_bias,
                                  zero_pad=config.context_zero_pad)  # fmt: skip
        super().__init__(config, conv, network, dim=conv.dim, log_compression=config.log_compression)
        self.project: nn.Conv1d | None = None
        self.project_norm: TimeNorm | None = None
        self.quantizer: nn.Module
        if config.quantizer == "gumbel":
            self.quantizer = GumbelQuantizer(
                conv.dim, conv.dim, entries=config.entries, groups=config.groups, shared=config.shared,
                depth=config.depth, factor=2, activation=nn.ReLU,
            )  # fmt: skip
        else:
            self.project = nn.Conv1d(conv.dim, conv.dim, 1, groups=config.groups, bias=False)
            self.project_norm = TimeNorm(conv.dim, groups=config.groups if config.kmeans_norm == "group" else None)
            self.quantizer = VectorQuantizer(conv.dim, entries=config.entries, groups=config.groups,
                                             shared=config.shared)  # fmt: skip

    def quantize(
        self, x: Tensor, lengths: Tensor, *, noise: Tensor | None = None, moments: Moments | None = None
    ) -> Latent:
        """Quantize the convolutions' x [B, T, C], of which lengths [B] frames are real.

        noise [N, G, V]: Gumbel noise for a draw. Without it the largest logit is taken, with the softmax's gradient.
        """
        valid = valid_mask(lengths, x.shape[1])
        if self.project is not None and self.project_norm is not None and x.shape[1]:
            first = len(self.conv.layers)  # norms before this one, of one group each
            mine = None if moments is None else moments.columns(first, first + self.project_norm.groups)
            x = self.project_norm(self.project(x.transpose(1, 2)), lengths, mine).transpose(1, 2)
        inputs = x[valid]
        if isinstance(self.quantizer, GumbelQuantizer):
            if noise is None and torch.is_grad_enabled():
                noise = torch.zeros(len(inputs), self._g, self.config.entries, device=x.device)
            quantized: Quantized | Chosen = self.quantizer(inputs, noise)
        else:
            quantized = self.quantizer(inputs)
        z = x.new_zeros(x.shape).masked_scatter(valid.unsqueeze(-1), quantized.vectors.to(x.dtype))
        return Latent(z, inputs, quantized)

    @property
    def _g(self) -> int:
        return int(self.config.groups)

    def latent(self, x: Tensor, lengths: Tensor, moments: Moments | None = None) -> Tensor:
        """z [B, T, C], quantized."""
        return self.quantize(x, lengths, moments=moments).z

    @torch.no_grad()
    def codes(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """Codes [B, T, G] int64 of wav [B, S], -1 behind an utterance's end, and the frame counts [B]."""
        x, counts = self.frontend(wav, lengths, moments=moments)
        found = self.quantize(x, counts, moments=moments).quantized.codes
        codes = found.new_full((*x.shape[:2], self._g), -1)
        codes[valid_mask(counts, x.shape[1])] = found
        return codes, counts


PRESETS = {
    "gumbel": Config(),
    "kmeans": Config(quantizer="kmeans"),
    # of the paper's ablations:
    "gumbel-small": Config(conv_layers=_ENCODER, context_kernels=(3,) * 7),
    "kmeans-small": Config(conv_layers=_ENCODER, context_kernels=(3,) * 7, quantizer="kmeans"),
}

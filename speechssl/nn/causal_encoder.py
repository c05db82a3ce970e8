"""The architecture of the autoregressive contrastive models, CPC and wav2vec: convolutions, a network over the past.

Layer 0 is z, what the convolutions give (in vq-wav2vec: quantized), layer 1 is c, the context. The families in
`speechssl.encoders` differ in their parts.

B utterances, S samples, T frames, C channels.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.causal import CausalConvStack, Recurrent
from speechssl.nn.conv import ConvStack, Moments, TimeNorm
from speechssl.nn.lengths import hop, receptive_field, valid_or_none, wav_lengths, zero_padding
from speechssl.nn.windows import Grid, RunningMoments

_WINDOW_SAMPLES = 1 << 20  # of a long recording at once, for its moments


class CausalEncoder(nn.Module):
    """Waveform to frames; see `speechssl.encoders.Encoder` for the contract.

    A family with something between convolutions and context overrides `latent`.
    log_compression: z becomes log(1 + |z|), as in the released large wav2vec and vq-wav2vec.
    """

    num_layers = 1
    sample_rate = 16_000

    def __init__(
        self, config: Any, conv: ConvStack, context_network: CausalConvStack | Recurrent, *, dim: int,
        log_compression: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.dim = dim
        self.layer_dims = (conv.dim, dim)
        self.log_compression = log_compression
        self.conv = conv
        self.context_network = context_network
        self.hop, self.receptive_field = conv.hop, conv.receptive_field

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, both int64 of any shape."""
        return self.conv.frame_lengths(lengths)

    def frontend(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the convolutions give, [B, T, C], of wav [B, S], and the frame counts [B]."""
        lengths = wav_lengths(wav, lengths)
        x = self.conv(wav, lengths, moments=moments)
        return x.abs().log1p() if self.log_compression else x, self.frame_lengths(lengths)

    def latent(self, x: Tensor, lengths: Tensor, moments: Moments | None = None) -> Tensor:
        """z [B, T, C] from what the convolutions give; `moments` as for `layers`. Here the same."""
        return x

    def context(self, z: Tensor, lengths: Tensor, moments: Moments | None = None) -> Tensor:
        """c [B, T, C] from z, with zeros behind lengths [B] frames."""
        valid = valid_or_none(lengths, z.shape[1])
        norms = sum(isinstance(m, TimeNorm) for m in self.context_network.modules())
        mine = None if moments is None else moments.columns(moments.mean.shape[1] - norms)
        x = self.context_network(zero_padding(z, valid), None if valid is None else lengths, mine)
        return zero_padding(x, valid)

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None, moments: Moments | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Layers 0..upto (all by default), each with zeros behind an utterance's end, and the frame counts [B].

        `moments` are those of a whole recording of which `wav` is a piece.
        """
        if upto is not None and not 0 <= upto <= self.num_layers:
            raise ConfigError(f"layer {upto} does not exist: this encoder has layers 0..{self.num_layers}")
        x, counts = self.frontend(wav, lengths, moments=moments)
        z = zero_padding(self.latent(x, counts, moments), valid_or_none(counts, x.shape[1]))
        return [z] if upto == 0 else [z, self.context(z, counts, moments)], counts

    def forward(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """c [B, T, C], zeros behind an utterance's end, and the frame counts [B]."""
        layers, counts = self.layers(wav, lengths, moments=moments)
        return layers[-1], counts

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """The group norms' statistics of a recording in blocks [S], for `moments=` with its pieces; None without norms.

        One pass over the recording per norm, because each needs those before it: `blocks` must bear being read again.
        """
        context = list(self.context_network.modules())
        found_norms = (module for module in self.modules() if isinstance(module, TimeNorm))
        norms = sorted(found_norms, key=lambda norm: norm in context)  # in the order of use
        if not norms:
            return None
        found = Moments(*(torch.zeros(1, sum(norm.groups for norm in norms), dtype=torch.float64) for _ in "mv"))
        done = 0
        device = next(self.parameters()).device
        for i, norm in enumerate(norms):
            running = [RunningMoments(1) for _ in range(norm.groups)]
            for window in self._grid(i).windows(blocks):
                rows = self._input(norm, window.samples.to(device), found.to(device))[:, window.keep]
                for own, part in zip(running, rows.chunk(norm.groups), strict=True):
                    own.update(part.reshape(-1, 1))
            for own in running:
                found.mean[0, done], found.var[0, done] = own.mean[0], own.covariance()[0, 0]
                done += 1
        return found

    def _grid(self, norm: int) -> Grid:
        """Windows whose frames are those that enter norm number `norm`; the context's need its reach."""
        stack = [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in (layer.conv for layer in self.conv.layers)]
        stack = stack[: norm + 1] if self.conv.kind == "single" else stack
        overlap = self.context_network.reach if norm >= len(stack) else 0
        return Grid(receptive_field(stack), hop(stack), 1 + 2 * overlap + _WINDOW_SAMPLES // hop(stack), overlap)

    @torch.no_grad()
    def _input(self, norm: nn.Module, samples: Tensor, moments: Moments) -> Tensor:
        """What enters a norm, [C, T], where those before it have `moments`; nothing behind it is computed."""

        def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            raise _Reached(inputs[0])

        handle = norm.register_forward_pre_hook(stop)
        try:
            self.layers(samples.unsqueeze(0), moments=moments)
        except _Reached as reached:
            return reached.x[0]
        finally:
            handle.remove()
        raise AssertionError("a norm that is never used")


class _Reached(Exception):
    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x

"""data2vec 2.0 for speech (arXiv:2212.07525): data2vec's regression where only unmasked frames are encoded.

Several masked versions of an utterance share one pass of the teacher. The student's transformer sees the frames that
are left of each; a small convolutional decoder puts them back in their places, with noise between them, and predicts.

The convolutional positional embedding needs frames in a row: as in the released code it is computed over all frames
with zeros at the masked ones, and then read at the others. The attention biases (`data2vec2_audio`) keep the distances.
As there, the teacher shares the student's convolutions and projection; transformer and positional embedding are
averages.
differs: masks are those of the paper, inverse blocks; the released config for speech draws plain spans.

B utterances, M masked versions of each, T frames, L that are left, C channels, D in the decoder, N masked frames.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch, generator
from speechssl.errors import ConfigError
from speechssl.nn.alibi import AlibiTransformer
from speechssl.nn.ema import Decay, Teacher, check_teacher
from speechssl.nn.gradients import scale_gradient
from speechssl.nn.lengths import valid_mask, valid_or_none
from speechssl.nn.masking import BlockMask, block_mask
from speechssl.nn.positional import ConvPositionLayer
from speechssl.nn.regression import average, deviation, regression_loss
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.nn.transformer import Transformer
from speechssl.objectives import Outcome


@dataclass(frozen=True)
class Decoder:
    """The decoder's shape. After each field: its name in fairseq's configs. Defaults: speech."""

    dim: int = 384  # decoder_dim, D
    layers: int = 4  # decoder_layers
    kernel: int = 7  # decoder_kernel
    groups: int = 16  # decoder_groups
    dropout: float = 0.1  # input_dropout

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if min(self.dim, self.layers, self.kernel, self.groups) < 1 or self.dim % self.groups:
            raise ConfigError(f"a decoder needs counts >= 1 and dim a multiple of groups, got {self}")


@dataclass(frozen=True)
class Config:
    """The base model's settings for speech. After each field: its name in fairseq's configs."""

    masking: BlockMask = field(default_factory=BlockMask)
    versions: int = 8  # clone_batch, M
    decoder: Decoder = field(default_factory=Decoder)
    noise: float = 0.01  # mask_noise_std: of what stands at masked places in the decoder's input
    gradient: float = 1.0  # local_grad_mult: of the convolutions' gradient
    top_layers: int = 8  # average_top_k_layers, K
    beta: float = 0.0  # loss_beta, 0: squared error
    decay: Decay = field(default_factory=lambda: Decay(end=0.99999, updates=75_000))

    def __post_init__(self) -> None:
        """Refuse a loss that is none."""
        if self.versions < 1 or self.beta < 0 or self.noise < 0:
            raise ConfigError(f"data2vec2 needs versions >= 1, beta >= 0 and noise >= 0, got {self}")


class ConvDecoder(nn.Module):
    """Grouped convolutions, each with layer norm, GELU and, where widths agree, a residual; a linear map at the end."""

    def __init__(self, dim: int, config: Decoder) -> None:
        super().__init__()
        self.dropout = config.dropout
        widths = [dim, *[config.dim] * config.layers]
        self.layers = nn.ModuleList(
            ConvPositionLayer(a, kernel=config.kernel, groups=config.groups, out_dim=b) for a, b in pairwise(widths)
        )
        self.out = nn.Linear(config.dim, dim)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """[B, T, C] to the same."""
        for layer in self.layers:
            y = layer(x, valid)
            x = x + y if y.shape == x.shape else y
        return self.out(x)


class Objective(nn.Module):
    """Regression to the teacher's averaged blocks from the frames that are left."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        check_teacher(encoder, config.top_layers)
        if type(encoder.transformer) not in (Transformer, AlibiTransformer):
            raise ConfigError("data2vec2 leaves frames out, which this encoder's blocks would not know: "
                              "take data2vec2_audio, data2vec_audio, hubert or wav2vec2")  # fmt: skip
        if encoder.dim % config.decoder.groups:
            raise ConfigError(
                f"decoder.groups={config.decoder.groups} must divide the encoder's {encoder.dim} channels"
            )
        self.encoder = encoder
        self.config = config
        self.decoder = ConvDecoder(encoder.dim, config.decoder)
        self.teacher = Teacher(encoder, copied=("conv", "projection"))

    def forward(self, batch: Batch, *, mask: Tensor | None = None) -> Outcome:
        """The loss over the masked frames of all versions, which it counts. mask [B M, T] overrules the drawn ones."""
        config, versions = self.config, self.config.versions
        features = scale_gradient(self.encoder.conv(batch.wav, batch.lengths), config.gradient)
        x = self.encoder.projection(features)
        frames = self.encoder.frame_lengths(batch.lengths)
        targets = average(self.teacher.targets(x.detach(), frames, config.top_layers))

        frames, x, targets = (tensor.repeat_interleave(versions, 0) for tensor in (frames, x, targets))
        valid = valid_mask(frames, x.shape[1])
        seeds = (batch.seeds.unsqueeze(1) ^ (torch.arange(versions, device=batch.seeds.device) << 40)).flatten()
        mask = (block_mask(config.masking, frames, x.shape[1], seeds) if mask is None else mask) & valid
        stays = valid & ~mask
        left = self._encode_left(x, valid, stays)
        predictions = self.decoder(self._fill(left, stays, mask, seeds), None if bool(valid.all()) else valid)[mask]
        scalars: dict[str, Tensor | float] = {
            "masked_share": mask.sum() / valid.sum().clamp(min=1),
            "target_deviation": deviation(targets[mask]),
            "prediction_deviation": deviation(predictions),
        }
        loss = regression_loss(predictions, targets[mask], config.beta)
        return Outcome(loss, len(predictions), scalars, left.detach())

    def _encode_left(self, x: Tensor, valid: Tensor, stays: Tensor) -> Tensor:
        """The transformer's output [N', C] for those frames of x [B M, T, C] that stay, one utterance after another."""
        x = x.masked_fill(~stays.unsqueeze(-1), 0)
        x = x + self.encoder.pos_conv(x, None if bool(valid.all()) else valid)
        counts = stays.sum(1)
        longest = int(counts.max()) if len(counts) else 0
        places = torch.argsort(stays.to(torch.uint8), dim=1, descending=True, stable=True)[:, :longest]
        x = x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        transformer = self.encoder.transformer
        biases = transformer.biases(places) if isinstance(transformer, AlibiTransformer) else None
        return transformer(x, valid_or_none(counts, longest), positions=biases)[valid_mask(counts, longest)]

    def _fill(self, left: Tensor, stays: Tensor, mask: Tensor, seeds: Tensor) -> Tensor:
        """The decoder's input [B M, T, C]: encoded frames in their places, noise at masked ones, zeros behind."""
        left = F.dropout(left, self.config.decoder.dropout, self.training)
        counts = mask.sum(1).tolist()
        noise = [
            torch.randn(n, left.shape[1], generator=generator(int(s) ^ 2)) for n, s in zip(counts, seeds, strict=True)
        ]
        filled = left.new_zeros(*mask.shape, left.shape[1])
        filled = filled.masked_scatter(mask.unsqueeze(-1), (torch.cat(noise) * self.config.noise).to(left))
        return filled.masked_scatter(stays.unsqueeze(-1), left)

    def after_step(self, step: int) -> None:
        """The teacher follows."""
        self.teacher.follow(self.encoder, self.config.decay.at(step))

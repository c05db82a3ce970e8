"""A codec as it is trained: codebooks that follow (`residual_ema`), quantizer dropout, weight norm.

What the training is against (mel distance, discriminators) is in `training.adversarial`; here is what is its generator.

B utterances, S samples, T frames, C channels, G codebooks.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from speechssl.codecs.model import Codec
from speechssl.data.batch import Batch
from speechssl.errors import ConfigError
from speechssl.nn.adversarial import Generated
from speechssl.nn.lengths import valid_mask, valid_or_none, zero_padding
from speechssl.nn.wave_blocks import add_weight_norm, without_weight_norm
from speechssl.nn.wave_encoder import WaveEncoder
from speechssl.nn.wave_generator import WaveGenerator
from speechssl.quantizers.residual_ema import ResidualEma
from speechssl.quantizers.restart import draw_keys


@dataclass(frozen=True)
class Settings:
    """What only training needs. None has an effect with FSQ."""

    decay: float = 0.99  # of the codebooks' moving averages (SoundStream, EnCodec)
    restart_after: int = 2  # updates without a frame; 0: never
    dropout: float = 0.5  # share of utterances that get a random number of codebooks (Descript: 0.5)

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        if not 0 <= self.dropout <= 1:
            raise ConfigError(f"dropout is a share of the utterances, got {self.dropout}")


class Learning(nn.Module):
    """The generator of a codec's training. `codec` holds the codebooks of the last update."""

    def __init__(self, codec: Codec, settings: Settings) -> None:
        super().__init__()
        self.codec, self.settings = codec, settings
        for part in (codec.encoder.front, codec.decoder):
            if isinstance(part, WaveEncoder | WaveGenerator):
                add_weight_norm(part)
        self.quantizer: ResidualEma | None = None
        if codec.fsq is None:
            count, size, dim = codec.codebooks.shape
            self.quantizer = ResidualEma(dim, size, count, decay=settings.decay, restart_after=settings.restart_after)
            self._share_codebooks()

    def reconstruct(self, batch: Batch) -> Generated:
        """What the codec makes of a batch; in eval mode by its codes, as it will be used."""
        samples = batch.wav.shape[1]
        wav = zero_padding(batch.wav, valid_or_none(batch.lengths, samples))
        if not self.training:
            codes, counts = self.codec.encode(wav, batch.lengths)
            made = self.codec.decode(codes, counts)[:, :samples].float()
            real = codes[valid_mask(counts, codes.shape[1])]
            return Generated(wav, zero_padding(made, valid_or_none(batch.lengths, samples)), {}, real)
        frames, counts = self.codec.encoder(wav, batch.lengths)
        valid = valid_mask(counts, frames.shape[1])
        penalties: dict[str, Tensor] = {}
        if self.quantizer is None:
            assert self.codec.fsq is not None
            vectors, ids = self.codec.fsq(frames)
            codes = ids[valid].unsqueeze(1)
        else:
            keys, used = draw_keys(counts, batch.seeds), self._used(batch.seeds).to(frames.device)
            found = self.quantizer(frames[valid], keys, used.repeat_interleave(counts))
            vectors = torch.zeros_like(frames, dtype=found.vectors.dtype).masked_scatter(
                valid.unsqueeze(2), found.vectors
            )
            codes, penalties["commitment"] = found.codes, found.commitment.mean()
        made = self.codec.decoder(vectors, valid_or_none(counts, frames.shape[1]))[:, :samples].float()
        return Generated(wav, zero_padding(made, valid_or_none(batch.lengths, samples)), penalties, codes)

    def after_step(self, step: int) -> None:
        """Let the codebooks follow."""
        if self.quantizer is not None:
            self.quantizer.update()
            self._share_codebooks()

    def trained(self) -> Codec:
        """The codec for use: plain weights, in eval mode, on the CPU."""
        codec = Codec(self.codec.config)
        tensors = {name: tensor.detach().cpu() for name, tensor in self.codec.state_dict().items()}
        codec.load_state_dict(without_weight_norm(tensors))
        return codec.eval().requires_grad_(False)

    @torch.no_grad()
    def _share_codebooks(self) -> None:
        assert self.quantizer is not None
        self.codec.codebooks.copy_(self.quantizer.vectors)

    def _used(self, seeds: Tensor) -> Tensor:
        """How many codebooks each utterance gets, [B], drawn from its seed."""
        count, used = len(self.codec.sizes), []
        for seed in seeds.tolist():
            random = np.random.default_rng((seed, 23))
            drops, number = random.random() < self.settings.dropout, int(random.integers(1, count + 1))
            used.append(number if drops else count)
        return torch.tensor(used)

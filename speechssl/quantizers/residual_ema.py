"""Residual vector quantization that is learned within a network (SoundStream, arXiv:2107.03312, section III-C).

Each codebook follows, as a moving average, what those before it left of the frames that chose its entries (`ema`);
entries that nothing chooses start anew at such a remainder (`restart`). Gradients pass straight through.

N frames, C channels, G codebooks of V entries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.quantizers.ema import EmaCodebooks
from speechssl.quantizers.kmeans import KMeans


@dataclass(frozen=True)
class Quantized:
    """What became of N frames."""

    vectors: Tensor  # [N, C] sums of entries, with the gradient of the input
    codes: Tensor  # [N, G] int64, also of codebooks that were left out
    commitment: Tensor  # [N] float32: sum over the codebooks in use of the mean over channels of (remainder - entry)^2


class ResidualEma(nn.Module):
    """Codebooks [G, V, C]; `update` once per update of the model."""

    def __init__(self, dim: int, entries: int, codebooks: int, *, decay: float = 0.99, restart_after: int = 0) -> None:
        super().__init__()
        if codebooks < 1:
            raise ConfigError(f"at least one codebook is needed, got {codebooks}")
        self.books = nn.ModuleList(
            EmaCodebooks(dim, entries, decay=decay, start="small", restart_after=restart_after)
            for _ in range(codebooks)
        )

    @property
    def vectors(self) -> Tensor:
        """[G, V, C]."""
        return torch.cat([book.vectors for book in self.books])

    def codebooks(self) -> list[KMeans]:
        """As they are now, for use."""
        return [KMeans(vectors) for vectors in self.vectors]

    def forward(self, x: Tensor, keys: Tensor | None = None, used: Tensor | None = None) -> Quantized:
        """Quantize x [N, C]; in training mode the codebooks remember it for the next `update`.

        keys [N]: see `restart`. used [N]: how many codebooks each frame gets (None: all), for quantizer dropout. The
        others are computed and learn, too, and are left out of the vectors and of the commitment.
        """
        left, total = x.detach().float(), torch.zeros_like(x, dtype=torch.float32)
        commitment, codes = x.new_zeros(len(x), dtype=torch.float32), []
        for number, book in enumerate(self.books):
            chosen = book.encode(left.unsqueeze(0))
            entries = book.decode(chosen).squeeze(0)
            if self.training:
                book.collect(left.unsqueeze(0), chosen, keys)
            use = 1.0 if used is None else (used > number).float()
            commitment = commitment + use * (x.float() - total - entries).square().mean(-1)
            # Of a frame that has got its last codebook the total stays, and what follows has no weight.
            total = total + entries * (use if isinstance(use, float) else use.unsqueeze(1))
            left = left - entries
            codes.append(chosen)
        vectors = (total + (x.float() - x.detach().float())).to(x.dtype)  # exactly the sum in value
        return Quantized(vectors, torch.cat(codes, 1), commitment)

    def update(self) -> None:
        """Let the codebooks follow. All processes of a training must call it."""
        for book in self.books:
            book.update()

"""Any multichannel series to tokens: windows of it are frames, and every quantizer of speechssl takes frames.

    python egs/series/tokens.py                   a synthetic series, made here
    python egs/series/tokens.py recording.npy     numbers [T, C] of your own: EEG, sensors, prices

As in TOTEM (arXiv:2402.16412) and in tokenizers of EEG and MEG, but with windows as they are in place of a trained
encoder. Prints, for each quantizer, what share of the variance its tokens lose and how many of them are used.
"""

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from speechssl.quantizers.ema import EmaCodebooks
from speechssl.quantizers.fsq_fit import fit_fsq
from speechssl.quantizers.kmeans_fit import fit
from speechssl.quantizers.restart import draw_keys

WINDOW, UNITS, LEVELS = 8, 64, (4, 4, 4)  # samples of a window; 64 tokens either way


def lorenz(num_samples: int = 20_000, seed: int = 0) -> Tensor:
    """SYNTHETIC [T, 6]: the three coordinates of the Lorenz system, mixed into six noisy channels."""
    x, states = np.array([1.0, 1.0, 20.0]), []
    for _ in range(num_samples):
        for _ in range(4):  # Euler steps of 5 ms
            x = x + 0.005 * np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])
        states.append(x)
    random = np.random.default_rng(seed)
    mixed = np.array(states) @ random.standard_normal((3, 6))
    return torch.from_numpy(mixed + 0.5 * random.standard_normal(mixed.shape)).float()


def windows(series: Tensor, size: int = WINDOW) -> Tensor:
    """Frames [N, size C] of a series [T, C]: channels to zero mean and unit variance, then windows side by side."""
    series = (series - series.mean(0)) / series.std(0).clamp(min=1e-8)
    return series[: len(series) // size * size].reshape(-1, size * series.shape[1])


def ema(frames: Tensor, epochs: int = 20) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Codebooks that follow batches of 250 frames, as they do within a network; what no frame chooses starts anew."""
    torch.manual_seed(0)
    book = EmaCodebooks(frames.shape[1], UNITS, decay=0.9, restart_after=20)
    for update, batch in enumerate([*frames.split(250)] * epochs):
        keys = draw_keys(torch.tensor([len(batch)]), torch.tensor([update]))
        book.collect(batch[None], book.encode(batch[None]), keys)
        book.update()
    return lambda x: book.encode(x[None])[:, 0], lambda ids: book.decode(ids[:, None])[0]


def main(arguments: list[str]) -> dict[str, Tensor]:
    """Tokens [N] of each quantizer, learned from the same frames; prints a line for each."""
    series = torch.from_numpy(np.load(arguments[0], allow_pickle=False)).float() if arguments else lorenz()
    frames = windows(series)
    kmeans, _ = fit(frames, num_units=UNITS)
    grid, _ = fit_fsq(lambda: [("series", frames)], levels=LEVELS)
    kinds = {"k-means": (kmeans.encode, kmeans.decode), "ema": ema(frames), "fsq": (grid.encode, grid.decode)}
    tokens = {name: encode(frames) for name, (encode, _) in kinds.items()}
    for name, (_, decode) in kinds.items():
        lost = (frames - decode(tokens[name])).square().sum() / (frames - frames.mean(0)).square().sum()
        shares = torch.bincount(tokens[name]).double() / len(frames)
        print(f"{name:<8} loses {float(lost):.3f} of the variance, perplexity "
              f"{float(torch.special.entr(shares).sum().exp()):.1f} of {UNITS}")  # fmt: skip
    return tokens


if __name__ == "__main__":
    main(sys.argv[1:])

"""The loss of sequence transduction (RNN-T, arXiv:1211.3711).

A path goes from frame to frame by blanks and from symbol to symbol within a frame. All of one anti-diagonal (t + u) is
computed at once: T + L steps of [B, L + 1], and the gradient by the blanks and symbols alone. torchaudio's rnnt_loss,
which announces its own removal, is the tests' second opinion.

B utterances, T frames, L symbols of a target, V outputs, the blank among them.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from speechssl.errors import DataError
from speechssl.nn.lengths import valid_mask


def transducer_losses(logits: Tensor, frames: Tensor, targets: Tensor, *, blank: int) -> Tensor:
    """Their eq. (19) with eqs. (16) to (18) for each utterance: -ln p(target | frames), over all paths; [B].

    logits [B, T, L + 1, V] of frame t behind u symbols, float32 or wider, not normalised; frames [B] real ones; targets
    [B, L] padded with -1. Infinite without a frame, and such a gradient is 0. Raises DataError for a target that is the
    blank or none of V, or that does not fit the logits.
    """
    sizes = (targets >= 0).sum(1)
    if logits.shape[2] != targets.shape[1] + 1 or len(logits) != len(targets) or int(frames.max()) > logits.shape[1]:
        raise DataError(f"logits {list(logits.shape)} do not fit targets {list(targets.shape)}, which need one row "
                        f"more than symbols, and {int(frames.max())} frames")  # fmt: skip
    if targets.numel() and (int(targets.max()) >= logits.shape[3] or bool((targets == blank).any())):
        raise DataError(f"targets must be symbols below {logits.shape[3]} other than the blank {blank}, found "
                        f"{int(targets.max())} at most")  # fmt: skip
    total = logits.logsumexp(-1)
    blanks = logits[..., blank] - total
    picked = targets.clamp(min=0)[:, None, :, None].expand(-1, logits.shape[1], -1, 1)
    symbols = logits[:, :, :-1].gather(3, picked).squeeze(3) - total[:, :, :-1]
    return path_losses(blanks, symbols, frames, sizes)


def path_losses(blanks: Tensor, symbols: Tensor, frames: Tensor, sizes: Tensor) -> Tensor:
    """The same from log probabilities of going on: blanks [B, T, L + 1], each target's next symbol [B, T, L]."""
    losses: Tensor = _Paths.apply(blanks, symbols, frames, sizes)
    return losses


class _Paths(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, blanks: Tensor, symbols: Tensor, frames: Tensor, sizes: Tensor) -> Tensor:
        num_frames, width = blanks.shape[1:]
        here = valid_mask(frames, num_frames)[:, :, None]
        up = F.pad(valid_mask(sizes, width - 1), (0, 1))[:, None]  # where a symbol is left to say
        fits = F.pad(up, (1, 0), value=True)[:, :, :width]
        right = _skewed(blanks.masked_fill(~(here & fits), -math.inf))
        rising = _skewed(F.pad(symbols, (0, 1)).masked_fill(~(here & up), -math.inf))
        ends = frames + sizes  # the diagonal behind the last blank

        nothing = right.new_full(right.shape[1:], -math.inf)  # [B, L + 1]
        alpha = [nothing.index_fill(1, torch.zeros(1, dtype=torch.int64, device=right.device), 0.0)]
        for d in range(len(right)):
            risen = F.pad(alpha[d] + rising[d], (1, 0), value=-math.inf)[:, :-1]
            alpha.append(torch.logaddexp(alpha[d] + right[d], risen))
        forward = torch.stack(alpha)  # [T + L + 1, B, L + 1]
        everyone = torch.arange(len(ends), device=ends.device)
        likelihood = forward[ends, everyone, sizes].masked_fill(frames < 1, -math.inf)

        last = nothing.scatter(1, sizes[:, None], 0.0)
        beta = torch.where((ends == len(right))[:, None], last, nothing)
        by_blank, by_symbol = torch.zeros_like(right), torch.zeros_like(right)
        scale = torch.where(likelihood.isfinite(), likelihood, math.inf)[:, None]
        for d in reversed(range(len(right))):
            going = beta + right[d]
            rest = F.pad(beta, (0, 1), value=-math.inf)[:, 1:] + rising[d]
            by_blank[d] = (forward[d] + going - scale).exp()  # the share of paths that go there
            by_symbol[d] = (forward[d] + rest - scale).exp()
            beta = torch.where((ends == d)[:, None], last, torch.logaddexp(going, rest))
        ctx.save_for_backward(_straight(by_blank, num_frames), _straight(by_symbol, num_frames)[:, :, :-1])
        return -likelihood

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_blank, by_symbol = ctx.saved_tensors
        factor = -gradients[0][:, None, None]
        return factor * by_blank, factor * by_symbol, None, None


def _skewed(x: Tensor) -> Tensor:
    """[B, T, N] to [T + N - 1, B, N]: row t + u holds frame t, symbol u; -inf where there is none."""
    num_frames, width = x.shape[1:]
    rows = torch.arange(num_frames + width - 1, device=x.device)[:, None] - torch.arange(width, device=x.device)
    outside = (rows < 0) | (rows >= num_frames)
    columns = torch.arange(width, device=x.device).expand_as(rows)
    return x[:, rows.clamp(0, num_frames - 1), columns].masked_fill(outside, -math.inf).transpose(0, 1)


def _straight(x: Tensor, num_frames: int) -> Tensor:
    """The way back, [T + N - 1, B, N] to [B, T, N]."""
    columns = torch.arange(x.shape[2], device=x.device)
    rows = torch.arange(num_frames, device=x.device)[:, None] + columns
    return x.transpose(0, 1)[:, rows, columns.expand_as(rows)]

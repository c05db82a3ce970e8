"""Is the model collapsing? Numbers that say so long before the loss does."""

import math

import torch
from torch import Tensor


@torch.no_grad()
def effective_rank(frames: Tensor, limit: int = 2048) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli 2007) of frames [N, C], mean removed.

    C where all directions are used alike, 1 where all frames lie on a line. At most `limit` frames are looked at.
    """
    if len(frames) > limit:
        frames = frames[torch.linspace(0, len(frames) - 1, limit, device=frames.device).long()]
    centred = frames.float() - frames.float().mean(0)
    if not bool(centred.isfinite().all()):
        return 0.0
    values = torch.linalg.svdvals(centred)
    total = float(values.sum())
    if total == 0:
        return 0.0
    shares = values / total
    return math.exp(-float(torch.special.xlogy(shares, shares).sum()))


@torch.no_grad()
def code_perplexity(codes: Tensor) -> float:
    """exp of the entropy of the codes [N] or [N, G] in use, the mean over codebooks G. 1: a single code."""
    codes = codes if codes.ndim > 1 else codes.unsqueeze(1)
    if not len(codes):
        return 0.0
    found = []
    for column in codes.T:
        shares = torch.bincount(column).float() / len(column)
        found.append(math.exp(-float(torch.special.xlogy(shares, shares).sum())))
    return sum(found) / len(found)


def verdict(scalars: dict[str, float]) -> str | None:
    """What to say loudly where the model seems to have collapsed; None where it has not."""
    rank, perplexity = scalars.get("effective_rank"), scalars.get("code_perplexity")
    if perplexity is not None and perplexity < 2:
        return f"collapse? codes have a perplexity of {perplexity:.2f}: nearly all frames get the same one"
    if rank is not None and rank < 2:
        return f"collapse? the encoder's frames have an effective rank of {rank:.2f}: they vary along one line at most"
    return None

"""How likely given symbols are to a decoder: those of a reference, which no search has found.

B utterances, S frames, D channels of what the decoder looks at, L symbols.
"""

import torch
from torch import Tensor

from speechssl.decoders.transformer import Model, shifted, with_end
from speechssl.nn.lengths import valid_mask


@torch.inference_mode()
def log_likelihoods(decoder: Model, states: Tensor, counts: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """Natural log probabilities [B] float64 of targets [B, L] int64 of lengths [B], their ends included.

    states [B, S, D] with counts [B] real ones. It is what a search with `length_penalty` 0 gives a hypothesis of these
    symbols, so that of a stack nothing counts behind the end.
    """
    wanted, sizes = with_end(targets, lengths, decoder.end, decoder.config.stack)
    scores = decoder(shifted(wanted, decoder.end, decoder.config.stack), states, counts)
    found = scores.double().log_softmax(-1).gather(2, wanted.unsqueeze(2)).squeeze(2)
    return found.masked_fill(~valid_mask(sizes, wanted.shape[1]), 0.0).sum(1)

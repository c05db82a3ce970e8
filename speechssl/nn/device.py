"""What torch should and should not do on a GPU, for batches whose lengths all differ.

Seen on an H100 with torch 2.11: attention took 0.1 s of each training step of eight small blocks, as if cuDNN's kernel
planned anew for every new shape; without it steps were about twice as fast. Features of a batch differed by 4e-3 from
those of an utterance alone, most likely by convolutions in TF32, torch's default. That both are cured by these switches
is seen for the first (speed), not yet for the second.
"""

import torch


def prepare_cuda(*, exact: bool) -> None:
    """Set torch's switches for this process. exact: convolutions in float32 are that, too (features, not training)."""
    torch.backends.cuda.enable_cudnn_sdp(False)
    if exact:
        torch.backends.cudnn.allow_tf32 = False

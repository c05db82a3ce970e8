"""What torch should and should not do on a GPU, for batches whose lengths all differ.

Measured on an H100 with torch 2.11: cuDNN's attention makes a plan for every new shape, 0.1 s each in training, where
the other kernels need none; its convolutions in TF32 (torch's default) make features of a batch differ by 4e-3 from
those of an utterance alone, in float32 by 2e-5.
"""

import torch


def prepare_cuda(*, exact: bool) -> None:
    """Set torch's switches for this process. exact: convolutions in float32 are that, too (features, not training)."""
    torch.backends.cuda.enable_cudnn_sdp(False)
    if exact:
        torch.backends.cudnn.allow_tf32 = False

"""What comparing SEW and SEW-D with `transformers` takes beyond `hf.py`: two frame rates, other names."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.encoders.parity import Outputs, Pair


def hf_squeezed_names(names: dict[str, str], projection: bool) -> dict[str, str]:
    """The names of Wav2Vec2Model's kin with the changes that SEWModel and SEWDModel share."""
    names = {ours: theirs for ours, theirs in names.items() if not ours.startswith("projection.linear")}
    for kind in ("weight", "bias"):
        names[f"projection.norm.{kind}"] = f"layer_norm.{kind}"
        names[f"upsample.{kind}"] = f"encoder.upsample.projection.{kind}"
        if projection:
            names[f"projection.linear.{kind}"] = f"feature_projection.{kind}"
    return names


def by_squeezed_frames(output: Tensor, squeeze: int) -> Tensor:
    """The upsampled output [B, T, C] with the frames that come from one squeezed frame side by side."""
    count = output.shape[1] // squeeze
    return output[:, : count * squeeze].reshape(len(output), count, squeeze * output.shape[2])


class SqueezedPair(Pair):
    """Outputs are the layers and the upsampled output, all at the squeezed rate."""

    def ours(self, wav: Tensor, lengths: Tensor | None = None) -> Outputs:
        states, _ = self.model.layers(wav, lengths)
        return [*states, by_squeezed_frames(self.model(wav, lengths)[0], self.model.squeeze)]


def run_squeezed(oracle: nn.Module, model: nn.Module) -> Callable[[Tensor, Tensor | None], Outputs]:
    """Their layers and output; too few samples for one squeezed frame give none, where theirs would crash."""

    def run(wav: Tensor, lengths: Tensor | None) -> Outputs:
        if wav.shape[1] < model.receptive_field:
            empty = wav[:, :0, None].expand(-1, -1, model.dim)
            return [*[empty] * (model.num_layers + 1), empty.repeat(1, 1, model.squeeze)]
        mask = None if lengths is None else (torch.arange(wav.shape[1]) < lengths.unsqueeze(1)).long()
        result = oracle(wav, attention_mask=mask, output_hidden_states=True)
        return [*result.hidden_states, by_squeezed_frames(result.last_hidden_state, model.squeeze)]

    return run

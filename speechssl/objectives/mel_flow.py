"""A mel decoder by conditional flow matching (EZ-VC, arXiv:2505.16691; Voicebox, arXiv:2306.15687).

The network is shown mel and noise mixed at a time that is drawn for each utterance, and learns the velocity (see
`nn.flow_matching`). Some utterances come with the mel of their first frames as a prompt, some without content, where
the settings say so. `encoder` gives the frame rate, and its layer where no units are given; it is not trained.
"""

from speechssl.data.batch import Batch
from speechssl.nn.flow_matching import flow_loss, on_path
from speechssl.objectives import Outcome
from speechssl.vocoders.mel_learning import DrawnSettings as Config
from speechssl.vocoders.mel_learning import MelLearner, shown

__all__ = ["Config", "Objective"]


class Objective(MelLearner):
    """The velocity from noise to mel."""

    kind = "flow"

    def forward(self, batch: Batch) -> Outcome:
        """The loss over real frames that are no prompt; counts them."""
        found = shown(self, batch)
        noisy = on_path(found.noise, found.mel, found.uniform)
        hidden = self.decoder.hidden(found.condition, found.valid, noisy=noisy, time=found.uniform, prompt=found.prompt)
        loss = flow_loss(self.decoder.last(hidden), found.noise, found.mel, found.learned)
        return Outcome(loss + found.aside, int(found.learned.sum()), found.scalars, hidden[found.valid].detach())

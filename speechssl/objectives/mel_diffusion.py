"""A mel decoder by diffusion, conditioned on features of speech or units (AV2Wav, arXiv:2309.08030).

The network is shown a noisy mel and its noise level, which is continuous as in WaveGrad (arXiv:2009.00713), and learns
the noise, or the velocity (see `nn.diffusion`). Trained on clean speech, it makes clean mels of the features of noisy
speech, as far as those are robust. `encoder` gives the frame rate, and its layer where no units are given; it is not
trained.
"""

from speechssl.data.batch import Batch
from speechssl.nn.diffusion import draw_level, levels, noise_loss, noised, velocity
from speechssl.objectives import Outcome
from speechssl.vocoders.mel_learning import DrawnSettings as Config
from speechssl.vocoders.mel_learning import MelLearner, shown

__all__ = ["Config", "Objective"]


class Objective(MelLearner):
    """The noise in noisy mels, or their velocity."""

    kind = "diffusion"

    def forward(self, batch: Batch) -> Outcome:
        """The loss over real frames that are no prompt; counts them."""
        found = shown(self, batch)
        level = draw_level(levels().to(found.uniform.device), found.uniform).float()
        noisy = noised(found.mel, found.noise, level)
        hidden = self.decoder.hidden(found.condition, found.valid, noisy=noisy, time=level, prompt=found.prompt)
        says = self.decoder.config.says
        wanted = found.noise if says == "noise" else velocity(found.mel, found.noise, level)
        loss = noise_loss(self.decoder.last(hidden), wanted, found.learned)
        return Outcome(loss + found.aside, int(found.learned.sum()), found.scalars, hidden[found.valid].detach())

"""Log mels to a waveform without anything learned: a spectrum that has these mels, and Griffin-Lim's phases (librosa).

The floor of every vocoder of mels. Mel frame t is of the samples around the middle of its hop; see
`vocoders.mel_decoder`. Of the many spectra that have a frame's mels (there are fewer mels than bins) the multiplicative
updates of Lee and Seung (2001) for the Kullback-Leibler divergence, from a flat start, take a smooth one: the power of
a quiet band counts like that of a loud one. librosa's own inversion, least squares by L-BFGS-B, took 14 and 35 s for
2 s of speech where this takes 0.05 s, and its mels were further off.

M mel bins, F bins of the spectrum, T frames.
"""

import numpy as np
import torch
from torch import Tensor

from speechssl.errors import ConfigError, DataError
from speechssl.nn.mel_definition import MelDefinition
from speechssl.vocoders.mel_decoder import Config

_UPDATES = 100


def waveform(
    mel: np.ndarray, mels: Config | MelDefinition, *, iterations: int = 60, seed: int = 0
) -> np.ndarray:  # fmt: skip
    """Samples [T * hop] float32 in -1..1 of log mels [T, M]: a decoder's, or what is defined so.

    DataError for mels of another shape, and for none. ConfigError without librosa, and for mels that are not natural
    logarithms of power around the middle of a hop, as this project's are.
    """
    config = mels.mel_definition if isinstance(mels, Config) else mels
    if (config.of, config.logarithm, config.centre) != ("power", "natural", "hop"):
        raise ConfigError(f"Griffin-Lim here is of natural log mels of power around the middle of a hop, not {config}")
    try:
        import librosa
    except ImportError:
        raise ConfigError("Griffin-Lim needs a package: pip install librosa") from None
    if mel.ndim != 2 or mel.shape[1] != config.num_mels or not len(mel) or not np.isfinite(mel).all():
        raise DataError(f"expected finite mels [frames, {config.num_mels} bins], got {list(mel.shape)}")
    size, filters = config.fft_length, config.matrix()
    loudest = 2 * np.log(config.window) + np.log(float(filters.sum(0).max()))  # what samples in -1..1 cannot exceed
    power = spectrum(torch.from_numpy(np.minimum(mel, loudest)).exp().float(), filters).T.numpy()
    made = librosa.griffinlim(np.sqrt(power), n_iter=iterations, hop_length=config.hop, win_length=config.window,
                              n_fft=size, random_state=seed)  # fmt: skip
    half = config.hop // 2  # librosa's frame t is around sample hop * t
    made = np.pad(made, (half, config.hop))[: len(mel) * config.hop]
    return made.clip(-1, 1).astype(np.float32)


def spectrum(mel: Tensor, filters: Tensor, *, updates: int = _UPDATES) -> Tensor:
    """Power [T, F] >= 0 whose mels are power mels [T, M] as nearly as may be; filters [F, M].

    Each frame is found by itself. A bin that no filter sees is 0.
    """
    tiny = torch.finfo(mel.dtype).tiny
    seen = filters.sum(1)
    power = (seen > 0).to(mel).expand(len(mel), -1) * mel.mean(1, keepdim=True)
    for _ in range(updates):
        power = power * ((mel / (power @ filters).clamp_min(tiny)) @ filters.T) / seen.clamp_min(tiny)
    return power

"""Log mels to a waveform without anything learned: non-negative least squares and Griffin-Lim's phases (librosa).

The floor of every vocoder of mels. Mel frame t is of the samples around the middle of its hop; see
`vocoders.mel_decoder`.
"""

import numpy as np

from speechssl.errors import ConfigError, DataError
from speechssl.nn.mel import mel_filters
from speechssl.vocoders.mel_decoder import Config


def waveform(mel: np.ndarray, config: Config, *, iterations: int = 60, seed: int = 0) -> np.ndarray:
    """Samples [T * hop] float32 in -1..1 of natural log mels of power [T, M]. ConfigError without librosa.

    DataError for mels of another shape, and for none.
    """
    try:
        import librosa
    except ImportError:
        raise ConfigError("Griffin-Lim needs a package: pip install librosa") from None
    if mel.ndim != 2 or mel.shape[1] != config.num_mels or not len(mel) or not np.isfinite(mel).all():
        raise DataError(f"expected finite mels [frames, {config.num_mels} bins], got {list(mel.shape)}")
    size = 1 << (config.window - 1).bit_length()
    filters = mel_filters(config.num_mels, size, config.sample_rate).numpy().T  # [M, F]
    loudest = 2 * np.log(config.window) + np.log(filters.sum(1).max())  # what samples in -1..1 cannot exceed
    power = librosa.util.nnls(filters, np.exp(np.minimum(mel.T, loudest).astype(np.float64)).astype(np.float32))
    made = librosa.griffinlim(np.sqrt(power), n_iter=iterations, hop_length=config.hop, win_length=config.window,
                              n_fft=size, random_state=seed)  # fmt: skip
    half = config.hop // 2  # librosa's frame t is around sample hop * t
    made = np.pad(made, (half, config.hop))[: len(mel) * config.hop]
    return made.clip(-1, 1).astype(np.float32)

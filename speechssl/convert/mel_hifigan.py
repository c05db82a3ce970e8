"""Released HiFi-GANs of mels: Hugging Face's SpeechT5HifiGan folders, and the original checkpoints with their config.

SpeechT5: config.json with model.safetensors or pytorch_model.bin; mean and scale of the mels are part of the weights.
Original: config.json (upsample_rates, num_mels, hop_size ...) and one pickled dict whose "generator" has the weights,
with weight norm. Refused, by name: small residual blocks (V3) and branches with different dilations.

Their mels are not this project's, nor each other's, so that they stand behind decoders of their own mels only; what
they make of recordings is copy synthesis. What the files do not say of their mels is what their code has: magnitudes,
Slaney's filters; natural logarithms and whole hops (original); base 10, 80 to 7600 Hz, windows of 64 ms every 16 ms
around the first sample of a hop (SpeechT5).
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.convert import code_hifigan, files, hifigan, pickle_reader
from speechssl.convert.weights import build, fold_weight_norm
from speechssl.errors import CheckpointError, ConfigError
from speechssl.nn.mel_definition import MelDefinition
from speechssl.vocoders.mel_vocoder import Config, MelVocoder

_OTHERS = (".json", ".txt", ".md")


def load(folder: Path) -> MelVocoder:
    """The vocoder of a folder, in eval mode. CheckpointError for what is none, or needs what we do not have."""
    config = folder / "config.json"
    values = files.read_json(config)
    if code_hifigan.is_config(values):
        raise CheckpointError(f"{folder}: a vocoder of units (--vocoder), not of mels")
    try:
        settings = (speecht5_config if "model_in_dim" in values else original_config)(values, where=str(config))
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{config}: not a usable config of a HiFi-GAN of mels: {error!r}") from error
    tensors = files.read_folder(folder) if "model_in_dim" in values else _original_weights(folder)
    if not values.get("normalize_before", "model_in_dim" in values):
        bins = settings.mels.num_mels
        tensors |= {"mean": torch.zeros(bins), "scale": torch.ones(bins)}
    return build(lambda: MelVocoder(settings), our_tensors(tensors, settings, where=str(folder)), where=str(folder))


def speecht5_config(values: Mapping[str, Any], *, where: str) -> Config:
    """What we call the settings of a SpeechT5HifiGan. CheckpointError for those we do not have."""
    rate = int(values["sampling_rate"])
    hop, window, slope = prod(values["upsample_rates"]), rate * 64 // 1000, values.get("leaky_relu_slope", 0.1)
    architectures = values.get("architectures") or ["SpeechT5HifiGan"]
    if architectures != ["SpeechT5HifiGan"] or hop * 1000 != rate * 16:
        raise CheckpointError(f"{where}: {architectures} of {hop} samples at {rate} Hz: of mels like these only "
                              "SpeechT5's are known, 16 ms apart")  # fmt: skip
    if slope != 0.1:
        raise CheckpointError(f"{where}: leaky_relu_slope={slope}; only 0.1 is supported")
    mels = MelDefinition(sample_rate=rate, hop=hop, window=window, num_mels=values["model_in_dim"], filters="slaney",
                         low_hz=80.0, high_hz=7600.0, of="magnitude", logarithm="base 10", floor=1e-10, centre="start",
                         edges="mirror", periodic=True)  # fmt: skip
    return Config(mels, 1, hifigan.generator_settings(values, where=where), hifigan.LAST_SLOPE)


def original_config(values: Mapping[str, Any], *, where: str) -> Config:
    """What we call the settings of an original config.json. CheckpointError for those we do not have."""
    fft, window = values.get("n_fft", 1024), values.get("win_size", values.get("n_fft", 1024))
    mels = MelDefinition(sample_rate=values["sampling_rate"], hop=values["hop_size"], window=window, fft=fft,
                         num_mels=values["num_mels"], filters="slaney", low_hz=float(values.get("fmin") or 0),
                         high_hz=float(values.get("fmax") or 0), of="magnitude", floor=1e-5, added=1e-9,
                         edges="mirror", periodic=True)  # fmt: skip
    return Config(mels, 1, hifigan.generator_settings(values, where=where), hifigan.LAST_SLOPE)


def _original_weights(folder: Path) -> dict[str, Tensor]:
    """Of the one file beside config.json."""
    others = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix not in _OTHERS)
    if len(others) != 1:
        raise CheckpointError(f"{folder}: a released HiFi-GAN is config.json and one checkpoint of a generator, found "
                              f"{', '.join(path.name for path in others[:5]) or 'no checkpoint'}")  # fmt: skip
    tree = pickle_reader.read_pickle_file(others[0])
    if not isinstance(tree, dict) or "generator" not in tree:
        raise CheckpointError(f"{others[0]}: no HiFi-GAN checkpoint: it has no 'generator'")
    return files.as_tensors(tree["generator"], where=str(others[0]))


def our_tensors(tensors: Mapping[str, Tensor], settings: Config, *, where: str) -> dict[str, Tensor]:
    """The weights under our names. CheckpointError for a name that is none of theirs."""
    num_kernels = len(settings.generator["kernels"])
    renamed: dict[str, Tensor] = {}
    for name, tensor in fold_weight_norm(dict(tensors), where=where).items():
        stem, _, kind = name.rpartition(".")
        own = name if name in ("mean", "scale") else hifigan.generator_name(stem, num_kernels)
        if not own:
            raise CheckpointError(f"{where}: {name!r} is no weight of a HiFi-GAN of mels that is known here")
        renamed[own if own == name else f"{own}.{kind}"] = tensor
    return renamed

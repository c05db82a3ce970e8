"""CodeHiFiGAN, the unit vocoders that fairseq, textlesslib and speech-resynthesis released: config and checkpoint.

The checkpoint is a pickled dict whose "generator" has the weights, with weight norm. Taken over: units, speakers by
number or by an embedding from outside, F0 as a number or as bins, the duration predictor. Refused, by name: styles,
F0 that a VQ-VAE of its own quantizes, and HiFi-GAN's small residual blocks.

Speakers are called by their numbers, for the files hold no names; the unit model is not known from them either.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.convert import files, pickle_reader
from speechssl.convert.weights import fold_weight_norm
from speechssl.errors import CheckpointError, ConfigError
from speechssl.vocoders.durations import Settings as Durations
from speechssl.vocoders.unit_vocoder import Config, UnitVocoder

_UNKNOWN = {"multistyle": "styles", "lambda_commit": "a VQ-VAE of F0", "lambda_commit_code": "a VQ-VAE of units",
            "f0_quantizer_path": "a VQ-VAE of F0"}  # fmt: skip
_BRANCH = {"convs1": "dilated", "convs2": "last"}


def is_config(values: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of these."""
    return {"num_embeddings", "embedding_dim", "upsample_rates", "resblock_kernel_sizes"} <= set(values)


def load(config: Path, checkpoint: Path) -> UnitVocoder:
    """The vocoder, in eval mode. CheckpointError for what is none, or needs what we do not have."""
    values = files.read_json(config)
    if not is_config(values):
        raise CheckpointError(f"{config}: not the config of a CodeHiFiGAN")
    settings = our_config(values, where=str(config))
    tree = pickle_reader.read_pickle_file(checkpoint)
    if not isinstance(tree, dict) or "generator" not in tree:
        raise CheckpointError(f"{checkpoint}: no CodeHiFiGAN checkpoint: it has no 'generator'")
    tensors = our_tensors(files.as_tensors(tree["generator"], where=str(checkpoint)), settings, where=str(checkpoint))
    try:
        with torch.device("meta"):  # shapes first: the config does not decide how much memory is taken
            needed = {name: tensor.shape for name, tensor in UnitVocoder(settings).state_dict().items()}
    except (ConfigError, RuntimeError, TypeError, ArithmeticError) as error:
        raise CheckpointError(f"{config}: {error}") from error
    if wrong := [name for name in needed.keys() | tensors.keys()
                 if name not in tensors or tensors[name].shape != needed.get(name)]:  # fmt: skip
        raise CheckpointError(f"{checkpoint}: {config.name} does not describe these weights: {sorted(wrong)[0]!r}")
    vocoder = UnitVocoder(settings)
    vocoder.load_state_dict(tensors)
    return vocoder.eval().requires_grad_(False)


def our_config(values: Mapping[str, Any], *, where: str) -> Config:
    """What we call its settings. CheckpointError for those we do not have."""
    for key, what in _UNKNOWN.items():
        if values.get(key):
            raise CheckpointError(f"{where}: {key}: {what}, which is not supported here")
    try:
        if str(values.get("resblock", "1")) != "1":
            raise CheckpointError(f"{where}: resblock {values['resblock']!r}; only '1' is supported")
        dilations = {tuple(one) for one in values["resblock_dilation_sizes"]}
        if len(dilations) != 1:
            raise CheckpointError(f"{where}: residual branches with different dilations, which is not supported here")
        dim, speakers, inputs = values["embedding_dim"], 0, 0
        if values.get("embedder_params"):
            inputs = values.get("embedder_dim", 256)
        elif values.get("multispkr"):
            speakers = values.get("num_speakers", 200)
        bins = values.get("f0_quant_num_bin", 0) if values.get("f0") else 0
        predictor = values.get("dur_predictor_params")
        durations = None
        if predictor:
            durations = Durations(predictor["var_pred_hidden_dim"], predictor["var_pred_kernel_size"],
                                  predictor["var_pred_dropout"])  # fmt: skip
        if speakers > 1 << 20:
            raise CheckpointError(f"{where}: {speakers} speakers are more than any vocoder has")
        generator = {"kind": "wave", "channels": values["upsample_initial_channel"],
                     "strides": tuple(values["upsample_rates"]), "up_kernels": tuple(values["upsample_kernel_sizes"]),
                     "kernels": tuple(values["resblock_kernel_sizes"]), "dilations": next(iter(dilations)),
                     "last_kernel": 0, "activation": "leaky_relu"}  # fmt: skip
        if any((kernel - stride) % 2 for kernel, stride in zip(generator["up_kernels"], generator["strides"],
                                                              strict=True)):  # fmt: skip
            raise CheckpointError(f"{where}: upsampling kernels that are longer than their strides by an odd number")
        return Config(
            num_units=values["num_embeddings"], dim=dim, speakers=tuple(map(str, range(speakers))), speaker_dim=dim,
            sample_rate=values.get("sampling_rate", 16_000), generator=generator, speaker_inputs=inputs,
            pitch_channels=int(bool(values.get("f0")) and not bins), pitch_bins=bins, last_slope=0.01,
            durations=durations,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{where}: not a usable config of a CodeHiFiGAN: {error!r}") from error


def our_tensors(tensors: Mapping[str, Tensor], settings: Config, *, where: str) -> dict[str, Tensor]:
    """The weights under our names. CheckpointError for a name that is none of theirs."""
    num_kernels, renamed = len(settings.generator["kernels"]), {}
    for name, tensor in fold_weight_norm(dict(tensors), where=where).items():
        stem, _, kind = name.rpartition(".")
        match stem.split("."):
            case ["dict"]:
                own = "units"
            case ["spkr"]:
                own = "speakers"
            case ["f0_quant_embed"]:
                own = "pitch"
            case ["conv_pre"]:
                own = "generator.first"
            case ["conv_post"]:
                own = "generator.last"
            case ["ups", number]:
                own = f"generator.blocks.{number}.1"
            case ["resblocks", number, ("convs1" | "convs2") as which, unit] if number.isdecimal():
                block, branch = divmod(int(number[:9]), num_kernels)
                own = f"generator.blocks.{block}.2.branches.{branch}.{unit}.{_BRANCH[which]}"
            case ["dur_predictor", ("conv1" | "conv2") as conv, "0"]:
                own = f"durations.convs.{int(conv[-1]) - 1}"
            case ["dur_predictor", ("ln1" | "ln2") as norm]:
                own = f"durations.norms.{int(norm[-1]) - 1}"
            case ["dur_predictor", "proj"]:
                own = "durations.last"
            case _:
                raise CheckpointError(f"{where}: {name!r} is no weight of a CodeHiFiGAN that is known here")
        renamed[f"{own}.{kind}"] = tensor.float()
    return renamed

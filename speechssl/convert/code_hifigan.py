"""CodeHiFiGAN, the unit vocoders that fairseq, textlesslib and speech-resynthesis released: config and checkpoint.

The checkpoint is a pickled dict whose "generator" has the weights, with weight norm. Taken over: units, speakers by
number or by an embedding from outside, F0 as a number, as bins or coded by a VQ-VAE that is part of the checkpoint, the
duration predictor. Refused, by name: styles, VQ-VAEs that were trained with the vocoder, and HiFi-GAN's small residual
blocks. A coded vocoder wants F0 at 200 Hz (`UnitVocoder.coded`): (Hz - mean) / deviation of the speaker, 0 where
unvoiced, by their YAAPT.

Speakers are called by their numbers, for the files hold no names; the unit model is not known from them either.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.convert import files, hifigan, pickle_reader
from speechssl.convert.weights import fold_weight_norm
from speechssl.errors import CheckpointError, ConfigError
from speechssl.vocoders.durations import Settings as Durations
from speechssl.vocoders.pitch_coder import Config as PitchCoder
from speechssl.vocoders.unit_vocoder import Config, UnitVocoder

_UNKNOWN = {"multistyle": "styles", "lambda_commit": "a VQ-VAE of F0 trained with the vocoder",
            "lambda_commit_code": "a VQ-VAE of units"}  # fmt: skip
_F0_HZ = 200


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
        generator = hifigan.generator_settings(values, where=where)
        dim, speakers, inputs = values["embedding_dim"], 0, 0
        if values.get("embedder_params"):
            inputs = values.get("embedder_dim", 256)
        elif values.get("multispkr"):
            speakers = values.get("num_speakers", 200)
        bins = values.get("f0_quant_num_bin", 0) if values.get("f0") else 0
        coder = None
        if values.get("f0_quantizer_path"):
            coder = _coder(values["f0_quantizer"], math.prod(values["upsample_rates"]), values, where)
            bins = coder.num_codes
        predictor = values.get("dur_predictor_params")
        durations = None
        if predictor:
            durations = Durations(predictor["var_pred_hidden_dim"], predictor["var_pred_kernel_size"],
                                  predictor["var_pred_dropout"])  # fmt: skip
        if speakers > 1 << 20:
            raise CheckpointError(f"{where}: {speakers} speakers are more than any vocoder has")
        return Config(
            num_units=values["num_embeddings"], dim=dim, speakers=tuple(map(str, range(speakers))), speaker_dim=dim,
            sample_rate=values.get("sampling_rate", 16_000), generator=generator, speaker_inputs=inputs,
            pitch_channels=int(bool(values.get("f0")) and not bins), pitch_bins=bins, last_slope=hifigan.LAST_SLOPE,
            durations=durations, pitch_coder=coder,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{where}: not a usable config of a CodeHiFiGAN: {error!r}") from error


def _coder(quantizer: Mapping[str, Any], hop: int, values: Mapping[str, Any], where: str) -> PitchCoder:
    """The shape of a VQ-VAE of F0. CheckpointError for a shape that we do not have, other exceptions for none."""
    codes, encoder, decoder = (dict(quantizer[f"f0_{part}_params"]) for part in ("vq", "encoder", "decoder"))
    fixed = {"levels": 1, "strides_t": [2], "m_conv": 1.0, "dilation_cycle": None, "res_scale": False,
             "reverse_decoder_dilation": False}  # fmt: skip
    for part in (codes, encoder, decoder):
        if strange := [key for key, value in fixed.items() if part.get(key, value) != value]:
            raise CheckpointError(
                f"{where}: f0_quantizer: {strange[0]}={part[strange[0]]!r}, which is not supported here"
            )
    frames, rest = divmod(_F0_HZ * hop, values.get("sampling_rate", 16_000))
    same = ("input_emb_width", "output_emb_width", "downs_t", "width", "depth", "dilation_growth_rate")
    (stages,), growth = encoder["downs_t"], encoder.get("dilation_growth_rate", 1)
    if rest or any(encoder.get(key) != decoder.get(key) for key in same):
        raise CheckpointError(f"{where}: f0_quantizer: encoder and decoder of F0 differ, or units are no whole frames "
                              f"of F0 at {_F0_HZ} Hz, which is not supported here")  # fmt: skip
    return PitchCoder(codes["l_bins"], codes["emb_width"], encoder["width"], stages, encoder["depth"], growth,
                      encoder["input_emb_width"], frames, codes["mu"])  # fmt: skip


def _coder_name(stem: str, stages: int) -> str:
    """Our name of a convolution of the VQ-VAE, or "" where it has none such."""
    match stem.split("."):
        case ["quantizer", "decoder", "out"]:
            return f"pitch_coder.decoder.{stages + 1}"
        case ["quantizer", ("encoder" | "decoder") as side, "level_blocks", "0", "model", *rest]:
            own = f"pitch_coder.{side}"
        case _:
            return ""
    convolution, blocks = ("0", "1") if side == "encoder" else ("1", "0")
    match rest:
        case [number]:
            return f"{own}.{number}"
        case [number, which] if which == convolution:
            return f"{own}.{number}.{which}"
        case [number, which, "model", block, "model", ("1" | "3") as conv] if which == blocks:
            return f"{own}.{number}.{which}.{block}.{'dilated' if conv == '1' else 'last'}"
    return ""


def our_tensors(tensors: Mapping[str, Tensor], settings: Config, *, where: str) -> dict[str, Tensor]:
    """The weights under our names. CheckpointError for a name that is none of theirs."""
    num_kernels = len(settings.generator["kernels"])
    renamed: dict[str, Tensor] = {}
    for name, tensor in fold_weight_norm(dict(tensors), where=where).items():
        stem, _, kind = name.rpartition(".")
        if name == "quantizer.vq.level_blocks.0.k":  # codewords; what they were moving averages of is not kept
            own, words = "pitch_coder.codebook", len(tensor)
            renamed |= {f"{own}.sums": tensor.float()[None], f"{own}.counts": torch.ones(1, words),
                        f"{own}.restart.idle": torch.zeros(1, words, dtype=torch.int64)}  # fmt: skip
            continue
        match stem.split("."):
            case ["quantizer", *_] if settings.pitch_coder is not None and (
                found := _coder_name(stem, settings.pitch_coder.stages)
            ):
                own = found
            case ["dict"]:
                own = "units"
            case ["spkr"]:
                own = "speakers"
            case ["f0_quant_embed" | "f0_dict"]:
                own = "pitch"
            case ["dur_predictor", ("conv1" | "conv2") as conv, "0"]:
                own = f"durations.convs.{int(conv[-1]) - 1}"
            case ["dur_predictor", ("ln1" | "ln2") as norm]:
                own = f"durations.norms.{int(norm[-1]) - 1}"
            case ["dur_predictor", "proj"]:
                own = "durations.last"
            case _ if found := hifigan.generator_name(stem, num_kernels):
                own = found
            case _:
                raise CheckpointError(f"{where}: {name!r} is no weight of a CodeHiFiGAN that is known here")
        renamed[f"{own}.{kind}"] = tensor.float()
    return renamed

"""The codebooks that an encoder was trained with, as a unit model's quantizer, and the encoder whose frames they take.

wav2vec 2.0 (arXiv:2006.11477): the Gumbel quantizer of released checkpoints that still hold it (pre-trained ones do,
fine-tuned ones do not); its frames are those of the front end, which becomes the encoder. vq-wav2vec
(arXiv:1910.05453): the encoder quantizes as it goes, and its layer 0 is made of codebook entries: the nearest one is
the one that was chosen, whatever chose it. HuBERT-Soft (arXiv:2111.02392): the head that gives soft units.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from speechssl import config
from speechssl.convert.weights import Loaded
from speechssl.encoders import front_end
from speechssl.encoders.pretrained import Pretrained
from speechssl.encoders.vq_wav2vec import Model as VqWav2vec
from speechssl.errors import CheckpointError
from speechssl.quantizers import Quantizer
from speechssl.quantizers.cosine import Cosine
from speechssl.quantizers.gumbel import GumbelCodebooks
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.product import Product


@dataclass(frozen=True)
class Trained:
    """The parts of a unit model."""

    pretrained: Pretrained
    layer: int
    quantizer: Quantizer


def of_checkpoint(loaded: Loaded) -> Trained:
    """Of any checkpoint that was read. CheckpointError where it holds no codebook."""
    name, family = loaded.pretrained.card.name, loaded.pretrained.card.family
    if family == "vq_wav2vec":
        return of_vq_wav2vec(loaded.pretrained)
    if "codes" in loaded.codebook:
        return of_head(loaded)
    if family != "wav2vec2" or not loaded.codebook:
        raise CheckpointError(f"{name} ({family}): no codebook of its training is there; learn one: speechssl kmeans")
    return of_front_end(loaded.pretrained, gumbel(loaded.codebook, where=name))


def of_head(loaded: Loaded) -> Trained:
    """The units that a prediction head over the last layer was trained for."""
    held, encoder = loaded.codebook, loaded.pretrained.encoder
    bias = held.get("head_bias", torch.zeros(len(held["head_weight"])))
    return Trained(loaded.pretrained, encoder.num_layers,
                   Cosine(held["head_weight"], bias, held["codes"], torch.tensor(0.1)))  # fmt: skip


def gumbel(tensors: Mapping[str, Tensor], *, where: str) -> GumbelCodebooks:
    """From `Loaded.codebook`. The number of groups is how many vectors the projection behind them takes."""
    if missing := sorted({"weight", "bias", "codebook", "projection"} - set(tensors)):
        raise CheckpointError(f"{where}: its quantizer's {', '.join(missing)} is missing")
    codebook, width = tensors["codebook"], (0, *tensors["projection"].shape)[-1]
    rows = codebook.shape[-2] if codebook.ndim == 3 and len(codebook) == 1 else 0
    groups = width // codebook.shape[-1] if rows and codebook.shape[-1] else 0
    logits = len(tensors["weight"]) if tensors["weight"].ndim else 0
    divided = groups > 0 and groups * codebook.shape[-1] == width and logits % groups == 0
    if not divided or rows not in (logits, logits // groups):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(tensors.items()))
        raise CheckpointError(f"{where}: its quantizer's shapes do not belong together: {shapes}")
    codebook = codebook.reshape(-1, logits // groups, codebook.shape[-1])
    return GumbelCodebooks(tensors["weight"], tensors["bias"], codebook)


def of_front_end(pretrained: Pretrained, quantizer: Quantizer) -> Trained:
    """For codebooks over the frames of an encoder's front end."""
    model = front_end.part_of(pretrained.encoder)
    card = dataclasses.replace(pretrained.card, family="front_end", config=config.to_dict(model.config),
                               name=f"front end of {pretrained.card.name}")  # fmt: skip
    return Trained(Pretrained(model, card), 0, quantizer)


def of_vq_wav2vec(pretrained: Pretrained) -> Trained:
    """The entries of each group, of which layer 0 is made."""
    encoder = pretrained.encoder
    if not isinstance(encoder, VqWav2vec):
        raise CheckpointError(f"{pretrained.card.name}: no vq-wav2vec")
    codebook = encoder.quantizer.codebook.detach().expand(encoder.config.groups, -1, -1)
    return Trained(pretrained, 0, Product([KMeans(entries.clone()) for entries in codebook]))

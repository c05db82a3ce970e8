"""The unit model: an encoder, one of its layers and a quantizer. Waveform in, discrete units out.

On disk one folder: `card.json`, `quantizer.safetensors`, and `encoder/` where the encoder is embedded. An encoder
without weights (MFCC) is rebuilt from the card; any other is found again by the id in the card. The card holds the
sha256 of encoder and quantizer: used with another encoder the units would be other numbers, so that is an error.
"""

import dataclasses
import hashlib
import importlib
import json
import pkgutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from speechssl import config, encoders, files, quantizers
from speechssl.data.samples import samples_at
from speechssl.encoders import pretrained as pretrained_files
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import CheckpointError, ConfigError
from speechssl.nn.lengths import frame_rule
from speechssl.quantizers import Quantizer, SoftQuantizer
from speechssl.units.card import (
    FORMAT,
    EncoderReference,
    QuantizerReference,
    StoredCard,
    UnitModelCard,
    find,
    read_card,
)
from speechssl.units.units import Units

if TYPE_CHECKING:
    from speechssl.audio import Audio


class UnitModel:
    """Waveform to `Units`: the frames of one encoder layer, each replaced by its codebook entry's number."""

    def __init__(
        self, pretrained: Pretrained, layer: int, quantizer: Quantizer, card: UnitModelCard | None = None
    ) -> None:
        encoder = pretrained.encoder
        if not 0 <= layer <= encoder.num_layers:
            raise ConfigError(
                f"layer {layer}: this {pretrained.card.family} encoder has layers 0..{encoder.num_layers}"
            )
        channels = encoders.layer_dim(encoder, layer)
        if quantizer.dim != channels:
            raise ConfigError(
                f"a quantizer for {quantizer.dim} channels does not fit an encoder with {channels} channels"
            )
        self.pretrained = pretrained
        self.layer = layer
        self.quantizer = quantizer
        self.card = card or UnitModelCard()

    @property
    def size(self) -> int:
        """V, the number of units."""
        return self.quantizer.size

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform it takes."""
        return int(self.pretrained.encoder.sample_rate)

    @property
    def rate_hz(self) -> float:
        """Units per second before deduplication."""
        return self.sample_rate / int(self.pretrained.encoder.hop)

    @cached_property
    def hash(self) -> str:
        """Identity of the units it gives: over encoder, layer and quantizer; independent of names and files."""
        return unit_model_sha256(self.pretrained.sha256, self.layer, self.quantizer)

    def __call__(self, audio: "str | Path | Audio | np.ndarray | Tensor", sample_rate: int | None = None) -> Units:
        """Units of a file, of `read_audio`'s result, or of samples [S] in [-1, 1] at sample_rate Hz (resampled).

        Raises AudioError for a recording that cannot be used; too few samples for a frame give empty units.
        """
        samples = samples_at(audio, sample_rate, self.sample_rate)
        device = next(self.pretrained.encoder.parameters(), torch.empty(0)).device
        return self.quantize(self.pretrained.features_long(torch.from_numpy(samples).to(device), self.layer))

    def quantize(self, features: Tensor) -> Units:
        """Units of features [T, C] of this model's layer."""
        ids = self.quantizer.encode(features).cpu().numpy()
        return Units.from_frames(ids, rate_hz=self.rate_hz, size=self.size)

    @property
    def soft_dim(self) -> int:
        """D, the dimensions of its soft units. ConfigError where it has none."""
        return self.soft(torch.zeros(1, self.quantizer.dim)).shape[1]

    def soft(self, features: Tensor) -> Tensor:
        """Soft units [..., D] float32 of features [..., C] of this model's layer. ConfigError where it has none."""
        if not isinstance(self.quantizer, SoftQuantizer):
            raise ConfigError(f"{self.card.name or 'this unit model'}: its units are not soft; those of a prediction "
                              "head are (recipes/conf/soft_units.toml)")  # fmt: skip
        return self.quantizer.soft(features)

    def describe(self, weights: Literal["none", "embedded", "external"]) -> StoredCard:
        """The card as it is stored."""
        encoder = self.pretrained.encoder
        return StoredCard(
            format=FORMAT,
            name=self.card.name,
            encoder=encoder_reference(self.pretrained, weights),
            layer=self.layer,
            sample_rate=self.sample_rate,
            rate_hz=self.rate_hz,
            frame_rule=frame_rule(encoder.receptive_field, encoder.hop),
            num_units=self.size,
            quantizer=QuantizerReference(quantizer_kind(self.quantizer), quantizer_sha256(self.quantizer)),
            sha256=self.hash,
            licence=self.card.licence,
            training=self.card.training,
        )

    def save(self, folder: str | Path, *, embed_encoder: bool = True) -> None:
        """Write the model into `folder` (made if absent).

        Without `embed_encoder` the card names the encoder by id and sha256, and loading needs it at hand.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        has_weights = bool(self.pretrained.encoder.state_dict())
        weights: Literal["none", "embedded", "external"] = "embedded" if embed_encoder else "external"
        weights = weights if has_weights else "none"
        if weights == "embedded":
            pretrained_files.save(folder / "encoder", self.pretrained)
        pretrained_files.write_tensors(folder / "quantizer.safetensors", self.quantizer.tensors())
        text = json.dumps(dataclasses.asdict(self.describe(weights)), indent=2, ensure_ascii=False)
        (folder / "card.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, *, encoder: Pretrained | None = None, offline: bool = False) -> "UnitModel":
        """Read a unit model from a folder, or a built-in one by name ("default").

        encoder: used instead of looking for the one in the card; it must be the same one.
        Raises CheckpointError where files are missing, damaged, or the encoder is another than the card's.
        """
        path = find(folder)
        card = read_card(path)
        quantizer = _load_quantizer(path, card)
        pretrained = encoder or _load_encoder(path, card.encoder, offline)
        if pretrained.sha256 != card.encoder.sha256:
            raise CheckpointError(
                f"{path}: made for encoder {card.encoder.id} (sha256 {card.encoder.sha256[:12]}…), but got "
                f"{pretrained.card.name or pretrained.card.family} (sha256 {pretrained.sha256[:12]}…): other weights, "
                "settings or normalisation would give other units"
            )
        model = cls(pretrained, card.layer, quantizer, UnitModelCard(card.name, card.licence, card.training))
        described = model.describe(card.encoder.weights)
        named = dataclasses.replace(described.encoder, id=card.encoder.id)  # one encoder may have several names
        if dataclasses.replace(described, encoder=named) != card:
            raise CheckpointError(f"{path}: card.json does not describe the files beside it; it was changed")
        return model


def unit_model_sha256(encoder_sha256: str, layer: int, quantizer: Quantizer) -> str:
    """The hash of a unit model made of these parts."""
    parts = [FORMAT, encoder_sha256, layer, quantizer_sha256(quantizer)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def encoder_reference(pretrained: Pretrained, weights: Literal["none", "embedded", "external"]) -> EncoderReference:
    """How a card names an encoder."""
    card = pretrained.card
    resolved = config.to_dict(pretrained.encoder.config) if hasattr(pretrained.encoder, "config") else card.config
    plain = json.loads(json.dumps(resolved))  # tuples as lists, as JSON gives them back
    return EncoderReference(card.name or card.family, pretrained.sha256, card.family, plain, card.normalize,
                            card.normalize_eps, weights)  # fmt: skip


def quantizer_kind(quantizer: Quantizer) -> str:
    """The name of its module in speechssl.quantizers."""
    return type(quantizer).__module__.rpartition(".")[2]


def quantizer_sha256(quantizer: Quantizer) -> str:
    """sha256 over kind and tensors."""
    digest = hashlib.sha256(quantizer_kind(quantizer).encode())
    for name, tensor in sorted(quantizer.tensors().items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load_quantizer(folder: Path, card: StoredCard) -> Quantizer:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "quantizer.safetensors"
    kinds = sorted(m.name for m in pkgutil.iter_modules(quantizers.__path__) if not m.name.startswith("_"))
    if card.quantizer.kind not in kinds:  # the card is data: it may pick one of ours, never a path to import
        raise CheckpointError(f"{folder}: unknown quantizer {card.quantizer.kind!r}")
    module = importlib.import_module(f"{quantizers.__name__}.{card.quantizer.kind}")
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    found = next((c for c in classes if hasattr(c, "from_tensors")), None)
    if found is None:
        raise CheckpointError(f"{folder}: {card.quantizer.kind} is not a quantizer")
    try:
        files.check_regular(path)
        quantizer = found.from_tensors(load_file(path))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a usable quantizer: {error}") from error
    if quantizer_sha256(quantizer) != card.quantizer.sha256:
        raise CheckpointError(f"{path}: does not match the sha256 in card.json; the file was changed")
    return quantizer


def _load_encoder(folder: Path, reference: EncoderReference, offline: bool) -> Pretrained:
    if reference.weights == "embedded":
        return pretrained_files.load(folder / "encoder")
    if reference.weights == "none":
        try:
            model = pretrained_files.build_empty(reference.family, reference.config).eval()
        except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
            raise CheckpointError(f"{folder}: cannot rebuild encoder {reference.family}: {error}") from error
        if model.state_dict():  # on the meta device: no memory was taken by the numbers in the card
            raise CheckpointError(f"{folder}: an encoder {reference.family} has weights, and the card says none")
        return Pretrained(model, EncoderCard(reference.family, reference.config, reference.normalize,
                                             reference.normalize_eps, name=reference.id))  # fmt: skip
    from speechssl import convert

    if "://" in reference.id:  # whoever wrote the card does not decide whom we call
        raise CheckpointError(
            f"{folder}: needs the encoder from {reference.id!r}; an address in a card is not fetched. Give it with "
            "--encoder, or `encoder=` from Python."
        )
    try:
        return convert.load_encoder(reference.id, offline=offline, normalize=reference.normalize)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: needs encoder {reference.id!r}, which was not embedded and cannot be loaded from there: "
            f"{error}. Give it with --encoder, or `encoder=` from Python."
        ) from error

"""A trained encoder with its card: what is needed to use it right. On disk `config.json` + `model.safetensors`.

The card says how the waveform is normalised; it is never guessed. The hash is over the weights' values, so the same
model converted from two formats has one identity.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl import config, encoders
from speechssl.errors import CheckpointError


@dataclass(frozen=True)
class EncoderCard:
    """What a stored encoder says of itself."""

    family: str  # module name in speechssl.encoders
    config: dict[str, Any]  # plain values of that family's Config
    normalize: bool = False  # zero mean, unit variance per utterance before the encoder
    normalize_eps: float = 1e-5  # added to the variance (fairseq 1e-5, Hugging Face 1e-7)
    name: str = ""  # for people: "facebook/hubert-base-ls960", a file name
    source: str = ""  # format it came from: "fairseq", "huggingface", "torchaudio", "fairseq2", "s3prl", "speechssl"
    licence: str = ""


@dataclass(frozen=True)
class Pretrained:
    """An encoder in eval mode and its card."""

    encoder: torch.nn.Module
    card: EncoderCard

    @property
    def sha256(self) -> str:
        """Identity: over family, config, normalisation and weights; independent of name, format and device."""
        return weights_sha256(self.encoder, self.card)

    def normalize(self, wav: Tensor) -> Tensor:
        """wav [..., S] as the encoder wants it: one utterance per row, without padding."""
        if not self.card.normalize or wav.shape[-1] == 0:
            return wav
        centred = wav.double() - wav.double().mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + self.card.normalize_eps).rsqrt()
        return (centred * scale).to(wav.dtype)

    @torch.inference_mode()
    def features(self, wav: Tensor, layer: int) -> Tensor:
        """Layer `layer` [T, C] of one utterance [S] at the encoder's sample rate; T = 0 for too few samples."""
        layers, lengths = self.encoder.layers(self.normalize(wav).unsqueeze(0), upto=layer)
        return layers[layer][0, : int(lengths[0])]


def save(folder: Path, pretrained: Pretrained) -> None:
    """Write the encoder as `config.json` + `model.safetensors` into `folder` (made if absent)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in pretrained.encoder.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "speechssl"})
    card = {
        "format": "speechssl-encoder-1",
        **dataclasses.asdict(pretrained.card),
        "sha256": pretrained.sha256,
    }
    (folder / "config.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_native(folder: Path) -> bool:
    """Whether `folder` holds an encoder in our own format."""
    try:
        return '"speechssl-encoder-1"' in (folder / "config.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def load(folder: Path) -> Pretrained:
    """Read an encoder written by `save`. Raises CheckpointError where files are damaged or disagree with their hash."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        stated = raw.pop("sha256")
        if raw.pop("format") != "speechssl-encoder-1":
            raise KeyError("format")
        card = config.build(EncoderCard, raw)
        model = encoders.build(card.family, card.config)
        model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    except (OSError, KeyError, TypeError, AttributeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: not a usable speechssl encoder: {error}") from error
    pretrained = Pretrained(model.eval().requires_grad_(False), card)
    if pretrained.sha256 != stated:
        raise CheckpointError(f"{folder}: weights do not match the sha256 in config.json; the files were changed")
    return pretrained


def weights_sha256(model: torch.nn.Module, card: EncoderCard) -> str:
    """sha256 over what decides the features: family, resolved config, normalisation, every tensor by sorted name."""
    resolved = config.to_dict(model.config) if hasattr(model, "config") else card.config
    head = [card.family, resolved, card.normalize, card.normalize_eps if card.normalize else None]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()

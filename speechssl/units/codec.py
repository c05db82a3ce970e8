"""A codec on disk, and as a unit model: a folder that `speechssl units --model` reads, too.

codec.json            config, rates, name, licence, sha256
codec.safetensors     decoder and codebooks
encoder/              the encoder in our own format
card.json, quantizer.safetensors   the unit model of the first codebooks, as many as make at most 2^24 units
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl import config, files
from speechssl.codecs.model import Codec, Config
from speechssl.encoders import pretrained as native
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import CheckpointError, ConfigError
from speechssl.quantizers import Quantizer
from speechssl.quantizers.fsq import FSQ, ProjectedFSQ
from speechssl.quantizers.residual import Residual
from speechssl.quantizers.residual_codes import ResidualCodes
from speechssl.units.card import MOST_UNITS, UnitModelCard
from speechssl.units.model import UnitModel, unit_model_sha256

FORMAT = "speechssl-codec-1"
_MOST_BYTES = 16 << 20  # of codec.json


@dataclass(frozen=True)
class CodecFile:
    """codec.json, field by field."""

    format: str
    name: str
    config: Config
    sample_rate: int  # Hz
    rate_hz: float  # frames per second
    bitrate: float  # bit/s
    sha256: str  # `sha256` of the codec
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


def sha256(codec: Codec) -> str:
    """Identity of a codec: over its config and every tensor."""
    digest = hashlib.sha256(json.dumps([FORMAT, config.to_dict(codec.config)], sort_keys=True).encode())
    for name, tensor in sorted(codec.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pretrained_encoder(codec: Codec, name: str = "") -> Pretrained:
    """Its encoder with a card; it is not copied."""
    family = str(codec.config.encoder["family"])
    card = EncoderCard(family, config.to_dict(codec.encoder.config), name=name or "codec", source="speechssl")
    return Pretrained(codec.encoder.eval(), card)


def unit_model(codec: Codec, card: UnitModelCard | None = None, num_codebooks: int | None = None) -> UnitModel:
    """The first codebooks as a unit model, by default as many as make no more than 2^24 units together.

    Its units are the codes as one number, the last codebook's as the lowest digit (`quantizers.residual`).
    """
    card = card or UnitModelCard(name="codec")
    if codec.fsq is not None:
        quantizer: Quantizer = projected(codec.fsq)
    else:
        most = int(math.log(MOST_UNITS) / math.log(codec.sizes[0]) + 1e-9)
        books = codec.quantizer()
        assert isinstance(books, ResidualCodes)
        quantizer = Residual(books.codebooks[: num_codebooks or most])
    return UnitModel(pretrained_encoder(codec, card.name), 0, quantizer, card)


def projected(fsq: FSQ) -> ProjectedFSQ:
    """FSQ of frames that are its scalars."""
    values = torch.cat([(torch.arange(level) - level // 2) / (level // 2) for level in fsq.levels])
    none, same = torch.zeros(2, fsq.dim), torch.eye(fsq.dim)
    return ProjectedFSQ(torch.tensor(fsq.levels), none[0].clone(), same, none[1].clone(), values, same.clone())


def codes_quantizer(codec: Codec, num_codebooks: int | None = None) -> Quantizer:
    """Frames to the codes [..., n] of the first codebooks (None: all); of FSQ, which has one, to its units [...]."""
    most = len(codec.sizes)
    if num_codebooks is not None and not 1 <= num_codebooks <= most:
        raise ConfigError(f"the codec has 1..{most} codebooks, not {num_codebooks}")
    quantizer = codec.quantizer()
    return projected(quantizer) if isinstance(quantizer, FSQ) else ResidualCodes(quantizer.codebooks[:num_codebooks])


def token_models(codec: Codec) -> dict[str, Quantizer]:
    """Every quantizer that this codec's tokens may come from, by the hash that their sidecar has."""
    encoder = pretrained_encoder(codec).sha256
    found = [codes_quantizer(codec, n) for n in range(1, len(codec.sizes) + 1)]
    for n in range(1, len(codec.sizes) + 1):
        if codec.fsq is None and codec.sizes[0] ** n <= MOST_UNITS:
            found.append(unit_model(codec, num_codebooks=n).quantizer)
    return {unit_model_sha256(encoder, 0, quantizer): quantizer for quantizer in found}


def as_codes(tokens: Tensor, quantizer: Quantizer) -> Tensor:
    """Codes [T, n] for `Codec.synthesize` of units [T] or codes [T, n] int64 that `quantizer` made."""
    if isinstance(quantizer, Residual):
        return quantizer.codes(tokens)
    return tokens if tokens.ndim == 2 else tokens.unsqueeze(1)


def save(folder: str | Path, codec: Codec, card: UnitModelCard | None = None) -> None:
    """Write the codec, and the unit model of its first codebooks, into `folder` (made if absent)."""
    folder, card = Path(folder), card or UnitModelCard(name="codec")
    unit_model(codec, card).save(folder)
    others = {name: tensor for name, tensor in codec.state_dict().items() if not name.startswith("encoder.")}
    native.write_tensors(folder / "codec.safetensors", others)
    described = CodecFile(FORMAT, card.name, codec.config, codec.sample_rate, codec.rate_hz, codec.bitrate,
                          sha256(codec), card.licence, card.training)  # fmt: skip
    text = json.dumps(asdict(described), indent=2, ensure_ascii=False)
    (folder / "codec.json").write_text(text + "\n", encoding="utf-8")


def read_file(folder: str | Path) -> CodecFile:
    """codec.json, checked for its form only. CheckpointError where there is none."""
    path = Path(folder) / "codec.json"
    try:
        raw = files.read_json(path, most=_MOST_BYTES)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ValueError(f'format is not "{FORMAT}"')
        return config.build(CodecFile, raw)
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: no codec there (no codec.json; recipes.codec makes one)") from None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: not a codec's card: {error}") from error


def load(folder: str | Path) -> Codec:
    """A codec in eval mode. CheckpointError where files are missing, damaged or not those that codec.json describes."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    stated = read_file(folder)
    encoder = native.load(folder / "encoder").encoder
    path = folder / "codec.safetensors"
    try:
        files.check_regular(path)
        tensors = {**load_file(path), **{f"encoder.{name}": t for name, t in encoder.state_dict().items()}}
        with torch.device("meta"):  # shapes first: codec.json does not decide how much memory is taken
            needed = {name: tensor.shape for name, tensor in Codec(stated.config).state_dict().items()}
        if needed != {name: tensor.shape for name, tensor in tensors.items()}:
            raise ValueError("codec.json does not describe the tensors beside it")
        codec = Codec(stated.config)
        codec.load_state_dict(tensors, strict=True)
    except (OSError, KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError,
            SafetensorError) as error:  # fmt: skip
        raise CheckpointError(f"{folder}: not a usable codec: {error}") from error
    if sha256(codec) != stated.sha256:
        raise CheckpointError(f"{folder}: the codec does not match the sha256 in codec.json; the files were changed")
    return codec.eval().requires_grad_(False)

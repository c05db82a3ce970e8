"""A trained encoder with its card: what is needed to use it right. On disk `config.json` + `model.safetensors`.

The card says how the waveform is normalised; it is never guessed. The hash is over the weights' values, so the same
model converted from two formats has one identity.

Long recordings go through in overlapping windows (`features_stream`). What that guarantees: the number of frames is
that of the whole, on one grid; normalisation and group norm use the statistics of the whole recording, so that layer 0
equals that of one pass up to rounding wherever `overlap_s` covers the positional convolution (1.28 s in wav2vec 2.0 and
its kin; the convolutions need nothing). MFCCs are exact. What it does not guarantee: attention sees one window, at
least `overlap_s` to either side of a kept frame, where one pass would see the whole recording;
`tools/bench/long_audio.py` measures the difference.
"""

import dataclasses
import hashlib
import importlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from speechssl import config, encoders, files
from speechssl.errors import CheckpointError, ConfigError
from speechssl.nn import fast
from speechssl.nn.precision import LowPrecision, Precision
from speechssl.nn.windows import Grid, WholeRecording, wave_moments

Kernel = Literal["plain", "fast"]
_FAST: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

_MOST_JSON = 16 << 20  # bytes
_MOST_PARTS = {"num_layers": 1000, "conv_layers": 100, "pos_conv_depth": 100, "context_kernels": 100,
               "context_layers": 100, "depth": 100, "dilations": 1000}  # fmt: skip

WINDOW_S = 60.0  # of a recording at once; a shorter one is done whole
OVERLAP_S = 5.0  # at either end of a window, computed and left out


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
    precision: Precision = "fp32"  # of the arithmetic; part of what decides the features, beside `sha256`
    stored_sha256: str = field(default="", repr=False)  # where the weights at hand are not those it is of
    kernel: Kernel = "plain"  # "fast": `speechssl.nn.fast`, equal up to rounding; part of what decides the last bits

    @property
    def sha256(self) -> str:
        """Identity: over family, config, normalisation and weights; independent of name, format, device, precision."""
        return self.stored_sha256 or weights_sha256(self.encoder, self.card)

    def with_precision(self, precision: Precision) -> "Pretrained":
        """The same encoder computing in "bf16" or "int8" (CPU only), features still float32; "fp32" is itself.

        ConfigError where it would have no effect (MFCC) or cannot be done.
        """
        if precision not in get_args(Precision):
            raise ConfigError(f"unknown precision {precision!r} (known: {', '.join(get_args(Precision))})")
        if precision == self.precision:
            return self
        if self.kernel != "plain":
            raise ConfigError(f"the fast form has no weights for {precision}: start from the plain encoder")
        if self.precision != "fp32":
            raise ConfigError(f"an encoder in {self.precision} has lost the weights for {precision}: start from fp32")
        return Pretrained(LowPrecision(self.encoder, precision).eval(), self.card, precision, self.sha256)

    def with_kernel(self, kernel: Kernel) -> "Pretrained":
        """The same encoder rebuilt for inference on a CPU ("fast"): in fp32 features equal up to rounding, sooner.

        The copy has the identity of the original and holds weights in a form that cannot be saved, trained or moved;
        the original may go. "plain" is itself. ConfigError where there is no fast form here, see `fast.supports`.
        """
        if kernel == self.kernel:
            return self
        if kernel == "plain":
            raise ConfigError("the fast form cannot be turned back: keep the plain encoder")
        if self.precision not in _FAST:
            raise ConfigError(f"the fast form computes in {' or '.join(_FAST)}, not in {self.precision}")
        plain = self.encoder.encoder if isinstance(self.encoder, LowPrecision) else self.encoder
        encoder = fast.accelerate(plain, _FAST[self.precision]).eval()
        return dataclasses.replace(self, encoder=encoder, stored_sha256=self.sha256, kernel=kernel)

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

    @torch.inference_mode()
    def all_layers(self, wav: Tensor) -> list[Tensor]:
        """Every layer [T, C] of one utterance [S], in one pass; see `features`."""
        layers, lengths = self.encoder.layers(self.normalize(wav).unsqueeze(0))
        return [layer[0, : int(lengths[0])] for layer in layers]

    @torch.inference_mode()
    def features_stream(
        self, make_blocks: Callable[[], Iterable[Tensor]], layer: int, *, window_s: float = WINDOW_S,
        overlap_s: float = OVERLAP_S,
    ) -> Iterator[Tensor]:  # fmt: skip
        """Layer `layer` of a recording of any length in pieces [T, C], in memory that does not grow with it.

        `make_blocks` gives the waveform in blocks [S] from its beginning; it is called up to four times (a look at the
        length, statistics of the waveform, statistics of the first convolution, features), for wav2vec and vq-wav2vec
        once more per group norm. A recording that fits into
        one window is one piece, exactly `features` of the whole. See the module's docstring for what is guaranteed.
        ConfigError unless window_s is more than twice overlap_s.
        """
        encoder = self.encoder
        grid = Grid.of_seconds(window_s, overlap_s, sample_rate=encoder.sample_rate,
                               receptive_field=encoder.receptive_field, hop=encoder.hop)  # fmt: skip
        device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
        first = next(iter(grid.windows(make_blocks())))
        if first.whole:
            yield self.features(first.samples.to(device), layer)
            return
        blocks = self._normalized(make_blocks)
        again = _Again(blocks)  # nothing is opened where nothing is read
        moments = encoder.recording_moments(again) if isinstance(encoder, WholeRecording) else None
        statistics = {} if moments is None else {"moments": moments.to(device)}
        for window in grid.windows(blocks()):
            layers, _ = encoder.layers(window.samples.to(device).unsqueeze(0), upto=layer, **statistics)
            yield layers[layer][0, window.keep]

    def features_long(
        self, wav: Tensor, layer: int, *, window_s: float = WINDOW_S, overlap_s: float = OVERLAP_S
    ) -> Tensor:
        """Layer `layer` [T, C] of one utterance [S]: `features` up to window_s, in windows beyond."""
        return torch.cat([*self.features_stream(lambda: [wav], layer, window_s=window_s, overlap_s=overlap_s)])

    def _normalized(self, make_blocks: Callable[[], Iterable[Tensor]]) -> Callable[[], Iterable[Tensor]]:
        """As `normalize`, with the mean and variance of all blocks."""
        if not self.card.normalize:
            return make_blocks
        mean, variance = wave_moments(make_blocks())
        scale = (variance + self.card.normalize_eps) ** -0.5
        return lambda: (((block.double() - mean) * scale).to(block.dtype) for block in make_blocks())


@dataclass(frozen=True)
class _Again:
    """Blocks that can be read more than once."""

    make_blocks: Callable[[], Iterable[Tensor]]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.make_blocks())


def save(folder: Path, pretrained: Pretrained) -> None:
    """Write the encoder as `config.json` + `model.safetensors` into `folder` (made if absent). Only fp32 ones."""
    if pretrained.kernel != "plain":
        raise ConfigError("save the plain encoder, not its fast form: the kernel is chosen at use")
    if pretrained.precision != "fp32":
        raise ConfigError(f"save the fp32 encoder, not its {pretrained.precision} copy: precision is chosen at use")
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", pretrained.encoder.state_dict())
    card = {
        "format": "speechssl-encoder-1",
        **dataclasses.asdict(pretrained.card),
        "sha256": pretrained.sha256,
    }
    (folder / "config.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, format: str = "speechssl") -> None:
    """A safetensors file with the permissions of any other new file (the library makes it the owner's alone).

    Raises OSError for a full disk and the like, which the library has an error of its own for.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path, metadata={"format": format})
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
    path.chmod(mode)


def is_native(folder: Path) -> bool:
    """Whether `folder` holds an encoder in our own format."""
    try:
        return '"speechssl-encoder-1"' in files.read_text(folder / "config.json", most=_MOST_JSON)
    except (OSError, ValueError):
        return False


def build_empty(family: str, values: Mapping[str, Any]) -> torch.nn.Module:
    """A family's model on the meta device, without memory whatever its sizes. Raises ConfigError and what torch does.

    `values` come from outside: models of more parts than any real one are refused, because making the parts takes time.
    """
    for part in (values, *(value for value in values.values() if isinstance(value, Mapping))):  # an encoder in another
        for key, most in _MOST_PARTS.items():
            value = part.get(key, 0)
            count = len(value) if isinstance(value, list | tuple) else value
            if isinstance(count, int) and count > most:
                raise ConfigError(f"{key}: {count} are more than any model has")
    with torch.device("meta"):
        return encoders.build(family, values)


def load(folder: Path) -> Pretrained:
    """Read an encoder written by `save`. Raises CheckpointError where files are damaged or disagree with their hash."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        raw = files.read_json(folder / "config.json", most=_MOST_JSON)
        stated = raw.pop("sha256")
        if raw.pop("format") != "speechssl-encoder-1":
            raise KeyError("format")
        card = config.build(EncoderCard, raw)
        files.check_regular(folder / "model.safetensors")
        tensors = load_file(folder / "model.safetensors")
        needed = {key: tensor.shape for key, tensor in build_empty(card.family, card.config).state_dict().items()}
        if needed != {key: tensor.shape for key, tensor in tensors.items()}:  # before memory is taken by config.json
            raise ValueError("config.json does not describe the tensors beside it")
        model = encoders.build(card.family, card.config)
        model.load_state_dict(tensors, strict=True)
    except (OSError, KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError,
            SafetensorError) as error:  # fmt: skip
        raise CheckpointError(f"{folder}: not a usable speechssl encoder: {error}") from error
    pretrained = Pretrained(model.eval().requires_grad_(False), card)
    if pretrained.sha256 != stated:
        raise CheckpointError(f"{folder}: weights do not match the sha256 in config.json; the files were changed")
    return pretrained


def best_kernel(family: str, *, precision: Precision, device: str) -> Kernel:
    """The faster one of those that there are for encoders of a family on this machine."""
    if precision not in _FAST or device != "cpu" or family not in encoders.families():
        return "plain"
    model = importlib.import_module(f"{encoders.__name__}.{family}").Model
    return "fast" if fast.supports_kind(model, _FAST[precision]) else "plain"


def weights_sha256(model: torch.nn.Module, card: EncoderCard) -> str:
    """sha256 over what decides the features: family, resolved config, normalisation, every tensor by sorted name."""
    resolved = config.to_dict(model.config) if hasattr(model, "config") else card.config
    head = [card.family, resolved, card.normalize, card.normalize_eps if card.normalize else None]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()

"""The recogniser: waveform in, text out.

On disk one folder: `card.json`, `model.safetensors` (tensors of `encoder.` and `head.`) and `vocabulary.json`. The card
says how the waveform is normalised and holds hashes of all parts: a folder whose files do not belong together is an
error, never another text.

S samples, T frames, V symbols.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from speechssl import config, files
from speechssl.data.samples import samples_at
from speechssl.decoders import vocabulary as vocabularies
from speechssl.decoders.collapse import best_path
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.encoders import pretrained as encoder_files
from speechssl.encoders.pretrained import OVERLAP_S, WINDOW_S, EncoderCard, Pretrained
from speechssl.errors import CheckpointError
from speechssl.nn.adapters import add_adapters, bottleneck_of
from speechssl.nn.frame_head import FrameHead, Head
from speechssl.nn.lengths import frame_rule
from speechssl.recognition.emissions import Emissions

if TYPE_CHECKING:
    import numpy as np

    from speechssl.audio import Audio

FORMAT = "speechssl-recognizer-1"
_MOST_JSON = 16 << 20


@dataclass(frozen=True)
class RecognizerCard:
    """What people should know of a recogniser; the rest of card.json follows from its parts."""

    name: str = ""
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)  # free text: data, updates, seed, error


@dataclass(frozen=True)
class StoredCard:
    """card.json, field by field."""

    format: str
    name: str
    encoder: EncoderCard
    head: Head
    vocabulary_sha256: str
    num_symbols: int
    sample_rate: int  # Hz
    rate_hz: float
    frame_rule: str
    sha256: str  # `Recognizer.sha256`
    adapters: int = 0  # channels of the bottleneck behind each block; 0: none
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


class Recognizer:
    """Waveform to text. `card` is for people."""

    def __init__(
        self, encoder: nn.Module, encoder_card: EncoderCard, head: FrameHead, vocabulary: Vocabulary,
        card: RecognizerCard | None = None,
    ) -> None:  # fmt: skip
        if head.output.out_features != len(vocabulary):
            raise CheckpointError(
                f"a head of {head.output.out_features} symbols does not fit a vocabulary of {len(vocabulary)}"
            )
        self.emissions = Emissions(encoder, head).eval().requires_grad_(False)
        self.encoder_card, self.vocabulary, self.card = encoder_card, vocabulary, card or RecognizerCard()

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform it takes."""
        return int(self.emissions.sample_rate)

    @property
    def rate_hz(self) -> float:
        """Frames a second."""
        return self.sample_rate / int(self.emissions.hop)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.emissions.head.output.weight.device

    @cached_property
    def sha256(self) -> str:
        """Identity: over encoder, normalisation, head and vocabulary."""
        emissions = self.emissions
        parts = [
            FORMAT,
            encoder_files.weights_sha256(emissions.encoder, self.encoder_card),
            _plain(emissions.head.config),
        ]
        digest = hashlib.sha256(json.dumps([*parts, self.vocabulary.sha256], sort_keys=True).encode())
        for name, tensor in sorted(emissions.head.state_dict().items()):
            digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @property
    def pretrained(self) -> Pretrained:
        """Encoder and head as an encoder whose only layer, 0, are log probabilities."""
        return Pretrained(self.emissions, self.encoder_card, stored_sha256=self.sha256)

    def to(self, device: str | torch.device) -> "Recognizer":
        """Itself, moved to a device."""
        self.emissions.to(device)
        return self

    def transcribe(
        self, audio: "str | Path | Audio | np.ndarray | Tensor", sample_rate: int | None = None, *,
        window_s: float = WINDOW_S, overlap_s: float = OVERLAP_S,
    ) -> str:  # fmt: skip
        """The text of a file, of `read_audio`'s result, or of samples [S] in [-1, 1] at sample_rate Hz (resampled).

        Greedy: the best symbol of every frame. A recording longer than window_s is done in windows, of which overlap_s
        at either end is computed and left out. Raises AudioError for a recording that cannot be used; too few samples
        for a frame give an empty text.
        """
        samples = torch.from_numpy(samples_at(audio, sample_rate, self.sample_rate))
        return self.text(self.log_probs(samples, window_s=window_s, overlap_s=overlap_s))

    def log_probs(self, wav: Tensor, *, window_s: float = WINDOW_S, overlap_s: float = OVERLAP_S) -> Tensor:
        """Log probabilities [T, V] of one utterance [S] at `sample_rate`; T = 0 for too few samples."""
        return self.pretrained.features_long(wav.to(self.device), 0, window_s=window_s, overlap_s=overlap_s)

    @torch.inference_mode()
    def log_probs_batch(self, waves: list[Tensor]) -> list[Tensor]:
        """The same of several utterances [S] in one padded pass; equal up to rounding."""
        normal = [self.pretrained.normalize(wave.to(self.device)) for wave in waves]
        lengths = torch.tensor([len(wave) for wave in waves], device=self.device)
        found, frames = self.emissions(nn.utils.rnn.pad_sequence(normal, batch_first=True), lengths)
        return [rows[:length] for rows, length in zip(found, frames.tolist(), strict=True)]

    def text(self, log_probs: Tensor) -> str:
        """What greedy decoding makes of log probabilities [T, V]."""
        frames = torch.tensor([len(log_probs)], device=log_probs.device)
        return self.vocabulary.decode(best_path(log_probs[None], frames, self.vocabulary.blank)[0])

    def describe(self) -> StoredCard:
        """The card as it is stored."""
        encoder = self.emissions.encoder
        resolved = _plain(encoder.config) if hasattr(encoder, "config") else self.encoder_card.config
        return StoredCard(
            format=FORMAT, name=self.card.name, encoder=dataclasses.replace(self.encoder_card, config=resolved),
            head=self.emissions.head.config, vocabulary_sha256=self.vocabulary.sha256,
            num_symbols=len(self.vocabulary), sample_rate=self.sample_rate, rate_hz=self.rate_hz,
            frame_rule=frame_rule(self.emissions.receptive_field, self.emissions.hop), sha256=self.sha256,
            adapters=bottleneck_of(encoder), licence=self.card.licence, training=self.card.training,
        )  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write the recogniser into `folder` (made if absent); the card goes first and comes last."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.json").unlink(missing_ok=True)
        encoder_files.write_tensors(folder / "model.safetensors", self.emissions.state_dict())
        self.vocabulary.save(folder)
        text = json.dumps(config.to_dict(self.describe()), indent=2, ensure_ascii=False)
        temporary = folder / ".card.json.tmp"
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(folder / "card.json")

    @classmethod
    def load(cls, folder: str | Path) -> "Recognizer":
        """Read what `save` wrote. Raises CheckpointError where files are missing, damaged, or do not fit together."""
        path = Path(folder)
        card = read_card(path)
        vocabulary = vocabularies.load(path)
        try:
            model = _build(card)
            files.check_regular(path / "model.safetensors")
            tensors = _read_tensors(path / "model.safetensors")
            needed = {name: tensor.shape for name, tensor in model.state_dict().items()}
            if needed != {name: tensor.shape for name, tensor in tensors.items()}:  # before memory is taken by the card
                raise ValueError("card.json does not describe the tensors beside it")
            model.load_state_dict(tensors, assign=True)
            found = cls(model.encoder, card.encoder, model.head, vocabulary,
                        RecognizerCard(card.name, card.licence, card.training))  # fmt: skip
        except (OSError, KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise CheckpointError(f"{path}: not a usable recogniser: {error}") from error
        if _plain(found.describe()) != _plain(card):
            raise CheckpointError(f"{path}: card.json does not describe the files beside it; it was changed")
        return found


def load_recognizer(spec: str | Path, *, language: str | None = None) -> Recognizer:
    """A recogniser from a folder of ours, a Hugging Face folder, or fairseq's checkpoint beside its dictionary.

    language: of MMS's adapters. Raises CheckpointError.
    """
    if not (Path(spec) / "card.json").is_file():
        from speechssl.recognition.foreign import from_elsewhere

        return from_elsewhere(spec, language=language)
    if language is not None:
        raise CheckpointError(f"{spec}: language={language!r} has no effect on a recogniser of ours")
    return Recognizer.load(spec)


def is_recognizer(folder: Path) -> bool:
    """Whether `folder` holds a recogniser in our own format."""
    try:
        return f'"{FORMAT}"' in files.read_text(folder / "card.json", most=_MOST_JSON)
    except (OSError, ValueError):
        return False


def read_card(folder: Path) -> StoredCard:
    """card.json, checked for its form only. Raises CheckpointError."""
    try:
        raw = files.read_json(folder / "card.json", most=_MOST_JSON)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ValueError(f"format is not {FORMAT}")
        return config.build(StoredCard, raw)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder}: no recogniser there: {error}") from error


def _build(card: StoredCard) -> Emissions:
    """The model on the meta device: no memory whatever the card says."""
    encoder = encoder_files.build_empty(card.encoder.family, card.encoder.config)
    with torch.device("meta"):
        if card.adapters:
            add_adapters(encoder, card.adapters)
        return Emissions(encoder, FrameHead(card.head, encoder, card.num_symbols))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _plain(values: Any) -> Any:
    return json.loads(json.dumps(config.to_dict(values)))  # tuples as lists

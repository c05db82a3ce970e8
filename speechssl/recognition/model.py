"""The recogniser: waveform in, text out.

By CTC, or by a transducer where there is one. On disk one folder: `card.json`, `model.safetensors` (tensors of
`encoder.`, `head.` and `transducer.`) and `vocabulary.json`. The card says how the waveform is normalised and holds
hashes of all parts: a folder whose files do not belong together is an error, never another text.

S samples, T frames, V symbols, J channels of a transducer's joiner.
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
from speechssl.decoders.transducer import Shape, Transducer, greedy
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.encoders import pretrained as encoder_files
from speechssl.encoders.pretrained import OVERLAP_S, WINDOW_S, EncoderCard, Pretrained
from speechssl.errors import CheckpointError, ConfigError
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
    transducer: Shape | None = None  # None: CTC
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


class Recognizer:
    """Waveform to text. `card` is for people."""

    def __init__(
        self, encoder: nn.Module, encoder_card: EncoderCard, head: FrameHead, vocabulary: Vocabulary,
        card: RecognizerCard | None = None, transducer: Transducer | None = None,
    ) -> None:  # fmt: skip
        outputs = head.output.out_features
        if transducer is None and outputs != len(vocabulary):
            raise CheckpointError(f"a head of {outputs} symbols does not fit a vocabulary of {len(vocabulary)}")
        if transducer is not None:
            needed = (transducer.shape.joint, transducer.num_symbols, transducer.blank)
            if needed != (outputs, len(vocabulary), vocabulary.blank):
                raise CheckpointError(f"a transducer of {needed} channels, symbols and blank does not fit a head of "
                                      f"{outputs} and a vocabulary of {len(vocabulary)}")  # fmt: skip
        self.emissions = Emissions(encoder, head, transducer).eval().requires_grad_(False)
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

    @property
    def transducer(self) -> Transducer | None:
        """What writes behind the encoder and its head; None: CTC."""
        return self.emissions.transducer

    @cached_property
    def sha256(self) -> str:
        """Identity: over encoder, normalisation, head, transducer and vocabulary."""
        emissions = self.emissions
        parts = [
            FORMAT,
            encoder_files.weights_sha256(emissions.encoder, self.encoder_card),
            _plain(emissions.head.config),
        ]
        tensors = emissions.head.state_dict()
        if emissions.transducer is not None:
            parts.append(_plain(emissions.transducer.shape))
            tensors |= emissions.transducer.state_dict(prefix="transducer.")
        digest = hashlib.sha256(json.dumps([*parts, self.vocabulary.sha256], sort_keys=True).encode())
        for name, tensor in sorted(tensors.items()):
            digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @property
    def pretrained(self) -> Pretrained:
        """Encoder and head as an encoder whose only layer, 0, is what a decoder looks at, see `outputs`."""
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

        Greedy: the best symbol of every frame, or of every step of a transducer. A recording longer than window_s is
        done in windows, of which overlap_s at either end is computed and left out. Raises AudioError for a recording
        that cannot be used; too few samples for a frame give an empty text.
        """
        samples = torch.from_numpy(samples_at(audio, sample_rate, self.sample_rate))
        return self.text(self.outputs(samples, window_s=window_s, overlap_s=overlap_s))

    def log_probs(self, wav: Tensor, *, window_s: float = WINDOW_S, overlap_s: float = OVERLAP_S) -> Tensor:
        """Log probabilities [T, V] of one utterance [S] at `sample_rate`; T = 0 for too few samples.

        Raises ConfigError for a transducer, which has none of a frame alone.
        """
        self._check_frames_alone()
        return self.outputs(wav, window_s=window_s, overlap_s=overlap_s)

    def outputs(self, wav: Tensor, *, window_s: float = WINDOW_S, overlap_s: float = OVERLAP_S) -> Tensor:
        """What a decoder looks at: log probabilities [T, V], or what a transducer's joiner sees [T, J]."""
        return self.pretrained.features_long(wav.to(self.device), 0, window_s=window_s, overlap_s=overlap_s)

    def log_probs_batch(self, waves: list[Tensor]) -> list[Tensor]:
        """`log_probs` of several utterances [S] in one padded pass; equal up to rounding."""
        self._check_frames_alone()
        return self.outputs_batch(waves)

    @torch.inference_mode()
    def outputs_batch(self, waves: list[Tensor]) -> list[Tensor]:
        """`outputs` of several utterances [S] in one padded pass; equal up to rounding."""
        normal = [self.pretrained.normalize(wave.to(self.device)) for wave in waves]
        lengths = torch.tensor([len(wave) for wave in waves], device=self.device)
        found, frames = self.emissions(nn.utils.rnn.pad_sequence(normal, batch_first=True), lengths)
        return [rows[:length] for rows, length in zip(found, frames.tolist(), strict=True)]

    def text(self, outputs: Tensor) -> str:
        """What greedy decoding makes of `outputs`, log probabilities [T, V] or of a transducer [T, J]."""
        frames = torch.tensor([len(outputs)], device=outputs.device)
        if self.transducer is not None:
            return self.vocabulary.decode(greedy(self.transducer, outputs[None], frames)[0].ids)
        return self.vocabulary.decode(best_path(outputs[None], frames, self.vocabulary.blank)[0])

    def _check_frames_alone(self) -> None:
        if self.transducer is not None:
            raise ConfigError("a transducer's symbols depend on those before, so there are no log probabilities of "
                              "frames: use transcribe, or decoders.transducer_text on outputs")  # fmt: skip

    def describe(self) -> StoredCard:
        """The card as it is stored."""
        encoder = self.emissions.encoder
        resolved = _plain(encoder.config) if hasattr(encoder, "config") else self.encoder_card.config
        return StoredCard(
            format=FORMAT, name=self.card.name, encoder=dataclasses.replace(self.encoder_card, config=resolved),
            head=self.emissions.head.config, vocabulary_sha256=self.vocabulary.sha256,
            num_symbols=len(self.vocabulary), sample_rate=self.sample_rate, rate_hz=self.rate_hz,
            frame_rule=frame_rule(self.emissions.receptive_field, self.emissions.hop), sha256=self.sha256,
            adapters=bottleneck_of(encoder), transducer=None if self.transducer is None else self.transducer.shape,
            licence=self.card.licence, training=self.card.training,
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
            model = _build(card, vocabulary.blank)
            files.check_regular(path / "model.safetensors")
            tensors = _read_tensors(path / "model.safetensors")
            needed = {name: tensor.shape for name, tensor in model.state_dict().items()}
            if needed != {name: tensor.shape for name, tensor in tensors.items()}:  # before memory is taken by the card
                raise ValueError("card.json does not describe the tensors beside it")
            model.load_state_dict(tensors, assign=True)
            found = cls(model.encoder, card.encoder, model.head, vocabulary,
                        RecognizerCard(card.name, card.licence, card.training), model.transducer)  # fmt: skip
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


def _build(card: StoredCard, blank: int) -> Emissions:
    """The model on the meta device: no memory whatever the card says."""
    encoder = encoder_files.build_empty(card.encoder.family, card.encoder.config)
    with torch.device("meta"):
        if card.adapters:
            add_adapters(encoder, card.adapters)
        if card.transducer is None:
            return Emissions(encoder, FrameHead(card.head, encoder, card.num_symbols))
        head = FrameHead(card.head, encoder, card.transducer.joint)
        return Emissions(encoder, head, Transducer(card.transducer, card.num_symbols, blank))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _plain(values: Any) -> Any:
    return json.loads(json.dumps(config.to_dict(values)))  # tuples as lists

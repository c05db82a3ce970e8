"""What a job computes: the model, the settings that decide the bytes, and how a process loads the model.

`Job` is stored in the output folder and compared whole when a run is resumed; a setting that does not change the bytes
(workers, time limits, which part of a cluster) is not in it.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from speechssl import __version__, config, files
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.extract import atomic
from speechssl.units.card import MOST_UNITS, EncoderReference, QuantizerReference, find, is_normalizer, read_card

if TYPE_CHECKING:
    from speechssl.encoders.pretrained import Pretrained
    from speechssl.quantizers import Quantizer

Precision = Literal["fp32", "bf16", "int8"]
Kernel = Literal["plain", "fast"]
# Without a fast form: known without torch, which takes seconds to import.
PLAIN_ONLY = ("codec_mel", "codec_wave", "mfcc", "tdnn")
_MOST_BYTES = 16 << 20  # of job.json


@dataclass(frozen=True)
class ModelIdentity:
    """Which numbers come out: encoder, layer and, for units, quantizer."""

    encoder: EncoderReference
    layer: int
    sample_rate: int  # Hz
    rate_hz: float
    frame_rule: str
    name: str = ""
    quantizer: QuantizerReference | None = None
    num_units: int | None = None
    unit_model: str | None = None  # sha256 of encoder, layer and quantizer together; a normaliser's: the reference's
    reduced: bool = False  # units of a normaliser: runs merged, without alignment; rate_hz is that of the reference's

    def __post_init__(self) -> None:
        """Refuse sizes that no model has: they decide how much memory readers take."""
        units = self.num_units if self.num_units is not None else 1
        if not (self.layer >= 0 and self.sample_rate > 0 and 0.01 < self.rate_hz < 1e6 and 0 < units <= MOST_UNITS):
            raise ValueError(f"no model has {units} units, layer {self.layer}, {self.rate_hz:g} Hz")


@dataclass(frozen=True)
class LongAudio:
    """Recordings longer than `window_s` are encoded in overlapping windows, so that memory stays bounded."""

    window_s: float = 60.0  # as `Pretrained.features_stream`, whose module pulls in torch
    overlap_s: float = 5.0  # computed on each side of what is kept


@dataclass(frozen=True)
class Manifest:
    """The rows of a corpus, by their sum."""

    sha256: str
    utterances: int


@dataclass(frozen=True)
class Job:
    """Everything that decides the bytes of the shards."""

    kind: Literal["units", "features"]
    store: str  # how shards hold their frames: a module of speechssl.extract.stores
    model: ModelIdentity
    manifest: Manifest
    shard_size: int  # utterances
    num_shards: int
    precision: Precision = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"
    long_audio: LongAudio = LongAudio()
    version: str = __version__
    kernel: Kernel = "plain"  # equal up to rounding, so one of them for all shards; see `Pretrained.with_kernel`

    def __post_init__(self) -> None:
        """Refuse what was not planned by `run`."""
        if min(self.shard_size, 1 + self.num_shards, 1 + self.manifest.utterances) < 1:
            raise ValueError("a negative number of shards or utterances")

    def stem(self, shard: int) -> str:
        """File name of a shard, without its endings."""
        return f"{self.kind}_{shard}_{self.num_shards}"


def claim(folder: Path, job: Job, tag: str, *, untouched: bool) -> None:
    """Write the job down in its output folder, or check that the folder belongs to the same job. DataError if not.

    untouched: nothing was done for the job that is there, so it may be replaced.
    """
    path = folder / "job.json"
    if untouched or not path.exists():
        atomic.write_text(path, json.dumps(dataclasses.asdict(job), indent=2, ensure_ascii=False) + "\n", tag)
    if different := differences(load(folder), job):
        raise DataError(
            f"{folder} holds another job: {'; '.join(different[:5])}. "
            "Choose another folder, or start it again from nothing with --overwrite."
        )


def differences(old: Job, new: Job) -> list[str]:
    """What differs between two jobs, a line each."""
    return list(_differences(dataclasses.asdict(old), dataclasses.asdict(new)))


def load(folder: Path) -> Job:
    """The job of an output folder. DataError where there is none or it cannot be read."""
    try:
        return config.build(Job, files.read_json(folder / "job.json", most=_MOST_BYTES))
    except FileNotFoundError:
        raise DataError(f"{folder}: no output of `speechssl units` or `speechssl features` (no job.json)") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / 'job.json'}: damaged: {error}") from error


def _differences(old: Any, new: Any, key: str = "") -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif list(old) != list(new) if isinstance(old, list | tuple) and isinstance(new, list | tuple) else old != new:
        yield f"{key} is {old!r} there, {new!r} now"


@dataclass(frozen=True)
class ModelSpec:
    """Where to load the model from, as given by the user; travels to other processes in place of the weights.

    Either a unit model (folder or built-in name), with `encoder` only where the folder cannot find its own; or the
    folder of a unit normaliser in its place; or an
    encoder with a layer and, for units, k-means centroids: a file, or the name of released ones (which know the layer);
    or a codec, whose codes are stored as features are, a whole number for each codebook; or a recogniser, whose log
    probabilities are features.
    """

    unit_model: str | None = None
    encoder: str | None = None
    layer: int | None = None
    kmeans: str | None = None
    offline: bool = False
    soft: bool = False  # features: what a unit model's quantizer makes of frames before it chooses a unit
    codec: str | None = None  # folder
    num_codebooks: int | None = None  # the first so many of the codec's; None: all
    recognizer: str | None = None  # folder
    language: str | None = None  # of a recogniser's adapters

    def identify(self, kind: Literal["units", "features"]) -> ModelIdentity:
        """Which model this is. Cheap for a unit model: its card is read, not its weights."""
        self._check(kind)
        if self.unit_model is not None and is_normalizer(self.unit_model):
            return _of_normalizer(self.unit_model)
        if self.unit_model is not None:
            return _of_card(Path(self.unit_model), quantized=kind == "units" or self.soft)
        return _of_model(*self.load(kind))

    def load(self, kind: Literal["units", "features"]) -> "tuple[Pretrained, int, Quantizer | None]":
        """Encoder, layer and (for units, hard or soft) quantizer. Raises CheckpointError, ConfigError."""
        from speechssl.units.model import UnitModel

        self._check(kind)
        if self.codec is not None:
            from speechssl.units import codec

            model = codec.load(self.codec)
            return codec.pretrained_encoder(model), 0, codec.codes_quantizer(model, self.num_codebooks)
        if self.recognizer is not None:
            from speechssl.recognition.model import load_recognizer

            return load_recognizer(self.recognizer, language=self.language).pretrained, 0, None
        if self.unit_model is not None and is_normalizer(self.unit_model):
            from speechssl.units.normalizer import UnitNormalizer

            normalizer = UnitNormalizer.load(self.unit_model)
            return normalizer.pretrained, 0, normalizer.quantizer
        pretrained = None if self.encoder is None else _load_encoder(self.encoder, self.offline)
        if self.unit_model is not None:
            units = UnitModel.load(self.unit_model, encoder=pretrained, offline=self.offline)
            if self.soft:
                _ = units.soft_dim  # refuses those that are not soft
            return units.pretrained, units.layer, units.quantizer if kind == "units" or self.soft else None
        assert pretrained is not None
        from speechssl.convert import kmeans_by_name

        layers = pretrained.encoder.num_layers
        chosen = kmeans_by_name.layer_of(self.kmeans, self.layer)
        if chosen is None and layers:
            raise ConfigError(f"{self.encoder}: say which layer to use, 0..{layers} (--layer)")
        layer = chosen or 0
        if not 0 <= layer <= layers:
            raise ConfigError(f"layer {layer}: {self.encoder} has layers 0..{layers}")
        if kind == "features":
            return pretrained, layer, None
        assert self.kmeans is not None
        kmeans = kmeans_by_name.open_kmeans(self.kmeans, offline=self.offline)
        return pretrained, layer, UnitModel(pretrained, layer, kmeans).quantizer

    def _check(self, kind: str) -> None:
        if self.soft and (kind == "units" or self.unit_model is None):
            raise ConfigError("soft units are features of a unit model: speechssl features --model DIR --soft")
        if self.codec is not None:
            if kind != "features" or (self.unit_model, self.encoder, self.layer, self.kmeans) != (None,) * 4:
                raise ConfigError("a codec gives codes of its own encoder, by `speechssl codec encode`")
        elif self.recognizer is not None:
            if kind != "features" or (self.unit_model, self.encoder, self.layer, self.kmeans) != (None,) * 4:
                raise ConfigError("a recogniser gives log probabilities of its own encoder, by `speechssl transcribe`")
        elif self.unit_model is not None:
            if self.layer is not None or self.kmeans is not None:
                raise ConfigError("a unit model has its own layer and k-means: leave --layer and --kmeans out")
            if is_normalizer(self.unit_model) and (kind != "units" or self.encoder is not None or self.soft):
                raise ConfigError(f"{self.unit_model}: a unit normaliser gives units by its own encoder, without "
                                  "--encoder; features are those of its encoder: --encoder RUN/encoder")  # fmt: skip
        elif self.encoder is None:
            raise ConfigError(
                "say which model: --model, or --encoder with --layer" + " and --kmeans" * (kind == "units")
            )
        elif kind == "units" and self.kmeans is None:
            raise ConfigError("units of a bare encoder need --kmeans (file or name), or make a model: speechssl kmeans")
        elif kind == "features" and self.kmeans is not None:
            raise ConfigError("features need no --kmeans; units are made by `speechssl units`")


def choose_kernel(model: ModelIdentity, precision: Precision, device: str) -> Kernel:
    """The faster way to compute a job's features that this machine has."""
    if device != "cpu" or model.encoder.family in PLAIN_ONLY or model.reduced:
        return "plain"
    from speechssl.encoders.pretrained import best_kernel

    return best_kernel(model.encoder.family, precision=precision, device=device)


def check_loaded(identity: ModelIdentity, loaded: "tuple[Pretrained, int, Quantizer | None]") -> None:
    """CheckpointError unless the model that a worker loaded is the job's (its files may have changed meanwhile)."""
    now = _of_model(*loaded)
    same = (now.encoder.sha256, now.layer, now.quantizer) == (
        identity.encoder.sha256,
        identity.layer,
        identity.quantizer,
    )
    if not same:
        raise CheckpointError("the model's files changed since the job began; start it again with --overwrite")


def _load_encoder(spec: str, offline: bool) -> "Pretrained":
    from speechssl import convert

    return convert.load_encoder(spec, offline=offline)


def _of_card(folder: Path, *, quantized: bool) -> ModelIdentity:
    card = read_card(find(folder))
    identity = ModelIdentity(card.encoder, card.layer, card.sample_rate, card.rate_hz, card.frame_rule, card.name)
    if not quantized:
        return identity
    return dataclasses.replace(identity, quantizer=card.quantizer, num_units=card.num_units, unit_model=card.sha256)


def _of_normalizer(folder: str) -> ModelIdentity:
    from speechssl.units.normalizer import UnitNormalizer

    found = UnitNormalizer.load(folder)
    identity = _of_model(found.pretrained, 0, found.quantizer)
    return dataclasses.replace(identity, rate_hz=found.rate_hz, name=found.recognizer.card.name,
                               unit_model=found.hash, reduced=True)  # fmt: skip


def _of_model(pretrained: "Pretrained", layer: int, quantizer: "Quantizer | None") -> ModelIdentity:
    from speechssl.nn.lengths import frame_rule
    from speechssl.units.model import encoder_reference, quantizer_kind, quantizer_sha256, unit_model_sha256

    encoder = pretrained.encoder
    reference = encoder_reference(pretrained, "external" if encoder.state_dict() else "none")
    rate_hz = encoder.sample_rate / encoder.hop
    identity = ModelIdentity(
        reference, layer, encoder.sample_rate, rate_hz, frame_rule(encoder.receptive_field, encoder.hop)
    )
    if quantizer is None:
        return identity
    return dataclasses.replace(
        identity,
        quantizer=QuantizerReference(quantizer_kind(quantizer), quantizer_sha256(quantizer)),
        num_units=quantizer.size,
        unit_model=unit_model_sha256(reference.sha256, layer, quantizer),
    )

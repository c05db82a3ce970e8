"""The Python API in three calls: an encoder, a unit model, a recording.

import speechssl

model = speechssl.load_unit_model()          # the built-in one; or a folder
units = model("speech.wav")                  # Units: ids, durations, rate_hz, size
print(units.dedup().text())

encoder = speechssl.load_encoder("facebook/hubert-base-ls960")
features = encoder.features(torch.from_numpy(speechssl.read_audio("speech.wav").samples), layer=9)  # [T, C]
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from speechssl.audio import Audio
from speechssl.audio import read as read_audio
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import ConfigError
from speechssl.units.model import UnitModel

if TYPE_CHECKING:
    from speechssl.codecs.model import Codec
    from speechssl.generation.model import Seq2Seq
    from speechssl.generation.text_to_units import TextToUnits
    from speechssl.generation.unit_translator import UnitTranslator
    from speechssl.recognition.model import Recognizer
    from speechssl.units.mel_converter import TrainedMelConverter
    from speechssl.units.mel_decoder import TrainedMelDecoder
    from speechssl.units.mel_vocoder import TrainedMelVocoder
    from speechssl.units.normalizer import UnitNormalizer
    from speechssl.units.vocoder import Vocoder
    from speechssl.units.voice_conversion import VoiceConverter
    from speechssl.vocoders.mel_decoder import Sampling

__all__ = ["Audio", "Pretrained", "UnitModel", "load_codec", "load_encoder", "load_mel_decoder", "load_mel_vocoder",
           "load_recognizer", "load_text_to_units", "load_translator", "load_unit_model", "load_vocoder",
           "load_voice_converter", "read_audio"]  # fmt: skip


def load_encoder(spec: str | Path, *, offline: bool = False) -> Pretrained:
    """A trained encoder: a folder or file of any format we read, a hub name, a short name, or "mfcc".

    offline: never use the network. Raises CheckpointError that says what is wrong with the file or name.
    """
    from speechssl import convert

    return convert.load_encoder(spec, offline=offline)


def load_unit_model(
    name: str | Path = "default", *, encoder: Pretrained | None = None
) -> "UnitModel | UnitNormalizer":  # fmt: skip
    """A unit model: the name of a built-in one, or a folder written by `UnitModel.save` or `speechssl kmeans`.

    encoder: the encoder it was made for, where the folder neither holds it nor can find it. The folder of a unit
    normaliser that recipes.unit_normalizer made gives that, which is called the same way: merged units of its
    reference speaker, whoever speaks.
    """
    from speechssl.units.card import is_normalizer

    if is_normalizer(name):
        from speechssl.units.normalizer import UnitNormalizer

        if encoder is not None:
            raise ConfigError(f"{name}: a unit normaliser has its own encoder")
        return UnitNormalizer.load(name)
    return UnitModel.load(name, encoder=encoder)


def load_codec(folder: str | Path) -> "Codec":
    """A codec that recipes.codec made: `encode` gives codes of waveforms, `synthesize` a waveform of codes."""
    from speechssl.units import codec

    return codec.load(folder)


def load_mel_decoder(folder: str | Path) -> "TrainedMelDecoder":
    """A mel decoder that recipes.mel made: called with units (or features) it gives log mels [T, bins]."""
    from speechssl.units import mel_decoder

    return mel_decoder.load(folder)


def load_mel_vocoder(folder: str | Path, *, precision: Literal["fp32", "bf16"] = "fp32") -> "TrainedMelVocoder":
    """A vocoder of mels that recipes.mel_vocoder made, or a released HiFi-GAN: log mels [T, bins] to their waveform.

    `mels` gives its log mels of samples. precision: on a CPU; bf16 is about twice as fast, for HiFi-GAN's generator.
    """
    from speechssl.units import mel_vocoder

    return mel_vocoder.load(folder).accelerate(precision)


def load_recognizer(spec: str | Path, *, language: str | None = None) -> "Recognizer":
    """A recogniser: the folder that recipes.ctc made, a Hugging Face folder, or fairseq's file with its dictionary.

    `transcribe` gives the text of a recording. language: of MMS's adapters.
    """
    from speechssl.recognition.model import load_recognizer

    return load_recognizer(spec, language=language)


def load_text_to_units(folder: str | Path) -> "TextToUnits":
    """A model that recipes.text_to_units made: called with a text it gives units, `model("une grenouille", "fr")`.

    A vocoder of the same units speaks them; where the model was trained on merged ones, `Units` with the vocoder's own
    durations: what `speechssl speak` does.
    """
    from speechssl.generation.text_to_units import TextToUnits

    return TextToUnits.load(folder)


def load_translator(spec: str | Path) -> "Seq2Seq | UnitTranslator":
    """A sequence-to-sequence model that recipes.seq2seq made, or a file of fairseq's speech-to-unit models.

    Called with a recording it gives its units or its text; `hypotheses` gives the n best of several recordings. One
    that recipes.unit_translation made is called with units, and with the wanted language where it has several:
    `translator(unit_model("a.wav"), "fr")`.
    """
    from speechssl.generation.model import load_translator
    from speechssl.generation.unit_translator import UnitTranslator, is_unit_translator

    return UnitTranslator.load(spec) if is_unit_translator(spec) else load_translator(spec)


def load_vocoder(folder: str | Path = "default", *, precision: Literal["fp32", "bf16"] = "fp32") -> "Vocoder":
    """A unit vocoder that recipes.vocoder made, or the built-in one: called with `Units` it gives their waveform.

    precision: on a CPU; bf16 is about twice as fast, for HiFi-GAN's generator.
    """
    from speechssl.units import vocoder

    return vocoder.load(folder).accelerate(precision)


def load_voice_converter(
    folder: str | Path, *, units: str | Path = "default", sampling: "Sampling | None" = None,
    mel_vocoder: str | Path | None = None,
) -> "VoiceConverter | TrainedMelConverter":  # fmt: skip
    """A unit vocoder or mel decoder that can be several people, with the model of its units; or a mel converter.

    `converter("source.wav", to="anna")` says the source in another voice: to is a speaker's name, a reference
    recording, or an .npy file of an embedding, see `units.voice_conversion`. sampling: of a flow or diffusion.
    mel_vocoder: the folder of a vocoder of its mels, in place of Griffin-Lim. A mel converter (recipes.stargan_vc) has
    no units and draws nothing; of recordings it takes those of its own speakers.
    """
    from speechssl.units import mel_converter, voice_conversion

    if mel_converter.is_one(folder):
        if units != "default" or sampling is not None:
            raise ConfigError(f"{folder}: a mel converter has no units and no sampling")
        return mel_converter.load(folder, None if mel_vocoder is None else load_mel_vocoder(mel_vocoder))
    return voice_conversion.load(folder, units=units, sampling=sampling, mel_vocoder=mel_vocoder)

"""Options that say by which voice made units are spoken, and as whom: what `translate` and `speak` share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechssl.errors import ConfigError

if TYPE_CHECKING:
    from speechssl.cli._translation import Voice
    from speechssl.units.mel_voice import MelVoice
    from speechssl.units.vocoder import Vocoder


def add_voice(parser: argparse.ArgumentParser) -> None:
    """A unit vocoder, or a mel decoder and what stands behind it; who speaks."""
    voice = parser.add_mutually_exclusive_group()
    voice.add_argument("--vocoder", metavar="DIR", help="a unit vocoder speaks the units; default: the built-in one")
    voice.add_argument("--mel-decoder", metavar="DIR", help="a mel decoder and Griffin-Lim speak them")
    parser.add_argument("--mel-vocoder", metavar="DIR", help="a vocoder of mels in place of Griffin-Lim")
    parser.add_argument("--speaker", metavar="REF", help="who speaks: a name, recordings, or an .npy file")


def load_voice(args: argparse.Namespace) -> "Vocoder | MelVoice | None":
    """The voice of `add_voice`; None where none is given."""
    from speechssl.units import mel_decoder, mel_vocoder, vocoder
    from speechssl.units.mel_voice import MelVoice

    if args.mel_decoder is not None:
        behind = None if args.mel_vocoder is None else mel_vocoder.load(args.mel_vocoder).accelerate()
        return MelVoice(mel_decoder.load(args.mel_decoder), vocoder=behind)
    if args.mel_vocoder is not None:
        raise ConfigError("--mel-vocoder speaks the mels of a decoder: give --mel-decoder, too")
    return None if args.vocoder is None else vocoder.load(args.vocoder).accelerate()


def voice_as(
    voice: "Vocoder | MelVoice | None", speaker: str | None, *, told: bool = False
) -> "tuple[Voice | None, str | None]":
    """The voice as `speaker`, where it can be several people, and the name for tables.

    told: the model that says the units is told the speaker, too. ConfigError where the speaker has an effect on
    neither; DataError where the voice must know who speaks.
    """
    from speechssl.units.vocoder import Vocoder
    from speechssl.units.voice_conversion import speak_as

    if voice is None:
        if speaker is not None and not told:
            raise ConfigError("--speaker has no effect without a voice: give --vocoder or --mel-decoder")
        return None, None
    shape = voice.module.config if isinstance(voice, Vocoder) else voice.decoder.module.config
    several = bool(shape.speakers or shape.speaker_inputs)
    if speaker is None:
        voice.speaker(None)
        return voice, None
    if not several and told:
        return voice, "_".join(Path(speaker).stem.split()) or None
    found = speak_as(voice, speaker)
    return found, found.name

"""What one speaker said in the voice of another: recordings to units to a voice that can be several people.

    speechssl convert-voice recordings/ --to anna --mel-decoder exp/mel/mel_decoder -o as_anna
    speechssl convert-voice recordings/ --to anna.wav --mel-decoder exp/mel/mel_decoder -o as_anna
    speechssl convert-voice data/test --to anna --vocoder exp/vocoder/vocoder --units exp/unit_model -o as_anna
    speechssl convert-voice recordings/ --to anna --mel-converter exp/stargan_vc/mel_converter -o as_anna

--to is a speaker that the voice was trained on (recipes.mel or recipes.vocoder with data.speakers=true); or a
recording, or a folder of recordings, of somebody else, for mel decoders that were trained on speaker embeddings
(data.embeddings=resemblyzer, pip install resemblyzer) or on prompts (a flow or diffusion with settings.prompt_share and
without speakers: it goes on from the first 3 s of the first recording); or an .npy file of an embedding.

--mel-vocoder behind a mel decoder or converter: a vocoder of the same mels (recipes.mel_vocoder) in place of
Griffin-Lim.

--convert: of a mel decoder with prosody (recipes/conf/tiny_prosody.toml) any of rhythm (how long each unit lasts),
pitch (how F0 and loudness move) and speaker (who speaks, and how high), each on its own; what is left out stays the
source's. REF is a recording then, or a folder of one speaker's. --pitch DIR (of speechssl pitch) says the F0 of the
sources, which is tracked otherwise.

    speechssl convert-voice recordings/ --to anna.wav --mel-decoder exp/prosody/mel_decoder --convert rhythm -o as_fast

--mel-converter (recipes.stargan_vc) takes the mel of a recording to that of a speaker it was trained on, without units,
spoken by Griffin-Lim. REF is then the speaker's name, for a mean style, or recordings of that speaker, for theirs.

OUT is a Kaldi data dir of WAV files with the target as speaker. The voice must be one of the units' own model: its card
holds the hash. The command goes on where it was when it is given again. Utterances that cannot be spoken are in
OUT/failures.tsv with their reason. Without --convert rhythm durations stay the source's.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 nothing could be used.
"""

import argparse

from speechssl.cli import _extraction, _resynthesis
from speechssl.errors import ConfigError

SUMMARY = "speech in the voice of another speaker, through units or by a mel converter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, --to, -o, the models."""
    _extraction.add_input(parser)
    parser.add_argument("--to", required=True, metavar="REF", help="a speaker's name, a recording, or an .npy file")
    parser.add_argument("--convert", nargs="+", choices=("rhythm", "pitch", "speaker"), metavar="PART",
                        help="rhythm, pitch, speaker, of a mel decoder with prosody (default: all)")  # fmt: skip
    voice = _resynthesis.add_voice(parser)
    voice.add_argument("--mel-converter", metavar="MODEL", help="folder of a mel converter (StarGANv2-VC), no units")
    _resynthesis.add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Speak everything as REF and report."""
    import torch

    from speechssl.data import pitch_files
    from speechssl.extract.resynthesis import Speaking
    from speechssl.units.voice_conversion import PARTS, convert_as, has_prosody, speak_as

    torch.set_num_threads(max(1, args.threads))
    if args.mel_converter is not None:
        return _convert_mels(args)
    loaded = _resynthesis.load_voice(args)
    if args.convert is not None or has_prosody(loaded):
        if args.speed != 1 or args.f0:
            raise ConfigError(f"--{'f0' if args.f0 else 'speed'} has no effect where prosody is converted")
        pitch = None if args.pitch is None else pitch_files.read(args.pitch)
        target = convert_as(loaded, args.to, args.convert or PARTS, pitch)
        return _resynthesis.speak_all(args, target, Speaking(target.speaker, precision=args.precision), target.speak)
    voice = speak_as(loaded, args.to, args.units or "default")
    speaking = Speaking(voice.name, args.speed, "kept", args.f0, args.precision)
    return _resynthesis.speak_all(args, voice, speaking)


def _convert_mels(args: argparse.Namespace) -> int:
    """Without units. ConfigError for options that mean nothing then."""
    from speechssl.extract.resynthesis import Speaking
    from speechssl.units import mel_converter, mel_vocoder

    for name, default in (("convert", None), ("units", None), ("steps", None), ("guidance", None), ("seed", None),
                          ("pitch", None), ("f0", 0.0)):  # fmt: skip
        if getattr(args, name) != default:
            raise ConfigError(f"--{name} has no effect on a mel converter")
    behind = None
    if args.mel_vocoder is not None:
        behind = mel_vocoder.load(args.mel_vocoder).accelerate(args.precision)
    elif args.precision != "fp32":
        raise ConfigError("--precision has no effect on a mel converter without --mel-vocoder")
    voice = mel_converter.load(args.mel_converter, behind).speak_as(args.to)
    return _resynthesis.speak_all(args, voice, Speaking(voice.name, args.speed, precision=args.precision))

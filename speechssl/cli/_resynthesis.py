"""Arguments and steps that `resynth` and `convert-voice` share: whose units, which voice, how a run goes."""

import argparse
import sys
from typing import TYPE_CHECKING

from speechssl.cli import _extraction
from speechssl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor

    from speechssl.data.utterance import Utterance
    from speechssl.extract.resynthesis import Speaking, Voice
    from speechssl.units.mel_vocoder import CopySynthesis
    from speechssl.units.mel_voice import MelVoice
    from speechssl.units.units import Units
    from speechssl.units.vocoder import Vocoder


def add_voice(parser: argparse.ArgumentParser) -> "argparse._MutuallyExclusiveGroup":
    """The output, the models, and how a mel decoder is decoded; returns the group of voices."""
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="new data directory")
    parser.add_argument("--units", metavar="MODEL", help="unit model: a folder, or a built-in one (default: default)")
    voice = parser.add_mutually_exclusive_group()
    voice.add_argument("--vocoder", metavar="MODEL",
                       help="folder of a unit vocoder (default: the built-in one, a German voice)")  # fmt: skip
    voice.add_argument("--mel-decoder", metavar="MODEL", help="folder of a mel decoder, spoken by Griffin-Lim")
    parser.add_argument("--mel-vocoder", metavar="MODEL", help="folder of a vocoder of mels, in place of Griffin-Lim")
    parser.add_argument("--steps", type=int, metavar="N", help="of a flow or diffusion mel decoder (default 16)")
    parser.add_argument("--guidance", type=float, metavar="G", help="of one that was trained for it (default 0)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the noise of a flow or diffusion (default 0)")
    parser.add_argument(
        "--pitch", metavar="DIR", help="F0 of the recordings, of speechssl pitch, where the vocoder needs it"
    )
    parser.add_argument("--f0", type=float, default=0.0, metavar="ST", help="semitones higher than the recording was")
    parser.add_argument("--speed", type=float, default=1.0, metavar="S", help="2: twice as fast (default 1)")
    return voice


def add_running(parser: argparse.ArgumentParser) -> None:
    """How to compute and report."""
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32",
                        help="of HiFi-GAN's generator on a CPU: bf16 is about twice as fast")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch threads (default 1)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress line")


def load_voice(args: argparse.Namespace) -> "Vocoder | MelVoice":
    """The vocoder, or the mel decoder with what is behind it. ConfigError for options without effect."""
    from speechssl.units import mel_decoder, mel_vocoder, vocoder
    from speechssl.units.mel_voice import MelVoice
    from speechssl.vocoders.mel_decoder import Sampling

    given = {name: getattr(args, name) for name in ("steps", "guidance", "seed") if getattr(args, name) is not None}
    if args.mel_decoder is None:
        if given:
            raise ConfigError(f"--{next(iter(given))} has no effect on a unit vocoder")
        if args.mel_vocoder is not None:
            raise ConfigError("--mel-vocoder speaks the mels of a decoder: give --mel-decoder, too")
        return vocoder.load(args.vocoder or "default").accelerate(args.precision)
    behind = None
    if args.mel_vocoder is not None:
        behind = mel_vocoder.load(args.mel_vocoder).accelerate(args.precision)
    elif args.precision != "fp32":
        raise ConfigError("--precision has no effect on a mel decoder without --mel-vocoder")
    decoder = mel_decoder.load(args.mel_decoder)
    if given and decoder.card.config.kind == "regression":
        raise ConfigError(f"--{next(iter(given))} has no effect on a regression")
    return MelVoice(decoder, Sampling(**given), vocoder=behind)


def load_copy(args: argparse.Namespace) -> "CopySynthesis | None":
    """The vocoder of mels by itself, where nothing stands before it. ConfigError for options without effect."""
    from speechssl.units import mel_vocoder

    if args.mel_vocoder is None or args.mel_decoder is not None:
        return None
    options = ("vocoder", "units", "steps", "guidance", "seed")
    if others := [name for name in options if getattr(args, name) is not None]:
        raise ConfigError(f"--{others[0]} has no effect on copy synthesis (--mel-vocoder without --mel-decoder)")
    return mel_vocoder.CopySynthesis(mel_vocoder.load(args.mel_vocoder).accelerate(args.precision))


def speak_all(
    args: argparse.Namespace, voice: "Voice", speaking: "Speaking",
    speak: "Callable[[Utterance, Units | Tensor], np.ndarray] | None" = None,
) -> int:  # fmt: skip
    """Speak the whole input and report; the exit code. speak: of recordings and their units, see `resynthesize`."""
    import dataclasses
    import json
    from functools import partial
    from pathlib import Path

    from speechssl.data import pitch_files
    from speechssl.extract import resynthesis
    from speechssl.units.mel_converter import ConvertedVoice
    from speechssl.units.mel_vocoder import CopySynthesis
    from speechssl.units.model import UnitModel

    pitch = None if args.pitch is None or speak is not None else pitch_files.read(args.pitch)
    folder = Path(args.input[0])
    if len(args.input) == 1 and (folder / "job.json").is_file():
        if speak is not None:
            raise ConfigError(f"{folder}: holds units, and prosody is converted from recordings")
        if args.units is not None:
            raise ConfigError("--units has no effect on an output folder of speechssl units, which knows its model")
        claimed = resynthesis.identity(folder, resynthesis.unit_model_of(folder), voice, speaking, pitch)
        spoken = resynthesis.of_units(folder)
    elif isinstance(voice, CopySynthesis | ConvertedVoice):  # of mels, without a unit model
        corpus = _extraction.open_input(args)
        claimed = resynthesis.identity(corpus, "", voice, speaking, pitch)
        spoken = resynthesis.of_corpus(corpus, partial(voice.hear, None), sample_rate=voice.sample_rate)
    else:
        model, corpus = UnitModel.load(args.units or "default"), _extraction.open_input(args)
        claimed = resynthesis.identity(corpus, model.hash, voice, speaking, pitch)
        spoken = resynthesis.of_corpus(corpus, partial(voice.hear, model), sample_rate=model.sample_rate)
    show = not args.quiet and sys.stderr.isatty()
    report = resynthesis.resynthesize(spoken, args.output, voice, speaking, claimed, pitch=pitch,
                                      beat=_show if show else lambda done: None, speak=speak)  # fmt: skip
    if show:
        print(file=sys.stderr)
    if args.json:
        factor = report.wall_s / report.seconds if report.made else None  # units included
        print(json.dumps({**dataclasses.asdict(report), "real_time_factor": factor}, indent=2))
        return report.exit_code
    speed = f", {report.seconds / report.wall_s:.3g}x real time" if report.made else ""
    failed = f", {report.failed} could not be spoken (failures.tsv)" if report.failed else ""
    print(f"{report.utterances} recordings in {report.output} ({report.made} made now{speed}){failed}")
    return report.exit_code


def _show(done: int) -> None:
    print(f"\r{done} recordings", end="", file=sys.stderr, flush=True)

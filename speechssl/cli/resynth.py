"""Speech through units and back: recordings to units to the voice of a unit vocoder.

    speechssl resynth recordings/ -o again                                      a Kaldi data dir of WAV files
    speechssl resynth data/test --units exp/unit_model --vocoder exp/vocoder/vocoder -o again --speaker anna --speed 1.2
    speechssl resynth exp/units --vocoder exp/vocoder/vocoder -o again          units that `speechssl units` made

The vocoder must be one of the units' own model: its card holds the hash. The command goes on where it was when it is
given again. Utterances that cannot be spoken are in OUT/failures.tsv with their reason.

--mel-decoder in place of --vocoder: a mel decoder of recipes.mel, with Griffin-Lim's phases behind it. A flow or a
diffusion is decoded in --steps, from noise of --seed, with --guidance away from what it says without content.

--durations predicted: runs of one unit last as long as the vocoder thinks (`recipes.unit_durations` teaches it), not as
in the recording.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 nothing could be used.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from speechssl.cli import _extraction
from speechssl.errors import ConfigError

if TYPE_CHECKING:
    from speechssl.units.mel_voice import MelVoice
    from speechssl.units.vocoder import Vocoder

SUMMARY = "speech to units and back to speech"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, -o, the models, how it is spoken."""
    _extraction.add_input(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="new data directory")
    parser.add_argument("--units", metavar="MODEL", help="unit model: a folder, or a built-in one (default: default)")
    voice = parser.add_mutually_exclusive_group()
    voice.add_argument("--vocoder", metavar="MODEL",
                       help="folder of a unit vocoder (default: the built-in one, a German voice)")  # fmt: skip
    voice.add_argument("--mel-decoder", metavar="MODEL", help="folder of a mel decoder, spoken by Griffin-Lim")
    parser.add_argument("--steps", type=int, metavar="N", help="of a flow or diffusion mel decoder (default 16)")
    parser.add_argument("--guidance", type=float, metavar="G", help="of one that was trained for it (default 0)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the noise of a flow or diffusion (default 0)")
    parser.add_argument("--speaker", metavar="NAME", help="who speaks, where the vocoder has several voices")
    parser.add_argument(
        "--pitch", metavar="DIR", help="F0 of the recordings, of speechssl pitch, where the vocoder needs it"
    )
    parser.add_argument("--f0", type=float, default=0.0, metavar="ST", help="semitones higher than the recording was")
    parser.add_argument("--speed", type=float, default=1.0, metavar="S", help="2: twice as fast (default 1)")
    parser.add_argument("--durations", choices=("kept", "predicted"), default="kept",
                        help="of runs of one unit: the recording's (default) or the vocoder's own")  # fmt: skip
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32",
                        help="of HiFi-GAN's generator on a CPU: bf16 is about twice as fast")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch threads (default 1)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress line")


def run(args: argparse.Namespace) -> int:
    """Speak everything and report."""
    import dataclasses
    import json
    from pathlib import Path

    import torch

    from speechssl.data import pitch_files
    from speechssl.extract import resynthesis
    from speechssl.units.model import UnitModel

    torch.set_num_threads(max(1, args.threads))
    vocoder = _voice(args)
    speaking = resynthesis.Speaking(args.speaker, args.speed, args.durations, args.f0, args.precision)
    pitch = None if args.pitch is None else pitch_files.read(args.pitch)
    vocoder.speaker(args.speaker)  # before anything is read
    folder = Path(args.input[0])
    if len(args.input) == 1 and (folder / "job.json").is_file():
        if args.units is not None:
            raise ConfigError("--units has no effect on an output folder of speechssl units, which knows its model")
        claimed = resynthesis.identity(folder, resynthesis.unit_model_of(folder), vocoder, speaking, pitch)
        spoken = resynthesis.of_units(folder)
    else:
        model, corpus = UnitModel.load(args.units or "default"), _extraction.open_input(args)
        claimed = resynthesis.identity(corpus, model.hash, vocoder, speaking, pitch)
        spoken = resynthesis.of_corpus(corpus, model)
    show = not args.quiet and sys.stderr.isatty()
    report = resynthesis.resynthesize(spoken, args.output, vocoder, speaking, claimed, pitch=pitch,
                                      beat=_show if show else lambda done: None)  # fmt: skip
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


def _voice(args: argparse.Namespace) -> "Vocoder | MelVoice":
    """The vocoder, or the mel decoder with Griffin-Lim. ConfigError for options without effect."""
    from speechssl.units import mel_decoder, vocoder
    from speechssl.units.mel_voice import MelVoice
    from speechssl.vocoders.mel_decoder import Sampling

    given = {name: getattr(args, name) for name in ("steps", "guidance", "seed") if getattr(args, name) is not None}
    if args.mel_decoder is None:
        if given:
            raise ConfigError(f"--{next(iter(given))} has no effect on a unit vocoder")
        return vocoder.load(args.vocoder or "default").accelerate(args.precision)
    if args.precision != "fp32":
        raise ConfigError("--precision has no effect on a mel decoder")
    decoder = mel_decoder.load(args.mel_decoder)
    if given and decoder.card.config.kind == "regression":
        raise ConfigError(f"--{next(iter(given))} has no effect on a regression")
    return MelVoice(decoder, Sampling(**given))


def _show(done: int) -> None:
    print(f"\r{done} recordings", end="", file=sys.stderr, flush=True)

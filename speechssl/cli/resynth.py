"""Speech through units and back: recordings to units to the voice of a unit vocoder.

    speechssl resynth recordings/ -o again                                      a Kaldi data dir of WAV files
    speechssl resynth data/test --units exp/unit_model --vocoder exp/vocoder/vocoder -o again --speaker anna --speed 1.2
    speechssl resynth exp/units --vocoder exp/vocoder/vocoder -o again          units that `speechssl units` made

The vocoder must be one of the units' own model: its card holds the hash. The command goes on where it was when it is
given again. Utterances that cannot be spoken are in OUT/failures.tsv with their reason.

--mel-decoder in place of --vocoder: a mel decoder of recipes.mel, with Griffin-Lim's phases behind it. One that learned
from features or soft units of speech needs recordings. A flow or a diffusion is decoded in --steps, from noise of
--seed, with --guidance away from what it says without content.

--mel-vocoder behind it: a vocoder of the same mels (recipes.mel_vocoder) in place of Griffin-Lim. By itself it makes
recordings again of their own mels (copy synthesis: what a vocoder alone loses); a released HiFi-GAN of mels, of Hugging
Face's SpeechT5HifiGan or the original, does that, too.

    speechssl resynth exp/units --mel-decoder exp/mel/mel_decoder --mel-vocoder exp/mel_vocoder/mel_vocoder -o again
    speechssl resynth recordings/ --mel-vocoder exp/mel_vocoder/mel_vocoder -o copied

--durations predicted: runs of one unit last as long as the vocoder thinks (`recipes.unit_durations` teaches it), not as
in the recording.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 nothing could be used.
"""

import argparse

from speechssl.cli import _extraction, _resynthesis

SUMMARY = "speech to units and back to speech"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, -o, the models, how it is spoken."""
    _extraction.add_input(parser)
    _resynthesis.add_voice(parser)
    parser.add_argument("--speaker", metavar="NAME", help="who speaks, where the vocoder has several voices")
    parser.add_argument("--durations", choices=("kept", "predicted"), default="kept",
                        help="of runs of one unit: the recording's (default) or the vocoder's own")  # fmt: skip
    _resynthesis.add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Speak everything and report."""
    import torch

    from speechssl.extract.resynthesis import Speaking

    torch.set_num_threads(max(1, args.threads))
    voice = _resynthesis.load_copy(args) or _resynthesis.load_voice(args)
    speaking = Speaking(args.speaker, args.speed, args.durations, args.f0, args.precision)
    voice.speaker(args.speaker)  # before anything is read
    return _resynthesis.speak_all(args, voice, speaking)

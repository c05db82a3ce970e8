#!/usr/bin/env python3
"""Asterisk's Italian prompts by two voices to Kaldi data dirs, a part of the prompts held out of both.

prepare_data.py --prompts DIR [--test 60] [--valid 20] [--limit N] [--shortest 1.0] [--apart 2.0] OUT

--prompts: unpacked Debian packages asterisk-core-sounds-it-g722 (a man, Carlo; G.722, which needs PyAV: pip install av)
and asterisk-prompt-it-menardi-wav (a woman, Paola; 8 kHz). Only prompts of both are taken, and of these none shorter
than --shortest seconds in either, and none more than --apart times as long in one as in the other: there they say
something else (demo-thanks: 4.5 and 74 s). Both voices lose what is above 4 kHz, so that the band does not tell who
speaks.

OUT/train, OUT/valid   both voices, utt2spk carlo and paola
OUT/test/{carlo,paola} the held-out prompts of each, drawn by a hash of their names; ids are the prompts' names
OUT/audio              everything as 16 kHz WAV
"""

import argparse
import sys
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import RATE, g722, stored
from kaldi_dir import write_dir

from speechssl.audio import read

VOICES = {"carlo": ("it_IT_m_Carlo", "g722"), "paola": ("it_IT_f_Menardi", "wav")}
BAND = 8_000  # samples a second that both are brought to


def main(arguments: list[str] | None = None) -> int:
    """Write the data dirs; 2 where there are too few prompts of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--test", type=int, default=60, help="prompts")
    parser.add_argument("--valid", type=int, default=20, help="prompts")
    parser.add_argument("--limit", type=int, default=0, help="at most so many prompts to train on (0: all)")
    parser.add_argument("--shortest", type=float, default=1.0, help="seconds")
    parser.add_argument("--apart", type=float, default=2.0, help="times as long")
    parser.add_argument("out", type=Path)
    args = parser.parse_args(arguments)
    found = {voice: prompts(args.prompts, *where) for voice, where in VOICES.items()}
    both = sorted(set.intersection(*map(set, found.values())))
    drawn = sorted(both, key=lambda name: zlib.crc32(name.encode()))
    held, taken = args.test + args.valid, args.test + args.valid + args.limit if args.limit else len(drawn)
    usable: dict[str, dict[str, Path]] = {}
    short = apart = 0
    for name in drawn:
        if len(usable) == taken:
            break
        recordings = {voice: narrow(paths[name]) for voice, paths in found.items()}
        if min(map(len, recordings.values())) < args.shortest * RATE:
            short += 1
            continue
        lengths = sorted(map(len, recordings.values()))
        if lengths[-1] > args.apart * lengths[0]:
            apart += 1
            continue
        usable[name] = {voice: stored(args.out, f"{voice}-{name}", wav) for voice, wav in recordings.items()}
    if len(usable) <= held:
        print(f"{args.prompts}: {len(both)} prompts of both voices, {len(usable)} of {args.shortest:g} s or more, and "
              f"{held} are to be held out; --download true fetches them", file=sys.stderr)  # fmt: skip
        return 2
    names = list(usable)
    print(f"  {len(both)} prompts of both voices; {short} shorter than {args.shortest:g} s, {apart} of other lengths "
          "left out")  # fmt: skip
    for part, own in (("valid", names[args.test : held]), ("train", names[held:])):
        rows = {f"{voice}-{name}": (path, voice) for name in own for voice, path in usable[name].items()}
        write_dir(args.out / part, {name: path for name, (path, _) in rows.items()},
                  {name: voice for name, (_, voice) in rows.items()})  # fmt: skip
    for voice in VOICES:
        paths = {name: usable[name][voice] for name in names[: args.test]}
        write_dir(args.out / "test" / voice, paths, dict.fromkeys(paths, voice))
    return 0


def prompts(root: Path, folder: str, suffix: str) -> dict[str, Path]:
    """Recordings of a voice by what is said: their paths with - for /; silences are left out."""
    found = {}
    for base in sorted(root.glob(f"**/asterisk/sounds/{folder}")):
        for path in sorted(base.rglob(f"*.{suffix}")):
            if path.parent.name != "silence":
                found["-".join(path.relative_to(base).with_suffix("").parts)] = path
    return found


def narrow(path: Path) -> np.ndarray:
    """Samples [S] at 16 kHz of what is below 4 kHz."""
    import soxr

    wav = read(path, sample_rate=RATE).samples if path.suffix == ".wav" else g722(path).astype(np.float32) / 32768
    return soxr.resample(soxr.resample(wav, RATE, BAND), BAND, RATE)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Freely licensed speech to two Kaldi data dirs: OUT/train and OUT/valid with wav.scp, utt2spk, spk2utt, utt2lang.

prepare_data.py --corpora DIR [--prompts DIR] [--limit N] OUT

--corpora: kerstin/ librispeech_subset/ speech_to_intent/ fsdd/; those that are there are taken.
--prompts: unpacked Debian packages asterisk-core-sounds-{en,fr,es,it,ru}-g722 and festvox-ru (G.722 needs PyAV: pip
install av). Prompts of silence and those shorter than 0.3 s are left out.
Everything is decoded once, to 16 kHz WAV in OUT/audio (1 GB): training reads it several times.
A 40th of all utterances goes to valid, chosen by hash of the id.
"""

import argparse
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import asterisk, decoded, festvox, fsdd, kerstin, librispeech, speech_to_intent, write


def main() -> int:
    """Write both data dirs; 2 where there is nothing to write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--limit", type=int, default=0, help="at most so many utterances of each corpus (0: all)")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    found = {
        "kerstin": list(kerstin(args.corpora / "kerstin")),
        "librispeech": list(librispeech(args.corpora / "librispeech_subset")),
        "speech_to_intent": list(speech_to_intent(args.corpora / "speech_to_intent")),
        "fsdd": list(fsdd(args.corpora / "fsdd")),
    }
    if args.prompts is not None:
        found["asterisk"] = list(asterisk(args.prompts))
        found["festvox_ru"] = list(festvox(args.prompts))
    if not any(found.values()):
        print(f"{args.corpora}: none of {', '.join(found)} is there", file=sys.stderr)
        return 2
    rows = []
    for name, own in found.items():
        own = own[:: max(1, len(own) // args.limit)][: args.limit] if args.limit else own
        print(f"  {name}: {len(own)} utterances, {len({row.speaker for row in own})} speakers")
        rows += own
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(partial(decoded, audio=args.out / "audio"), rows, chunksize=20))
    rows.sort(key=lambda row: zlib.crc32(row.id.encode()))
    num_valid = max(1, len(rows) // 40)
    write(args.out / "valid", rows[:num_valid])
    write(args.out / "train", rows[num_valid:])
    return 0


if __name__ == "__main__":
    sys.exit(main())

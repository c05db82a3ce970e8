#!/usr/bin/env python3
"""Dialogues of the game Fish Fillets in one language to Kaldi data dirs: train, valid and test.

prepare_data.py --corpus DIR --language cs [--held-out 0.1] [--seed 0] [--limit N] OUT

--corpus: the Debian packages fillets-ng-data, fillets-ng-data-cs and fillets-ng-data-nl, unpacked. An utterance is a
clip with its text, as it is written; clips without one, and those that cannot be read, are counted or named. A level is
in one part as a whole, and in that where prepare_pairs.py has it for the same options: what a translator is tested on,
no recogniser of either language has learned from. Levels that have no pair are in train.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "utils"))

from dialogues import Clip, clips
from kaldi_dir import write_dir
from parts import PARTS, part_of_groups
from prepare_pairs import find
from speech_pairs import as_wav

LANGUAGES = ("cs", "nl")


def main() -> int:
    """Write the data dirs; 2 where a part has no clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--language", required=True, choices=LANGUAGES)
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the test, and of the validation")
    parser.add_argument("--seed", type=int, default=0, help="of which levels these are")
    parser.add_argument("--limit", type=int, default=0, help="at most so many clips of each part (0: all)")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    found = clips(args.corpus, args.language)
    told = sorted((clip for clip in found if clip.text), key=lambda clip: clip.id.encode())
    pairs, _ = find(args.corpus, *LANGUAGES)
    part_of = part_of_groups([pair.group for pair in pairs], args.held_out, args.seed)
    parts = {name: [clip for clip in told if part_of.get(clip.level, "train") == name] for name in PARTS}
    if empty := [name for name in PARTS if not parts[name]]:
        print(f"{args.corpus}: {len(told)} clips with text in {args.language} and {len(pairs)} pairs, none for "
              f"{empty[0]}; it must hold the unpacked packages fillets-ng-data, fillets-ng-data-cs and "
              "fillets-ng-data-nl", file=sys.stderr)  # fmt: skip
        return 2
    print(f"  {len(told)} clips with text, {len(found) - len(told)} without")
    with ProcessPoolExecutor(2) as pool:
        for name, part in parts.items():
            own = part[:: max(1, len(part) // args.limit)][: args.limit] if args.limit else part
            made = pool.map(partial(decoded, audio=args.out / "audio"), own, chunksize=20)
            audio = {clip.id: path for clip, path in zip(own, made, strict=True)}
            for clip_id, reason in audio.items():
                if isinstance(reason, str):
                    print(f"  {clip_id}: left out: {reason}")
            own = [clip for clip in own if isinstance(audio[clip.id], Path)]
            write_dir(args.out / name, {clip.id: Path(audio[clip.id]) for clip in own},
                      {clip.id: f"{args.language}-{clip.speaker}" for clip in own},
                      text={clip.id: " ".join((clip.text or "").split()) for clip in own})  # fmt: skip
    return 0


def decoded(clip: Clip, audio: Path) -> Path | str:
    """Its recording as a WAV in `audio`, or why it cannot be read."""
    return as_wav(clip.path, audio / f"{clip.id}.wav")


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Dialogues of the game Fish Fillets in two languages to Kaldi data dirs of parallel speech.

prepare_pairs.py --corpus DIR --source cs --target nl [--held-out 0.1] [--seed 0] [--limit N] OUT

--corpus: the Debian packages fillets-ng-data, fillets-ng-data-cs, fillets-ng-data-nl, unpacked. A pair is a clip of a
level (sound/LEVEL/LANGUAGE/CLIP.ogg) that both languages have, with the text of script/LEVEL/dialogs_LANGUAGE.lua.
Levels are in one part as a whole: OUT/{train,valid,test}/{source,target}. A clip's speaker is the font of its text: the
big fish, the small fish, or who else speaks.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "utils"))

from dialogues import clips, paired
from speech_pairs import Pair, write


def main() -> int:
    """Write the data dirs; 2 where there are no pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--source", default="cs")
    parser.add_argument("--target", default="nl")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the test, and of the validation")
    parser.add_argument("--seed", type=int, default=0, help="of which levels these are")
    parser.add_argument("--limit", type=int, default=0, help="at most so many pairs of each part (0: all)")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    pairs, untold = find(args.corpus, args.source, args.target)
    if len(pairs) < 3:
        print(f"{args.corpus}: {len(pairs)} clips with text in both {args.source} and {args.target}; it must hold the "
              "unpacked packages fillets-ng-data and fillets-ng-data-LANGUAGE of both", file=sys.stderr)  # fmt: skip
        return 2
    print(f"  {untold} more clips of both languages have no text in one of them")
    write(args.out, pairs, held_out=args.held_out, seed=args.seed, limit=args.limit)
    return 0


def find(corpus: Path, source: str, target: str) -> tuple[list[Pair], int]:
    """Pairs, and how many clips are there in both languages but have no text."""
    both = paired(clips(corpus, source), clips(corpus, target))
    pairs = [Pair(one.id, one.level, one.speaker, (one.path, other.path), (one.text, other.text))
             for one, other in both if one.text is not None and other.text is not None]  # fmt: skip
    return pairs, len(both) - len(pairs)


if __name__ == "__main__":
    sys.exit(main())

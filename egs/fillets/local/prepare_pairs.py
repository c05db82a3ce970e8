#!/usr/bin/env python3
"""Dialogues of the game Fish Fillets in two languages to Kaldi data dirs of parallel speech.

prepare_pairs.py --corpus DIR --source cs --target nl [--held-out 0.1] [--seed 0] [--limit N] OUT

--corpus: the Debian packages fillets-ng-data, fillets-ng-data-cs, fillets-ng-data-nl, unpacked. A pair is a clip of a
level (sound/LEVEL/LANGUAGE/CLIP.ogg) that both languages have, with the text of script/LEVEL/dialogs_LANGUAGE.lua.
Levels are in one part as a whole: OUT/{train,valid,test}/{source,target}. A clip's speaker is the font of its text: the
big fish, the small fish, or who else speaks.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "utils"))

from dialogues import clips, paired
from speech_pairs import Pair, main


def find(corpus: Path, source: str, target: str) -> tuple[list[Pair], int]:
    """Pairs, and how many clips are there in both languages but have no text."""
    both = paired(clips(corpus, source), clips(corpus, target))
    pairs = [Pair(one.id, one.level, one.speaker, (one.path, other.path), (one.text, other.text))
             for one, other in both if one.text is not None and other.text is not None]  # fmt: skip
    return pairs, len(both) - len(pairs)


if __name__ == "__main__":
    sys.exit(main(find, __doc__, source="cs", target="nl",
                  packages="packages fillets-ng-data and fillets-ng-data-LANGUAGE of both"))  # fmt: skip

"""Train, valid and test: whole groups go to one of them, and what is said in one is not said in another.

Scripts of recipes find this file beside the others of egs/utils.
"""

import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Hashable
from typing import TypeVar

PARTS = ("train", "valid", "test")
T = TypeVar("T")


def part_of_groups(groups: list[str], held_out: float, seed: int) -> dict[str, str]:
    """The part of each group; `groups` has the group of every utterance.

    Groups, in an order that only their names and the seed decide, go to test until it has the share held_out of all
    utterances, then to valid, the rest to train.
    """
    found: dict[str, str] = {}
    sizes, utterances = Counter(groups), dict.fromkeys(PARTS, 0)
    for group in sorted(sizes, key=lambda name: (zlib.crc32(f"{seed} {name}".encode()), name)):
        aim = held_out * len(groups)
        found[group] = next((part for part in ("test", "valid") if utterances[part] < aim), "train")
        utterances[found[group]] += sizes[group]
    return found


def without_repeats(
    parts: dict[str, list[T]], said: Callable[[T], set[Hashable]]
) -> tuple[dict[str, list[T]], dict[str, int]]:
    """The parts without what another one says, and how many that are: what test has, too, leaves valid and train, what
    valid has leaves train."""
    kept: dict[str, list[T]] = {part: [] for part in parts}
    before: set[Hashable] = set()
    for part in ("test", "valid", "train"):
        kept[part] = [one for one in parts[part] if not before & said(one)]
        before = before.union(*(said(one) for one in kept[part]))
    return kept, {part: len(parts[part]) - len(kept[part]) for part in parts}


def plain(text: str) -> str:
    """Lower case letters, digits and single spaces: what is said, however it is written."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).lower())
    return " ".join("".join(c if c.isalnum() else " " for c in text).split())

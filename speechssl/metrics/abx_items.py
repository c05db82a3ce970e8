"""Items of an ABX test: stretches of recordings that hold one phone, in its context, by one speaker.

File format of the ZeroSpeech challenges, a header and a line per item:

    #file onset offset #phone prev-phone next-phone speaker
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speechssl.errors import DataError
from speechssl.metrics.alignments import Alignments

SILENCES = frozenset({"SIL", "sil", "sp", "SP", "spn", "SPN", "<eps>", ""})
_HEADER = "#file onset offset #phone prev-phone next-phone speaker"


@dataclass(frozen=True)
class Item:
    """One phone token. Times in seconds."""

    file: str
    onset_s: float
    offset_s: float
    phone: str
    previous: str
    next: str
    speaker: str

    @property
    def context(self) -> tuple[str, str]:
        """Its neighbours."""
        return self.previous, self.next


def make_items(
    alignments: Alignments, speakers: Mapping[str, str], *, on: Literal["triphone", "phone"] = "triphone",
    shift_s: float = 0.0, silences: Collection[str] = SILENCES,
) -> list[Item]:  # fmt: skip
    """All phones with two neighbours, none of the three silent.

    on: what an item spans, the phone with both neighbours (ZeroSpeech's triphones) or the phone alone. shift_s moves
    every time. Raises DataError for an utterance without speaker.
    """
    if on not in ("triphone", "phone"):
        raise DataError(f"on={on!r}: choose triphone or phone")
    per_second = alignments.rate_hz or 1.0
    items = []
    for name in alignments:
        if name not in speakers:
            raise DataError(f"utterance {name!r} has an alignment and no speaker")
        starts, ends, ids = alignments.runs[name]
        labels = [alignments.labels[int(i)] for i in ids]
        for k in range(1, len(labels) - 1):
            if any(label in silences for label in labels[k - 1 : k + 2]):
                continue
            if abs(starts[k] - ends[k - 1]) > 1e-3 * per_second or abs(starts[k + 1] - ends[k]) > 1e-3 * per_second:
                continue  # something without label lies between
            first, last = (k - 1, k + 1) if on == "triphone" else (k, k)
            onset, offset = float(starts[first]) / per_second + shift_s, float(ends[last]) / per_second + shift_s
            items.append(Item(name, onset, offset, labels[k], labels[k - 1], labels[k + 1], speakers[name]))
    return items


def read_items(path: Path) -> list[Item]:
    """Items of a file. Raises DataError naming the line."""
    items = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        fields = line.split()
        try:
            file, onset, offset, phone, previous, following, speaker = fields
            items.append(Item(file, float(onset), float(offset), phone, previous, following, speaker))
        except ValueError:
            raise DataError(f"{path}:{number}: expected {_HEADER[1:]!r}, got {line[:80]!r}") from None
    return items


def write_items(path: Path, items: Iterable[Item]) -> None:
    """The same format; DataError where a field holds a space, which the format cannot carry."""
    lines = [_HEADER]
    for item in items:
        names = (item.file, item.phone, item.previous, item.next, item.speaker)
        if any(len(name.split()) != 1 for name in names):
            raise DataError(f"an item file has no place for spaces and empty names: {names}")
        times = f"{item.onset_s:.6f} {item.offset_s:.6f}"
        lines.append(f"{item.file} {times} {item.phone} {item.previous} {item.next} {item.speaker}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

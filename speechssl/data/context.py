"""What was said before and after an utterance: its neighbours in their session, as units that a recogniser may look at.

Sessions come from a file with a line `session utterance utterance …` each, in the order in which they were spoken (the
form of Kaldi's spk2utt), or from a corpus whose utterances say where in a recording they lie. A neighbour needs units
but no text, and may be of another part of the corpus: a set for training and one for tests are often cut from the same
sessions, so say with a result which neighbours there were.

T units, G streams.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechssl.data.corpus import Corpus
from speechssl.data.lines import read_lines
from speechssl.errors import ConfigError, DataError


@dataclass(frozen=True)
class Context:
    """How much a recogniser sees beside the utterance itself."""

    before: int = 1  # utterances
    after: int = 1
    most: int = 500  # units on either side; what is farther away is left out

    def __post_init__(self) -> None:
        """Refuse a context without anything in it."""
        if min(self.before, self.after) < 0 or not self.before + self.after or self.most < 1:
            raise ConfigError(f"a context needs an utterance before or after, and units of them, got {self}")


@dataclass(frozen=True)
class Sessions:
    """Utterances in their order."""

    of: Mapping[str, tuple[Sequence[str], int]]  # the session of an utterance, and its place there

    def around(self, name: str, context: Context) -> tuple[list[str], list[str]]:
        """Ids before and after an utterance, in their order; fewer at the ends of a session."""
        if name not in self.of:
            return [], []
        names, place = self.of[name]
        return list(names[max(0, place - context.before) : place]), list(names[place + 1 : place + 1 + context.after])

    @classmethod
    def join(cls, sessions: Sequence[Sequence[str]]) -> "Sessions":
        """Of lists of ids. Raises DataError for an id that comes twice."""
        found: dict[str, tuple[Sequence[str], int]] = {}
        for names in sessions:
            for place, name in enumerate(names):
                if name in found:
                    raise DataError(f"utterance {name!r} has two places in the sessions")
                found[name] = (names, place)
        return cls(found)


def read_sessions(path: Path) -> Sessions:
    """Of a file with lines `session utterance utterance …`."""
    return Sessions.join([[field for field in line.split(" ") if field][1:] for _, line in read_lines(path)])


def sessions_of(corpus: Corpus) -> Sessions:
    """Of a corpus with several utterances to a recording. Raises DataError where there is none such."""
    recordings: dict[str, list[tuple[float, str]]] = {}
    for utterance in corpus.utterances:
        if utterance.recording is not None:
            recordings.setdefault(utterance.recording, []).append((utterance.start_s or 0.0, utterance.id))
    if max(map(len, recordings.values()), default=0) < 2:
        raise DataError(f"{corpus.source}: no recording has two utterances: say in a file which follow each other "
                        "(lines `session utterance utterance …`)")  # fmt: skip
    return Sessions.join([[name for _, name in sorted(rows)] for rows in recordings.values()])


def units_around(
    name: str, units: Mapping[str, np.ndarray], sessions: Sessions, context: Context, *, factor: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Units [T, G] before and after an utterance; those of a neighbour without units are left out.

    factor: units that become one frame of the recogniser; what comes before is cut to a multiple of it, so that the
    utterance itself begins with a frame.
    """
    before, after = ([units[other] for other in names if other in units] for names in sessions.around(name, context))
    nothing = np.zeros((0, *next(iter(units.values())).shape[1:]), np.int32)
    most = context.most // factor * factor
    past = np.concatenate([nothing, *before])
    past = past[max(0, len(past) - most) :]
    return past[len(past) % factor :], np.concatenate([nothing, *after])[:most]

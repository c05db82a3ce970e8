"""Units of several languages and nothing else, for pre-training over units: no texts, no audio.

Utterances that are longer than a model takes are cut into pieces of about the same length; nothing is lost.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from speechssl.data.corpus import Corpus
from speechssl.data.sequences import read_units
from speechssl.data.unit_batches import UnitSet
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError


def open_unit_corpus(
    languages: Mapping[str, Sequence[Path]], *, most: int, least: int = 1, reduced: bool = True,
    size: int | None = None, rate_hz: int = 50, names: Sequence[str] | None = None,
) -> UnitSet:  # fmt: skip
    """Utterances of every language, from output folders of `speechssl units` or text files.

    most, least: units of an utterance, or of a piece of one; shorter ones become failures. size: V, where the files do
    not say it. rate_hz: units a second, merged ones counted as one, by which `seconds` and batches go. names: languages
    that there are, in the order of `groups`; None: these. Raises DataError for units of different models, a language
    that is not among `names`, and where nothing is left.
    """
    names = tuple(languages) if names is None else tuple(names)
    if unknown := sorted(set(languages) - set(names)):
        raise DataError(f"units of {unknown[0]!r}, which is none of {', '.join(names)}")
    streams = {(language, number): read_units(path, reduced=reduced, size=size)
               for language, paths in languages.items() for number, path in enumerate(paths)}  # fmt: skip
    models = {stream.model_sha256 for stream in streams.values()} - {None}
    if len(models) > 1:
        raise DataError(f"units of {len(models)} unit models: one model must have made those of all languages")
    utterances, units, groups, failures = [], [], [], []
    for (language, number), stream in streams.items():
        for name, found in stream.of.items():
            for place, piece in enumerate(np.array_split(found, max(1, -(-len(found) // most)))):
                own = f"{language}:{number}:{name}" + (f"#{place}" if len(found) > most else "")
                if len(piece) < least:
                    failures.append((own, f"{len(piece)} units are fewer than {least}"))
                    continue
                utterances.append(Utterance(own, ""))
                units.append(piece[:, None])
                groups.append(names.index(language))
    if not units:
        raise DataError(f"none of {len(failures)} utterances has {least} units or more")
    seconds = np.array([len(piece) for piece in units]) / rate_hz
    source = ", ".join(str(path) for paths in languages.values() for path in paths)
    return UnitSet(Corpus(utterances, "units", source), tuple(units), (max(s.size for s in streams.values()),), None,
                   seconds, tuple(failures), rate_hz, (next(iter(models), None),),
                   groups=np.array(groups))  # fmt: skip

"""Units of several languages and nothing else, alone for pre-training or in pairs for translation: no texts, no audio.

Alone, utterances that are longer than a model takes are cut into pieces of about the same length; nothing is lost.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from speechssl.data.corpus import Corpus
from speechssl.data.sequences import UnitTargets, read_units
from speechssl.data.targets import Targets
from speechssl.data.unit_batches import UnitSet
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

Languages = Mapping[str, Sequence[Path]]  # of each language: folders of `speechssl units`, or text files


def open_unit_corpus(
    languages: Languages, *, most: int, least: int = 1, reduced: bool = True,
    size: int | None = None, rate_hz: int = 50, names: Sequence[str] | None = None,
) -> UnitSet:  # fmt: skip
    """Utterances of every language, from output folders of `speechssl units` or text files.

    most, least: units of an utterance, or of a piece of one; shorter ones become failures. size: V, where the files do
    not say it. rate_hz: units a second, merged ones counted as one, by which `seconds` and batches go. names: languages
    that there are, in the order of `groups`; None: these. Raises DataError for units of different models, a language
    that is not among `names`, and where nothing is left.
    """
    names = tuple(languages) if names is None else tuple(names)
    streams, model = read_languages(languages, names, reduced=reduced, size=size)
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
    return UnitSet(Corpus(utterances, "units", _source(languages)), tuple(units), (_size(streams),), None, seconds,
                   tuple(failures), rate_hz, (model,), groups=np.array(groups))  # fmt: skip


def open_unit_pairs(
    languages: Languages, *, most: int, least: int = 1, reduced: bool = True, size: int | None = None,
    rate_hz: int = 50, names: Sequence[str] | None = None,
) -> UnitSet:  # fmt: skip
    """Parallel units, in every direction: what is said in one language, with what is said in another as its target.

    The first folders or files of all languages belong together, so do the second ones, and so on; an utterance has the
    same id in them. `groups` are the languages of targets. Where one side is missing, or has not least..most units,
    both directions become failures. As `open_unit_corpus` otherwise, but that nothing is cut.
    """
    names = tuple(languages) if names is None else tuple(names)
    streams, model = read_languages(languages, names, reduced=reduced, size=size)
    if len(languages) < 2 or len({len(paths) for paths in languages.values()}) > 1:
        told = ", ".join(f"{len(paths)} of {language}" for language, paths in languages.items())
        raise DataError(f"pairs need units of two languages, as many folders of each, got {told or 'none'}")
    utterances, units, targets, groups, failures = [], [], [], [], []
    for (source, number), stream in streams.items():
        for target in (language for language in languages if language != source):
            others = streams[target, number].of
            for name in [*stream.of, *(other for other in others if other not in stream.of)]:
                own, sides = f"{source}-{target}:{number}:{name}", {source: stream.of, target: others}
                if reason := _unfit(name, sides, least, most):
                    failures.append((own, reason))
                    continue
                utterances.append(Utterance(own, ""))
                units.append(stream.of[name][:, None])
                targets.append(others[name])
                groups.append(names.index(target))
    if not units:
        raise DataError(f"none of {len(failures)} pairs has {least}..{most} units on both sides: {_source(languages)}")
    seconds = np.array([max(len(one), len(other)) for one, other in zip(units, targets, strict=True)]) / rate_hz
    return UnitSet(Corpus(utterances, "units", _source(languages)), tuple(units), (_size(streams),),
                   Targets.join(targets), seconds, tuple(failures), rate_hz, (model,),
                   groups=np.array(groups))  # fmt: skip


def read_languages(
    languages: Languages, names: Sequence[str], *, reduced: bool = True, size: int | None = None
) -> tuple[dict[tuple[str, int], UnitTargets], str | None]:
    """Units of each language's folders or files, by language and number, and the sha256 of what made all of them."""
    if unknown := sorted(set(languages) - set(names)):
        raise DataError(f"units of {unknown[0]!r}, which is none of {', '.join(names)}")
    streams = {(language, number): read_units(path, reduced=reduced, size=size)
               for language, paths in languages.items() for number, path in enumerate(paths)}  # fmt: skip
    models = {stream.model_sha256 for stream in streams.values()} - {None}
    if len(models) > 1:
        raise DataError(f"units of {len(models)} unit models: one model must have made those of all languages")
    return streams, next(iter(models), None)


def _unfit(name: str, sides: Mapping[str, Mapping[str, np.ndarray]], least: int, most: int) -> str:
    """Why a pair cannot be used; nothing where it can."""
    for language, units in sides.items():
        if name not in units:
            return f"not there in {language}"
        if not least <= len(units[name]) <= most:
            return f"{len(units[name])} units in {language} are not {least}..{most}"
    return ""


def _size(streams: Mapping[tuple[str, int], UnitTargets]) -> int:
    return max(stream.size for stream in streams.values())


def _source(languages: Languages) -> str:
    return ", ".join(str(path) for paths in languages.values() for path in paths)

"""Utterances to a Kaldi (or ESPnet) data directory."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from speechssl.data import pipes, remote
from speechssl.data.folder import id_of
from speechssl.data.kaldi_dir import invert, write_dir
from speechssl.data.lines import check_id
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

_TABLES = {"wav.scp", "segments", "text", "utt2spk", "spk2utt", "utt2num_samples", "feats_type"}


def write_kaldi(
    utterances: Sequence[Utterance], target: Path, more: dict[str, dict[str, str]], constants: dict[str, str]
) -> list[str]:
    """A Kaldi data directory with `more` tables and `constants` files; returns notes. Raises DataError."""
    notes: list[str] = []
    whole = all(u.start_s is None and u.end_s is None for u in utterances)
    names = name_recordings(utterances)
    tables: dict[str, dict[str, str]] = {"wav.scp": {}, **more}
    if whole:
        tables["wav.scp"] = {u.id: _scp_entry(u) for u in utterances}
    else:
        tables["wav.scp"] = {names[u.audio, u.pipe]: _scp_entry(u) for u in utterances}
        tables["segments"] = {u.id: _segment(u, names[u.audio, u.pipe]) for u in utterances}
    if any(u.speaker is not None for u in utterances):
        tables["utt2spk"] = {u.id: u.id if u.speaker is None else u.speaker for u in utterances}
        for speaker in set(tables["utt2spk"].values()):
            check_id(speaker, f"{target}: speaker")
        tables["spk2utt"] = invert(tables["utt2spk"])
        num_without = sum(u.speaker is None for u in utterances)
        if num_without:
            notes.append(f"{num_without} utterances without speaker: the utterance's id stands for it")
    if any(u.text is not None for u in utterances):
        tables["text"] = {u.id: u.text or "" for u in utterances}
    for utterance in utterances:
        for name, value in (utterance.extra or {}).items():
            tables.setdefault(_table_name(name), {})[utterance.id] = value
    for name, table in tables.items():
        for key, value in table.items():
            check_id(key, f"{target}/{name}")
            if "\n" in value or "\r" in value or "\0" in value:
                raise DataError(f"{target}/{name}: the value of {key!r} holds a line break")
        num_changed = sum(value != value.strip() for value in table.values())
        if num_changed:
            notes.append(f"{name}: white space at the ends of {num_changed} values will be gone when read")
    write_dir(target, {name: table.items() for name, table in tables.items()}, constants=constants)
    return notes


def name_recordings(utterances: Sequence[Utterance]) -> dict[tuple[str, bool], str]:
    """An id for every recording (audio, pipe): its own, the utterance's where there is but one, or its file's name."""
    users: dict[tuple[str, bool], list[Utterance]] = {}
    for utterance in utterances:
        users.setdefault((utterance.audio, utterance.pipe), []).append(utterance)
    names: dict[tuple[str, bool], str] = {}
    taken: set[str] = set()
    for (audio, pipe), its in users.items():
        alone = len(its) == 1 and its[0].start_s is None and its[0].end_s is None
        wanted = its[0].recording or (its[0].id if alone else quote(id_of(Path(audio).name)) or "recording")
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name)
        names[audio, pipe] = name
    return names


def absolute(path: str) -> str:
    """A path that does not depend on the working directory; addresses stay as they are."""
    if remote.is_address(path):
        return path
    found = Path(path).absolute()
    return str(found.resolve() if ".." in found.parts else found)  # `link/..` is not the link's own folder


def _table_name(name: str) -> str:
    """A file name for an extra value: escaped, so that it stays in its folder; none that means something else."""
    if len(name) > 60:
        raise DataError(f"{name[:60]!r}...: too long to name a file of a data directory")
    safe = quote(name, safe="")
    safe = f"%2E{safe[1:]}" if safe.startswith(".") else safe
    return f"{safe}.extra" if safe in _TABLES or not safe else safe


def _scp_entry(utterance: Utterance) -> str:
    if utterance.pipe:
        return utterance.audio
    entry = absolute(utterance.audio)
    if pipes.is_command(entry) or entry != entry.strip() or "\n" in entry:
        raise DataError(f"{utterance.id!r}: wav.scp cannot hold the file name {utterance.audio!r}")
    return entry


def _segment(utterance: Utterance, recording: str) -> str:
    end = "-1" if utterance.end_s is None else repr(utterance.end_s)
    return f"{recording} {utterance.start_s or 0.0!r} {end}"

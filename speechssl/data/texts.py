"""Texts of utterances, of which recordings need not be there: what is to be spoken, or learned to be."""

from collections.abc import Mapping
from pathlib import Path

from speechssl.data.corpus import Corpus, open_corpus
from speechssl.data.lines import read_unique
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

_MANIFESTS = (".tsv", ".jsonl", ".json", ".tar")
LANGUAGES = "utt2lang"  # the table that says each utterance's language


def open_texts(spec: str | Path) -> Corpus:
    """Utterances with their texts, of a Kaldi `text` file, a folder with one, or whatever `open_corpus` reads.

    Of a folder without wav.scp utt2spk and utt2lang are read, where they are there. Raises DataError naming file and
    line.
    """
    path = Path(spec)
    file = path / "text" if path.is_dir() and not (path / "wav.scp").exists() else path
    if not file.is_file() or Path(file.name.removesuffix(".gz")).suffix in _MANIFESTS:
        return open_corpus(spec)
    texts, tables = read_unique(file, empty_ok=True), {}
    for name in ("utt2spk", LANGUAGES):
        table = file.parent / name
        tables[name] = read_unique(table) if file != path and table.exists() else {}
    if not texts:
        raise DataError(f"{file}: no text in it")
    rows = [_row(name, text, tables) for name, text in texts.items()]
    return Corpus(rows, "text", str(spec))


def _row(name: str, text: str, tables: Mapping[str, Mapping[str, str]]) -> Utterance:
    language = tables[LANGUAGES].get(name)
    return Utterance(name, "", speaker=tables["utt2spk"].get(name), text=text,
                     extra=None if language is None else {LANGUAGES: language})  # fmt: skip

"""The actions of `speechssl data` that are about phones: phones, lexicon, phone-map, rename-phones."""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechssl.phones.espeak import Espeak

Result = tuple[dict[str, Any], list[str], int]


def add_actions(actions: Any, common: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    spoken = argparse.ArgumentParser(add_help=False)
    spoken.add_argument("--language", required=True, metavar="CODE", help="espeak's: es, fr-fr, en-us, cmn …")
    spoken.add_argument("--length", choices=("keep", "drop"), default="keep", help="marks of length (default keep)")
    spoken.add_argument("--stress", action="store_true", help="keep marks of stress, before the phone")
    spoken.add_argument("--tone", action="store_true", help="keep marks of tone, behind the phone")
    spoken.add_argument("--diphthongs", action="store_true", help="leave them one phone each")
    spoken.add_argument("--foreign", choices=("skip", "keep"), default="skip",
                        help="texts with letters or words of another language (default skip)")  # fmt: skip

    phones = actions.add_parser("phones", parents=[common, spoken], help="texts as phones (espeak-ng)")
    phones.add_argument("source", help="Kaldi data dir, or a file of lines `id text`")
    phones.add_argument("target", help="new data dir, or new file")

    lexicon = actions.add_parser("lexicon", parents=[common, spoken], help="words of texts and their phones")
    lexicon.add_argument("source", nargs="+", help="Kaldi data dirs, or files of lines `id text`")
    lexicon.add_argument("target", help="new file of lines `word phone phone …`")
    lexicon.add_argument("--case", choices=("keep", "lower"), default="keep", help="default: keep")
    lexicon.add_argument("--punctuation", choices=("keep", "remove"), default="keep", help="default: keep")

    chart = actions.add_parser("phone-map", parents=[common], help="one inventory of phones to another's nearest")
    chart.add_argument("recognizer", help="folder of a recogniser of phones, or a file of lines `id phone phone …`")
    chart.add_argument("texts", help="phones of the target language: data dir, or lines `id phone phone …`")
    chart.add_argument("target", help="new table")
    chart.add_argument("--direction", choices=("outputs", "inventory"), default="outputs",
                       help="outputs: what the recogniser writes gets a name of the target language (default); "
                            "inventory: the target language's phones get one that the recogniser writes")  # fmt: skip
    chart.add_argument("--by", choices=("features", "id", "random"), default="features",
                       help="by articulatory features (default); id and random are what it must beat")  # fmt: skip
    chart.add_argument("--seed", type=int, default=0, help="of --by random (default 0)")
    chart.add_argument("--keep-shared", action="store_true", help="id, random: phones of both sides keep their name")
    chart.add_argument("--spellings", metavar="FILE",
                       help="a lexicon of it, too, for `transcribe --lexicon FILE --closed`; phones that none "
                            "becomes are spelled with their nearest")  # fmt: skip

    rename = actions.add_parser("rename-phones", parents=[common], help="texts or lexicons by such a table")
    rename.add_argument("table", help="of phone-map")
    rename.add_argument("source", help="file of lines `id phone phone …` or `word phone phone …`")
    rename.add_argument("target", help="new file")


def phones(args: argparse.Namespace) -> Result:
    """Texts of a data dir or of a file."""
    from speechssl.data.kaldi_dir import Row, check_absent, is_data_dir
    from speechssl.data.kaldi_edit import write_part
    from speechssl.data.kaldi_part import load_good
    from speechssl.data.lines import check_target, read_unique
    from speechssl.errors import DataError
    from speechssl.phones.texts import phonemize

    source, target, whole = Path(args.source), Path(args.target), is_data_dir(args.source)
    if whole:
        check_absent(target)
        data = load_good(source)
        texts = data.table("text")
        if not texts:
            raise DataError(f"{source}: no `text`, so nothing to write as phones")
    else:
        check_target(target)
        texts = read_unique(source, empty_ok=True)
    found = phonemize(texts, _espeak(args), others=args.foreign)
    if not found.phones:
        raise DataError(f"{source}: no text can be used; the first: {_first(found.left_out)}")
    if whole:
        data.tables["text"] = [Row(0, key, value) for key, value in found.phones.items()]
        write_part(data, target, found.phones)
    else:
        _write(target, found.phones)
    inventory = sorted({phone for text in found.phones.values() for phone in text.split()})
    row = {"texts": len(found.phones), "inventory": inventory, "left_out": found.left_out, "notes": found.notes}
    lines = [*_listed(found.left_out, "left out"), *_listed(found.notes, "kept"),
             f"{target}: {len(found.phones)} texts as {len(inventory)} phones of {args.language}, "
             f"{len(found.left_out)} left out"]  # fmt: skip
    return row, lines, int(bool(found.left_out))


def lexicon(args: argparse.Namespace) -> Result:
    """Words of texts."""
    from speechssl.data.lines import check_target
    from speechssl.errors import DataError
    from speechssl.metrics.text_rules import TextRules
    from speechssl.phones.texts import lexicon

    target = Path(args.target)
    check_target(target)
    rules = TextRules(args.case, args.punctuation)
    words = dict.fromkeys(word for source in args.source for text in _texts(source) for word in rules(text).split())
    found = lexicon(words, _espeak(args), others=args.foreign)
    if not found.phones:
        raise DataError(f"no word has phones; the first: {_first(found.left_out)}")
    _write(target, found.phones)
    row = {"words": len(found.phones), "left_out": found.left_out, "notes": found.notes}
    lines = [*_listed(found.left_out, "left out"), *_listed(found.notes, "kept"),
             f"{target}: {len(found.phones)} words, {len(found.left_out)} left out"]  # fmt: skip
    return row, lines, int(bool(found.left_out))


def phone_map(args: argparse.Namespace) -> Result:
    """A table of phones, nearest or floor."""
    from speechssl.data.lines import check_target, write_lines
    from speechssl.errors import ConfigError
    from speechssl.phones import features, mapping

    if args.keep_shared and args.by == "features":
        raise ConfigError("--keep-shared is for --by id and random: by features, a phone of both sides keeps its name")
    target, spelled = Path(args.target), Path(args.spellings) if args.spellings else None
    check_target(target, *([spelled] if spelled else []))
    written, named = _written(Path(args.recognizer)), _inventory(args.texts)
    sources, targets = (written, named) if args.direction == "outputs" else (named, written)
    match args.by:
        case "features":
            rows = mapping.nearest(sources, targets, features.panphon())
        case "id":
            rows = mapping.by_id(sources, targets, keep_shared=args.keep_shared)
        case _:
            rows = mapping.at_random(sources, targets, seed=args.seed, keep_shared=args.keep_shared)
    mapping.write_map(target, rows)
    same = [row.source for row in rows if row.source == row.target]
    unreached = sorted(set(targets) - {row.target for row in rows})
    if spelled and args.direction == "outputs":
        own = mapping.nearest(unreached, sources, features.panphon()) if unreached and args.by == "features" else []
        write_lines(spelled, mapping.spellings(rows, own))
    elif spelled:
        write_lines(spelled, mapping.spellings([], rows))
    cut = [row.source for row in rows if row.taken_as not in (None, row.source)]
    row = {"phones": len(rows), "same": len(same), "unreached": unreached, "cut": cut}
    lines = [f"{target}: {len(rows)} phones to {len(set(targets))}, {len(same)} keep their name"]
    if unreached:
        lines.append(f"  {len(unreached)} that none becomes: {' '.join(unreached)}")
    if cut:
        lines.append(f"  features of a simpler phone were taken for {' '.join(cut)}")
    return row, lines, 0


def rename_phones(args: argparse.Namespace) -> Result:
    """Phones of every line but its first field."""
    from speechssl.data.lines import check_target, read_table, write_lines
    from speechssl.errors import DataError
    from speechssl.phones.mapping import read_map, renamed

    target, table = Path(args.target), read_map(Path(args.table))
    check_target(target)
    lines, changed = [], 0
    for number, name, text in read_table(args.source, empty_ok=True):
        try:
            after = renamed(text.split(), table)
        except DataError as error:
            raise DataError(f"{args.source}:{number}: {error}") from None
        changed += sum(a != b for a, b in zip(text.split(), after, strict=True))
        lines.append(" ".join((name, *after)))
    write_lines(target, dict.fromkeys(lines))  # words of a lexicon may have become alike
    alike = len(lines) - len(set(lines))
    row = {"lines": len(lines), "changed": changed, "alike": alike}
    also = f", {alike} lines are alike now and written once" if alike else ""
    return row, [f"{target}: {len(lines)} lines, {changed} phones renamed{also}"], 0


def _espeak(args: argparse.Namespace) -> "Espeak":
    from speechssl.phones.espeak import Espeak
    from speechssl.phones.segments import Rules

    return Espeak(args.language, Rules(args.stress, args.tone, args.length == "keep", args.diphthongs))


def _texts(source: str) -> list[str]:
    """Of a data dir or of a file."""
    from speechssl.data.kaldi_dir import is_data_dir
    from speechssl.data.lines import read_unique

    path = Path(source) / "text" if is_data_dir(source) else Path(source)
    return list(read_unique(path, empty_ok=True).values())


def _inventory(source: str) -> list[str]:
    import unicodedata

    return sorted({phone for text in _texts(source) for phone in unicodedata.normalize("NFC", text).split()})


def _written(source: Path) -> list[str]:
    """What a recogniser may write, or the phones of a file."""
    from speechssl.decoders import vocabulary
    from speechssl.errors import ConfigError

    if not (source / vocabulary.FILE).exists():
        return _inventory(str(source))
    found = vocabulary.load(source)
    if found.kind != "phones":
        raise ConfigError(f"{source}: a recogniser of {found.kind}, not of phones")
    silent = {found.symbols[found.blank], found.word_boundary, *found.silent}
    return [symbol for symbol in found.symbols if symbol not in silent]


def _write(path: Path, table: Mapping[str, str]) -> None:
    from speechssl.data.lines import write_lines

    write_lines(path, [f"{key} {value}" for key, value in table.items()])


def _listed(table: Mapping[str, str], what: str, most: int = 10) -> Iterable[str]:
    lines = [f"{name}: {reason} ({what})" for name, reason in table.items()]
    return lines[:most] + ([f"… and {len(lines) - most} more {what}"] if len(lines) > most else [])


def _first(table: Mapping[str, str]) -> str:
    return next((f"{name!r}: {reason}" for name, reason in table.items()), "there is none")

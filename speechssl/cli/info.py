"""What an encoder, unit model, k-means, recogniser, vocoder or any other model is: sizes, rate, hash, advice.

    speechssl info hubert-base-ls960          # what is known of it; more once it is in the cache
    speechssl info hubert_base_ls960.pt       # any checkpoint that `convert` reads
    speechssl info exp/units/model            # a unit model, or a unit normaliser
    speechssl info exp/bpe                    # a piece model
    speechssl info exp/s2ut/model             # a translator, or fairseq's file of one
    speechssl info exp/ctc/recognizer         # a recogniser; a vocoder, a mel decoder: any model folder of ours
    speechssl info --known                    # the released checkpoints that have a short name

Names are looked up without the network unless --download is given.

exit code: 0 told; 2 not readable.
"""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechssl.convert.known import KnownCheckpoint

SUMMARY = "what an encoder, unit model, recogniser, vocoder or translator is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """WHAT or --known."""
    parser.add_argument("what", nargs="?", metavar="WHAT", help="name, folder or file")
    parser.add_argument("--known", action="store_true", help="list the released checkpoints that have a short name")
    parser.add_argument("--download", action="store_true", help="fetch what is named and not in the cache")
    parser.add_argument("--normalize", choices=("yes", "no"), help="for checkpoints that do not say it")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what is asked for."""
    import json

    from speechssl.errors import ConfigError

    if args.known == bool(args.what):
        raise ConfigError("give either WHAT or --known")
    values, lines = _known() if args.known else _describe(args)
    print(json.dumps(values, indent=2, ensure_ascii=False) if args.json else "\n".join(lines))
    return 0


def _known() -> tuple[list[dict[str, Any]], list[str]]:
    from speechssl.convert import describe, known

    entries = known.checkpoints()
    width = max(len(entry.name) for entry in entries)
    lines = []
    for entry in entries:
        lines.append(f"{entry.name:<{width}}  {entry.family:<15} {entry.hub or entry.url}")
        lines += [f"{'':<{width}}  k-means         {kmeans.name}" for kmeans in entry.kmeans]
    return [describe.checkpoint(entry) for entry in entries], lines


def _describe(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from pathlib import Path

    from speechssl.cli import _card_report
    from speechssl.convert import known
    from speechssl.errors import CheckpointError
    from speechssl.units.card import FORMAT, is_normalizer
    from speechssl.units.piece_card import MODEL_FILE

    path = Path(args.what).expanduser()
    if (path / MODEL_FILE).is_file():
        return _pieces(path)
    if is_normalizer(path):
        return _normalizer(path)
    card = _card_report.read(path)
    if (translator := _translator(path, card)) is not None:
        return translator
    if card.get("format", FORMAT) != FORMAT:
        return _card_report.describe(path, card)
    if (path / "card.json").is_file() or (args.what == "default" and not path.exists()):
        return _unit_model(args.what)
    if path.exists():
        try:
            return _encoder(args, None)
        except CheckpointError as error:
            return _kmeans(path, error)
    if found := known.find_kmeans(args.what):
        return _known_kmeans(args.what, found)
    return _encoder(args, known.find(args.what))


def _translator(path: Any, card: dict[str, Any]) -> tuple[dict[str, Any], list[str]] | None:
    """Of a sequence-to-sequence model, ours or fairseq's; None for anything else."""
    from speechssl.convert import s2ut

    if not s2ut.is_file(path) and not card:
        return None
    from speechssl.cli import _translator_report
    from speechssl.generation.model import FORMAT, Seq2Seq, of_fairseq

    if path.is_file():
        found = s2ut.load(path)
        values = _translator_report.describe(of_fairseq(found), found.dropped, found.notes)
    elif card["format"] == FORMAT:
        values = _translator_report.describe(Seq2Seq.load(path))
    else:
        return None
    return values, _translator_report.lines(values)


def _encoder(args: argparse.Namespace, entry: "KnownCheckpoint | None") -> tuple[dict[str, Any], list[str]]:
    from speechssl import convert
    from speechssl.convert import describe
    from speechssl.errors import CheckpointError

    normalize = None if args.normalize is None else args.normalize == "yes"
    values: dict[str, Any] = describe.checkpoint(entry) if entry else {}
    lines = describe.checkpoint_lines(entry) if entry else []
    try:
        loaded = convert.load(args.what, offline=not args.download, normalize=normalize)
    except CheckpointError as error:
        if entry is None or args.download:
            raise
        return values | {"cached": False, "reason": str(error)}, [*lines, f"{'note':<12}{error}"]
    told = describe.encoder(loaded)
    told = {**values, **told, "cached": True} if entry else told
    return told, [*lines, *([""] if lines else []), *describe.lines(told)]


def _unit_model(what: str) -> tuple[dict[str, Any], list[str]]:
    import dataclasses

    from speechssl.units import card as cards

    folder = cards.find(what)
    card = cards.read_card(folder)
    values = {"kind": "unit model", "folder": str(folder), **dataclasses.asdict(card)}
    encoder = card.encoder
    rows = [
        ("unit model", card.name or str(what)),
        ("units", f"{card.num_units}, {card.rate_hz:g} Hz before merging runs"),
        ("quantizer", f"{card.quantizer.kind}, sha256 {card.quantizer.sha256}"),
        ("encoder", f"{encoder.id} ({encoder.family}), layer {card.layer}, weights: {encoder.weights}"),
        ("", f"sha256 {encoder.sha256}"),
        ("frames", f"{card.frame_rule} of N samples at {card.sample_rate} Hz"),
        ("waveform", f"normalisation: {'zero mean, unit variance per utterance' if encoder.normalize else 'none'}"),
        ("licence", card.licence or "not stated"),
        *(("training", f"{key}: {value}") for key, value in card.training.items()),
    ]
    return values, [f"{name:<12}{text}" for name, text in rows]


def _normalizer(folder: Any) -> tuple[dict[str, Any], list[str]]:
    import dataclasses

    from speechssl.units.normalizer import UnitNormalizer

    found = UnitNormalizer.load(folder)
    card = found.recognizer.describe()
    values = {"kind": "unit normaliser", "folder": str(folder), "units": dataclasses.asdict(found.units),
              "recognizer": dataclasses.asdict(card)}  # fmt: skip
    rows = [
        ("normaliser", card.name or str(folder)),
        ("", f"sha256 {card.sha256}"),
        ("units", f"{found.size} of {found.units.name or 'the reference'}, merged and without durations"),
        ("units of", f"unit model {found.hash}"),
        ("encoder", f"{card.encoder.name} ({card.encoder.family})"),
        ("frames", f"{card.frame_rule} of N samples at {card.sample_rate} Hz"),
        ("licence", card.licence or "not stated"),
        *(("training", f"{key}: {value}") for key, value in card.training.items()),
    ]
    return values, [f"{name:<12}{text}" for name, text in rows]


def _pieces(folder: Any) -> tuple[dict[str, Any], list[str]]:
    import dataclasses

    from speechssl.units.piece_card import read_card

    card = read_card(folder)
    rows = [
        ("pieces", f"{card.num_pieces} ({card.kind}) of {card.num_units} units at {card.rate_hz:g} Hz"),
        ("model", f"sha256 {card.sha256}"),
        ("units of", f"unit model {card.unit_model}" if card.unit_model else "not stated"),
        *(("training", f"{key}: {value}") for key, value in card.training.items()),
    ]
    values = {"kind_of_model": "pieces", "folder": str(folder), **dataclasses.asdict(card)}
    return values, [f"{name:<12}{text}" for name, text in rows]


def _kmeans(path: Any, encoder_error: ValueError) -> tuple[dict[str, Any], list[str]]:
    from speechssl.convert import kmeans_files
    from speechssl.errors import SpeechSSLError

    try:
        kmeans = kmeans_files.load_kmeans(path)
    except SpeechSSLError:
        raise encoder_error from None
    values = {"kind": "k-means", "name": path.name, "num_units": kmeans.size, "dim": kmeans.dim}
    return values, [f"k-means     {path.name}: {kmeans.size} units of {kmeans.dim} channels"]


def _known_kmeans(what: str, found: Any) -> tuple[dict[str, Any], list[str]]:
    import dataclasses

    entry, kmeans = found
    values = {"kind": "known k-means", "encoder": entry.name, **dataclasses.asdict(kmeans)}
    rows = [
        ("k-means", f"{what}: {kmeans.num_units} units"),
        ("encoder", f"{entry.name}, layer {kmeans.layer}"),
        ("address", kmeans.url),
        ("file sha256", kmeans.sha256 or "not pinned"),
        ("source", kmeans.source),
    ]
    return values, [f"{name:<12}{text}" for name, text in rows]

"""Join units into pieces, as text is joined into subwords, and take them apart again.

    speechssl pieces train exp/units -o exp/bpe --pieces 1000
    speechssl pieces encode exp/units --model exp/bpe -o exp/pieces.jsonl
    speechssl pieces decode exp/pieces.jsonl --model exp/bpe -o exp/units.jsonl

UNITS is an output folder of `speechssl units`, or a file of units: jsonl, or text `id unit unit ...`. Runs of one unit
are merged, and their durations travel along: `decode` gives the same units, frame for frame. Every unit can always be
written, also one that the training units lack. Needs sentencepiece (pip install 'speechssl[pieces]').

exit code: 0 all done; 2 nothing done.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechssl.units.piece_card import PieceCard
    from speechssl.units.pieces import Pieces
    from speechssl.units.units import Units

SUMMARY = "join units into pieces (BPE, unigram), and take them apart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """train, encode, decode."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON object instead of text")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    train = actions.add_parser("train", parents=[common], help="learn pieces from units")
    train.add_argument("source", metavar="UNITS", help="output folder of `speechssl units`, or a file of units")
    train.add_argument("-o", "--output", required=True, metavar="FOLDER", help="piece model: card.json, pieces.model")
    train.add_argument("--pieces", type=int, required=True, metavar="P",
                       help="how many, all units and <unk> included")  # fmt: skip
    train.add_argument("--kind", choices=("bpe", "unigram"), default="bpe", help="default: bpe")
    train.add_argument("--longest", type=int, default=16, metavar="N", help="units in a piece, at most (default 16)")
    train.add_argument("--share", type=float, default=1.0, metavar="S",
                       help="learn from a share of the utterances, chosen by their ids (default 1)")  # fmt: skip
    train.add_argument("--threads", type=int, default=1, metavar="N",
                       help="of the unigram model, whose last digits depend on it (default 1)")  # fmt: skip
    train.add_argument("--num-units", type=int, metavar="V", help="codebook size, for files that do not say")
    train.add_argument("--unit-rate", type=float, metavar="HZ", help="unit rate, for files that do not say")
    train.add_argument("--overwrite", action="store_true", help="replace a model that is there")

    encode = actions.add_parser("encode", parents=[common], help="units in pieces")
    encode.add_argument("source", metavar="UNITS", help="output folder of `speechssl units`, or a file of units")
    encode.add_argument("--format", choices=("jsonl", "text"), default="jsonl",
                        help="text has no durations: for language models (default jsonl)")  # fmt: skip

    decode = actions.add_parser("decode", parents=[common], help="pieces in units")
    decode.add_argument("source", metavar="PIECES", help="what `encode` wrote, or text `id piece piece ...`")
    for action in (encode, decode):
        action.add_argument("--model", required=True, metavar="FOLDER", help="piece model")
        action.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write, or - to print it")


def run(args: argparse.Namespace) -> int:
    """Do one action."""
    import json

    result, lines = {"train": _train, "encode": _encode, "decode": _decode}[args.action](args)
    to = sys.stderr if args.output == "-" else sys.stdout
    print(json.dumps(result, ensure_ascii=False) if args.json else "\n".join(lines), file=to)
    return 0


def _train(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    import dataclasses

    from speechssl.cli._folder import new_folder
    from speechssl.cli._scores._input import open_units
    from speechssl.errors import ConfigError
    from speechssl.units.piece_card import check_sizes
    from speechssl.units.piece_training import LONGEST_SENTENCE, train
    from speechssl.units.units import Units

    if not 0 < args.share <= 1:
        raise ConfigError(f"--share {args.share}: a share is above 0 and at most 1")
    source = Path(args.source)
    num_units, rate_hz, utterances = open_units(source, args.num_units, args.unit_rate)
    check_sizes(args.pieces, num_units)
    units = (Units.from_frames(frames, rate_hz=rate_hz, size=num_units).dedup()
             for name, frames in utterances if _is_chosen(name, args.share))  # fmt: skip
    with new_folder(Path(args.output), args.overwrite) as folder:
        model = train(units, num_pieces=args.pieces, num_units=num_units, rate_hz=rate_hz, kind=args.kind,
                      longest=args.longest, num_threads=args.threads, unit_model=_unit_model(source))  # fmt: skip
        model.save(folder)
    training = model.card.training
    lengths = [int(length) for length in model.lengths[1:]]
    result = {"output": args.output, **dataclasses.asdict(model.card), "longest_found": max(lengths)}
    lines = [f"{args.output}: {args.kind}, {args.pieces} pieces of {num_units} units, the longest of {max(lengths)}; "
             f"learned from {training['units']} units in {training['utterances']} utterances"]  # fmt: skip
    if training["cut"]:
        lines.append(f"  {training['cut']} utterances had more than {LONGEST_SENTENCE} units and were learned from in "
                     "parts of that length")  # fmt: skip
    return result, lines


def _encode(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    import dataclasses

    from speechssl.cli._scores._output import defined
    from speechssl.metrics.pieces import PieceCounts
    from speechssl.units import piece_files
    from speechssl.units.pieces import PieceModel

    model = PieceModel.load(args.model)
    counts = PieceCounts(model.card.num_units, model.card.num_pieces, unit_rate=model.card.rate_hz)

    def encoded() -> "Iterator[tuple[str, Pieces]]":
        for name, units in _units_for(Path(args.source), model.card):
            pieces = model.encode(units)
            counts.add(units.ids, pieces.ids, units.num_frames)
            yield name, pieces

    def write(path: Path) -> None:
        if args.format == "text":
            piece_files.write_text(path, encoded())
        else:
            piece_files.write_jsonl(path, encoded(), model)

    _write(args.output, write)
    row = defined(dataclasses.asdict(counts.scores()))
    return {"output": args.output, **row}, [f"{args.output}: {row['utterances']} utterances", *_lines(row)]


def _decode(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from speechssl.units.formats import Info, Item, jsonl
    from speechssl.units.piece_files import read_pieces
    from speechssl.units.pieces import PieceModel

    model = PieceModel.load(args.model)
    counts = {"utterances": 0, "frames": 0, "without_durations": 0}

    def decoded() -> Iterator[Item]:
        for name, pieces, timed in read_pieces(Path(args.source), model):
            units = model.decode(pieces)
            counts["utterances"] += 1
            counts["frames"] += units.num_frames
            counts["without_durations"] += not timed
            yield Item(name, units)

    def write(path: Path) -> None:
        info = Info(model.card.rate_hz, model.card.num_units, merged=True, home=path.parent)
        jsonl.write(path.parent, decoded(), info)
        (path.parent / "units.jsonl").rename(path)

    _write(args.output, write)
    lines = [f"{args.output}: {counts['utterances']} utterances, {counts['frames']} frames"]
    if counts["without_durations"]:
        lines.append(f"  {counts['without_durations']} of them have no durations: their units last one frame each")
    return {"output": args.output, **counts}, lines


def _units_for(source: Path, card: "PieceCard") -> "Iterator[tuple[str, Units]]":
    """Id and deduplicated units of what a piece model can spell; DataError for units of another kind."""
    from speechssl.cli._scores._input import open_units
    from speechssl.errors import DataError
    from speechssl.units.units import Units

    theirs = _unit_model(source)
    if card.unit_model and theirs and card.unit_model != theirs:
        raise DataError(
            f"{source}: units of model {theirs[:12]}…, and the pieces are of units of model {card.unit_model[:12]}…: "
            "the same numbers mean other sounds"
        )
    given = (None, None) if source.is_dir() else (card.num_units, card.rate_hz)
    num_units, rate_hz, utterances = open_units(source, *given)
    for name, frames in utterances:
        yield name, Units.from_frames(frames, rate_hz=rate_hz, size=num_units).dedup()


def _unit_model(source: Path) -> str:
    """sha256 of the unit model that an output folder is of; "" for files, which do not say."""
    from speechssl.extract import job as jobs

    return (jobs.load(source).model.unit_model or "") if source.is_dir() else ""


def _is_chosen(name: str, share: float) -> bool:
    """The same utterances for the same share, whatever else is in the corpus; of a larger share, these too."""
    import hashlib

    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def _write(output: str, write: Callable[[Path], None]) -> None:
    """A file that is there whole or not at all; or its text on standard output, or on what is no file."""
    import shutil
    import tempfile

    from speechssl.extract import atomic

    path = Path(output).resolve()
    if output == "-" or (path.exists() and not path.is_file()):  # a device takes no file in its place
        with tempfile.TemporaryDirectory(prefix="speechssl-") as folder:
            write(Path(folder, "output"))
            with Path(folder, "output").open(encoding="utf-8", newline="\n") as file:
                if output == "-":
                    shutil.copyfileobj(file, sys.stdout)
                else:
                    with path.open("w", encoding="utf-8", newline="\n") as target:
                        shutil.copyfileobj(file, target)
        return
    atomic.clean_abandoned(path.parent, "output")
    with atomic.scratch(path.parent, "output") as scratch:
        write(scratch / path.name)
        atomic.commit(scratch, path.parent)


def _lines(row: dict[str, Any]) -> list[str]:
    def number(key: str, decimals: int) -> str:
        return "undefined" if row[key] is None else f"{row[key]:.{decimals}f}"

    return [
        f"units per piece  {number('units_per_piece', 4)} ({row['units']} deduplicated units, {row['pieces']} pieces)",
        f"pieces/s         {number('pieces_per_s', 4)}, and {number('units_per_s', 4)} units/s",
        f"bitrate          {number('bitrate', 4)} bit/s = log2({row['num_pieces']}) x pieces/s; of the units "
        f"{number('unit_bitrate', 4)}",
        f"entropy bitrate  {number('entropy_bitrate', 4)} bit/s; of the units {number('unit_entropy_bitrate', 4)}",
        f"active pieces    {row['active_pieces']} of {row['num_pieces']}",
    ]

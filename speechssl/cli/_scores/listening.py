"""Whether a translator listens. `speechssl score listening INPUT --targets REF --model MODEL`.

INPUT is the source speech (or for a model from units to units an output folder of `speechssl units`), REF what is
right: units (an output folder, or lines `id 17 4 ...`), or lines `id word word ...` for a model that says text. How
likely is the right target after its own source, and how likely after the sources of other utterances, the ones nearest
in length? The difference, in bits per symbol, is what the model draws from the source beyond its length; 0 for one that
says fluent units whatever it hears, which BLEU near its floors does not show. The share: how often the own source makes
the target likelier than another one, by chance 0.5. Intervals: percentiles of a bootstrap over utterances.

Utterances that one side lacks, or that cannot be used, are reported and left out.
exit code: 0 all scored, 1 some left out, unless --allow-missing; 2 nothing scored.
"""

import argparse
from typing import TYPE_CHECKING, Any

from speechssl.cli import _extraction
from speechssl.cli._translator import add_translator

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from speechssl.cli._hearing import Translator

SUMMARY = "how much a translator draws from its source: its targets after the right sources and after wrong ones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`INPUT --targets REF --model MODEL`."""
    _extraction.add_input(parser)
    parser.add_argument("--targets", required=True, metavar="REF", help="what is right, of the same utterances")
    add_translator(parser)
    parser.add_argument("--others", type=int, default=4, metavar="K", help="wrong sources of each target (default 4)")
    parser.add_argument("--draws", type=int, default=1000, metavar="R", help="of the bootstrap (default 1000)")
    parser.add_argument("--allow-missing", action="store_true", help="utterances that one side lacks are expected")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    from speechssl.cli._scores._output import deliver

    row = listens(args)
    gained, preferred = row["gained"], row["preferred"]
    deliver(row, args, [
        f"bits per symbol after the right source {row['right']:.3f}, after wrong ones {row['wrong']:.3f}: "
        f"{gained['value']:.3f} gained [95 %: {gained['low']:.3f}, {gained['high']:.3f}]",
        f"the right source makes the target likelier in {100 * preferred['value']:.1f} % of pairs "
        f"[{100 * preferred['low']:.1f}, {100 * preferred['high']:.1f}]; by chance 50 %",
        f"{row['utterances']} utterances; {row['missing']} without a target, {row['failed']} could not be used",
    ])  # fmt: skip
    return 1 if (row["missing"] or row["failed"]) and not args.allow_missing else 0


def listens(args: argparse.Namespace) -> dict[str, Any]:
    """What is printed and stored."""
    from dataclasses import asdict
    from pathlib import Path

    from speechssl.cli._hearing import heard
    from speechssl.cli._translator import open_translator
    from speechssl.errors import AudioError, DataError
    from speechssl.generation.listening import listening

    model, corpus, units = open_translator(args)
    targets = _targets(Path(args.targets), model)
    missing, failed, memories, said = 0, 0, [], []
    for utterance, memory in heard(corpus, model, units):
        if utterance.id not in targets:
            missing += 1
        elif isinstance(memory, AudioError):
            failed += 1
        else:
            memories.append(memory)
            said.append(targets[utterance.id])
    if not memories:
        raise DataError(f"nothing to score: no utterance of INPUT that can be used has a target in {args.targets}")
    found = listening(model.decoder, memories, said, others=args.others, draws=args.draws)
    return {**asdict(found), "others": args.others, "draws": args.draws, "missing": missing, "failed": failed}


def _targets(path: "Path", model: "Translator") -> "dict[str, np.ndarray]":
    from speechssl.data.lines import read_unique
    from speechssl.data.sequences import read_units
    from speechssl.errors import DataError
    from speechssl.generation.model import Seq2Seq

    if isinstance(model, Seq2Seq) and model.output.kind == "text":
        return {name: model.symbols(text) for name, text in read_unique(path, empty_ok=True).items()}
    known, wanted = read_units(path, reduced=model.output.reduced, size=model.num_symbols), model.output.unit_model
    if None not in (known.model_sha256, wanted) and known.model_sha256 != wanted:
        raise DataError(f"{path}: units of another unit model than those that this model says")
    return {name: units.astype("int64") for name, units in known.of.items()}

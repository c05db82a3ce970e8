"""Measure units and features.

speechssl score units exp/units --phones phones.tsv
speechssl score abx exp/units --phones phones.tsv --speakers utt2spk
speechssl score KIND --help
"""

import argparse
import importlib
import pkgutil

from speechssl.cli import _scores as scores

SUMMARY = (
    "measure units and features: PNMI, purities, bitrate, boundaries, durations, Zipf's law, edits, ABX, probes, "
    "neighbours, likeness of layers"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A subcommand for each kind, which is a module of `speechssl.cli._scores`."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name in sorted(m.name for m in pkgutil.iter_modules(scores.__path__) if not m.name.startswith("_")):
        module = importlib.import_module(f"{scores.__name__}.{name}")
        kind = kinds.add_parser(name, help=module.SUMMARY, description=module.__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        module.add_arguments(kind)


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    return int(importlib.import_module(f"{scores.__name__}.{args.kind}").run(args))

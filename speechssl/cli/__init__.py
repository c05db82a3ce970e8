"""The command line. Each verb is one module in this folder: `SUMMARY`, `add_arguments(parser)`, `run(args) -> int`.

Verb modules import nothing heavy at the top, so that `--help` answers at once. Exit codes: 0 all done, 1 done but some
inputs were skipped (the report says which and why), 2 nothing useful done (bad arguments, bad input, full disk).
"""

import argparse
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence

from speechssl.cli import _terminal as terminal
from speechssl.errors import SpeechSSLError


def verbs() -> list[str]:
    """The verbs: the public modules of this folder, hyphens for underscores."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def build_parser() -> argparse.ArgumentParser:
    """The parser with every verb."""
    parser = argparse.ArgumentParser(prog="speechssl", description="Speech to features, to discrete units, and back.")
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb in verbs():
        module = importlib.import_module(f"{__name__}.{verb.replace('-', '_')}")
        subparser = subparsers.add_parser(verb, help=module.SUMMARY, description=module.__doc__,
                                          formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0, 1 or 2)."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.version:
        from speechssl import __version__

        print(__version__)
        return 0
    if args.verb is None:
        parser.print_help()
        return 2
    with terminal.escaping():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    try:
        return int(args.run(args))
    except SpeechSSLError as error:
        print(f"speechssl {args.verb}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except OSError as error:
        print(f"speechssl {args.verb}: {error}", file=sys.stderr)
        return 2
    except Exception:  # Python would leave with 1, which means "some inputs were skipped"
        traceback.print_exc()
        print(f"speechssl {args.verb}: this is a bug in speechssl, not in your input", file=sys.stderr)
        return 2

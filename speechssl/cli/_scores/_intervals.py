"""How intervals of scores are drawn: options that several scores share."""

import argparse
from typing import Any


def add_drawing(parser: argparse.ArgumentParser) -> None:
    """--draws, --level, --seed."""
    parser.add_argument("--draws", type=int, default=1000, metavar="R", help="of the bootstrap (default 1000)")
    parser.add_argument("--level", type=float, default=0.95, metavar="L", help="of intervals (default 0.95)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")


def drawing(args: argparse.Namespace) -> dict[str, Any]:
    """The same for `metrics.bootstrap`."""
    return {"num_draws": args.draws, "level": args.level, "seed": args.seed}

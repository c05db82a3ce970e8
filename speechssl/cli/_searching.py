"""Arguments of a search, and the report of a run, that `translate` and `speak` share."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speechssl.cli._translation import Translated
    from speechssl.decoders.search import Search


def add_search(parser: argparse.ArgumentParser, *, max_tokens: int, max_each: float, each: str) -> None:
    """How hypotheses are searched. each: of what the decoder looks at, frames or symbols."""
    parser.add_argument("--beam", type=int, default=5, metavar="W", help="hypotheses that go on (default 5)")
    parser.add_argument("--num-best", type=int, default=1, metavar="N", help="more than 1: nbest.tsv, too")
    parser.add_argument("--max-tokens", type=int, default=max_tokens, metavar="L",
                        help=f"of a hypothesis (default {max_tokens})")  # fmt: skip
    parser.add_argument(f"--max-per-{each}", type=float, default=max_each, metavar="A", dest="max_each",
                        help=f"so many more for each {each} that the decoder sees (default {max_each:g})")  # fmt: skip
    parser.add_argument("--min-tokens", type=int, default=0, metavar="L", help="before a hypothesis may end")
    parser.add_argument("--length-penalty", type=float, default=1.0, metavar="P",
                        help="0: sums of log probabilities, 1: means (default), more: longer")  # fmt: skip
    parser.add_argument("--no-repeat", type=int, default=0, metavar="N", help="no N symbols come twice (0: may)")


def add_running(parser: argparse.ArgumentParser) -> None:
    """How to compute and report."""
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch threads (default 1)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def search(args: argparse.Namespace) -> "Search":
    """The settings of `add_search`. Raises ConfigError for what finds nothing."""
    from speechssl.decoders.search import Search

    return Search(beam=args.beam, num_best=args.num_best, max_tokens=args.max_tokens, min_tokens=args.min_tokens,
                  max_per_frame=args.max_each, length_penalty=args.length_penalty,
                  no_repeat=args.no_repeat)  # fmt: skip


def tell(report: "Translated", *, as_json: bool) -> int:
    """Print what a run did; the exit code."""
    import dataclasses
    import json

    if as_json:
        print(json.dumps(dataclasses.asdict(report), indent=2))
        return report.exit_code
    notes = [(report.empty, "empty"), (report.unended, "cut off at their longest"), (report.spoken, "spoken"),
             (report.failed, "could not be used (failures.tsv)")]  # fmt: skip
    told = "".join(f", {count} {what}" for count, what in notes if count)
    print(f"{report.output}: {report.utterances} utterances{told}")
    return report.exit_code

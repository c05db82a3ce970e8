"""Bring together what several machines computed in folders of their own, and write the final files.

    machine 0:  speechssl units corpus.tsv -o part0 --shard 0/2 --kernel plain
    machine 1:  speechssl units corpus.tsv -o part1 --shard 1/2 --kernel plain
    anywhere:   speechssl merge part0 part1 -o units-out --input corpus.tsv

On a shared folder none of this is needed: the last part to finish merges. Shards are copied after a look at their
hashes, what is in OUT already is kept, and the parts are left as they are. Refused: parts of different jobs, a shard
with different bytes in two parts, missing shards.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 nothing was merged.
"""

import argparse

from speechssl.cli import _extraction

SUMMARY = "join output folders of several machines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PART, -o, the input, the formats."""
    parser.add_argument("parts", nargs="+", metavar="PART", help="output folders of speechssl units or features")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="output folder; may be one of the parts")
    parser.add_argument("--input", nargs="+", required=True, metavar="INPUT",
                        help="what the parts were computed from, as it was given to them; audio files are not read")  # fmt: skip  # noqa: E501
    _extraction.add_input_kind(parser)
    _extraction.add_formats(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress line")


def run(args: argparse.Namespace) -> int:
    """Merge."""
    from speechssl.extract.run import Options, run_merge

    options = Options(quiet=args.quiet, merge_only=True)
    report = run_merge(
        _extraction.open_input(args), args.parts, args.output, outputs=_extraction.outputs(args), options=options
    )
    return _extraction.finish(report, args)

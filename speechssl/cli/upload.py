"""Copy a finished output folder to an object store, every file compared with its sha256.

    speechssl units data/train -o /scratch/units
    speechssl upload /scratch/units s3://bucket/corpus/units

OUT is a folder of `units` or `features`; ADDRESS is anything that fsspec can write to (s3://, gs://, az://, hf:// ...;
install speechssl[remote] and the store's own package). What is there already with the same bytes is not copied again,
so a copy that was cut off goes on with the same command. sha256sums is copied last.

exit code: 0 all is there; 2 something could not be copied.
"""

import argparse

SUMMARY = "copy a finished output folder to an object store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """OUT and ADDRESS."""
    parser.add_argument("output", metavar="OUT", help="finished output folder of speechssl units or features")
    parser.add_argument("address", metavar="ADDRESS", help="where to: s3://bucket/folder ...")


def run(args: argparse.Namespace) -> int:
    """Copy, compare, count."""
    from speechssl.data.remote import shown
    from speechssl.extract.upload import upload

    copied, present = upload(args.output, args.address)
    print(f"{shown(args.address)}: {copied} files copied and read back, {present} were there")
    return 0

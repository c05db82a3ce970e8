"""Check output folders of `units` and `features`: every file against its sha256, every row counted.

    speechssl verify OUT OUT2               each is a finished job
    speechssl verify --parts OUT0 OUT1      together they hold one: same job, every shard once or with the same bytes

exit code: 0 all is as it was written; 2 something changed, is missing, or the job is not finished.
"""

import argparse

SUMMARY = "check an output folder against its hashes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """OUT."""
    parser.add_argument("output", nargs="+", metavar="OUT", help="output folder of speechssl units or features")
    parser.add_argument("--parts", action="store_true", help="the folders are parts of one job (--shard), not merged")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(args: argparse.Namespace) -> int:
    """Verify every folder."""
    import json

    from speechssl.extract.outputs import verify

    if args.parts:
        from pathlib import Path

        from speechssl.extract.collect import verify_parts

        found = {" ".join(args.output): verify_parts([Path(folder) for folder in args.output])}
    else:
        found = {folder: verify(folder) for folder in args.output}
    if args.json:
        rows = {folder: {"files": files, "problems": problems} for folder, (problems, files) in found.items()}
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        for folder, (problems, files) in found.items():
            print(
                "\n".join(f"{folder}: {problem}" for problem in problems) or f"{folder}: {files} files are as written"
            )
    return 2 if any(problems for problems, _ in found.values()) else 0

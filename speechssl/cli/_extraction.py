"""Arguments and steps that `units` and `features` share."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from speechssl.errors import ConfigError

if TYPE_CHECKING:
    from speechssl.data.corpus import Corpus
    from speechssl.extract.job import LongAudio
    from speechssl.extract.merge import Output
    from speechssl.extract.report import Report
    from speechssl.extract.run import Options


def add_input(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """INPUT and how to read the corpus."""
    parser.add_argument("input", nargs="*" if optional else "+", metavar="INPUT",
                        help="folder, Kaldi data dir, wav.scp, .tsv, .jsonl, tars, glob, audio files; - for a list on "
                        "stdin")  # fmt: skip
    add_input_kind(parser)


def add_input_kind(parser: argparse.ArgumentParser) -> None:
    """How to read the corpus."""
    parser.add_argument("--input-kind", default="auto", metavar="KIND",
                        help="overrule the guess: folder, kaldi, scp, tsv, jsonl, lhotse, tar, list, glob, "
                        "files")  # fmt: skip
    parser.add_argument("--allow-pipes", action="store_true", help="run commands that stand in wav.scp")
    parser.add_argument("--allow-remote", action="store_true",
                        help="open addresses (s3://, gs://, https:// ...) that stand in INPUT")  # fmt: skip
    parser.add_argument("--id-from", choices=("relative", "name", "archive"), default="relative",
                        help="ids of files and tar members: path (default), name, tar's name / path")  # fmt: skip


def add_formats(parser: argparse.ArgumentParser) -> None:
    """Formats of units."""
    parser.add_argument("--format", default="text", metavar="F,F",
                        help="text, jsonl, fairseq, npz, parquet, ark, tar (webdataset); "
                        "several with commas (default text)")  # fmt: skip
    parser.add_argument("--dedup", action="store_true", help="merge runs of one unit; durations are written beside")


def add_running(parser: argparse.ArgumentParser) -> None:
    """How to compute; what changes the bytes of the result first."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), default="fp32")
    parser.add_argument("--kernel", choices=("auto", "plain", "fast"), default="auto",
                        help="arithmetic of fp32 on a CPU; fast is equal up to rounding (default auto: fast, if this "
                        "machine has it; say plain where machines that have not take part)")  # fmt: skip
    parser.add_argument("--window", type=float, default=60.0, metavar="S",
                        help="longer recordings are encoded in overlapping windows (default 60)")  # fmt: skip
    parser.add_argument("--overlap", type=float, default=5.0, metavar="S",
                        help="of windows, on either side of what is kept (default 5)")  # fmt: skip
    parser.add_argument(
        "--shard-size", type=int, metavar="N", help="utterances per shard (default: by corpus, at most 256)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core; one for a GPU)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch threads in each process (default 1)")
    parser.add_argument("--time-limit", type=float, default=300.0, metavar="S",
                        help="give up on a recording after this long without progress (default 300)")  # fmt: skip
    parser.add_argument("--memory-limit", type=float, metavar="GB",
                        help="of each worker; a recording that takes more is skipped with its reason "
                        "(default: 90 %% of this machine's or container's memory, divided among the workers; 0: none)")  # fmt: skip  # noqa: E501
    parser.add_argument("--shard", default="0/1", metavar="I/N",
                        help="only shards whose number %% N is I; run 0..N-1 on a shared folder, or in folders of "
                        "their own for `speechssl merge`; slurm, torchrun: of the array task or rank")  # fmt: skip
    parser.add_argument("--engine", choices=("local", "ray"), default="local",
                        help="local worker processes (default), or actors on a Ray cluster (pip install "
                        "'speechssl[ray]')")  # fmt: skip
    parser.add_argument("--ray-address", metavar="HOST:PORT",
                        help="of a running cluster whose machines share input and output; auto: the one of this "
                        "machine (default: Ray on this machine alone, for this run)")  # fmt: skip
    parser.add_argument("--merge", action="store_true", help="compute nothing, only write the final files")
    parser.add_argument("--overwrite", action="store_true", help="throw away what another job left in the folder")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress line")


def open_input(args: argparse.Namespace) -> "Corpus":
    """The corpus of INPUT."""
    from speechssl.data.corpus import open_corpus

    spec = args.input[0] if len(args.input) == 1 else args.input
    return open_corpus(
        spec,
        kind=args.input_kind,
        allow_pipes=args.allow_pipes,
        allow_remote=args.allow_remote,
        id_from=args.id_from,
    )


def options(args: argparse.Namespace) -> "Options":
    """How to run. ConfigError for values without sense."""
    from speechssl.extract import parts
    from speechssl.extract.run import Options

    if (args.workers is not None and args.workers < 0) or args.threads < 1 or args.time_limit <= 0:
        raise ConfigError("--workers, --threads and --time-limit must be positive")
    if args.memory_limit is not None and not args.memory_limit >= 0:
        raise ConfigError(f"--memory-limit {args.memory_limit}: GB of each worker, or 0 for none")
    if args.shard_size is not None and args.shard_size < 1:
        raise ConfigError(f"--shard-size {args.shard_size}: at least 1")
    if args.engine == "ray" and args.workers == 0:
        raise ConfigError("--engine ray: --workers is the number of actors, at least 1")
    if args.engine != "ray" and args.ray_address is not None:
        raise ConfigError("--ray-address is for --engine ray")
    part = parts.part(args.shard, os.environ)
    if args.shard == "torchrun" and args.device == "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = parts.own_gpu(os.environ)  # before anything loads CUDA
    return Options(
        engine=args.engine,
        ray_address=args.ray_address,
        workers=args.workers,
        part=part,
        threads=args.threads,
        time_limit_s=args.time_limit,
        memory_limit_gb=args.memory_limit,
        allow_pipes=args.allow_pipes,
        allow_remote=args.allow_remote,
        overwrite=args.overwrite,
        merge_only=args.merge,
        quiet=args.quiet,
    )


def outputs(args: argparse.Namespace) -> "list[Output]":
    """The formats of units that were asked for."""
    from speechssl.extract.merge import Output

    return [Output(name.strip(), args.dedup) for name in args.format.split(",")]


def long_audio(args: argparse.Namespace) -> "LongAudio":
    """How recordings are cut into windows."""
    from speechssl.extract.job import LongAudio

    if not 0 <= 2 * args.overlap < args.window:
        raise ConfigError(f"--window {args.window} must be more than twice --overlap {args.overlap}")
    return LongAudio(args.window, args.overlap)


def running(args: argparse.Namespace) -> dict[str, Any]:
    """What `run_units` and `run_features` are told of how to run."""
    return {
        "precision": args.precision, "kernel": None if args.kernel == "auto" else args.kernel, "device": args.device,
        "long_audio": long_audio(args), "shard_size": args.shard_size, "options": options(args),
    }  # fmt: skip


def finish(report: "Report", args: argparse.Namespace) -> int:
    """Print the report; the exit code."""
    print(report.to_json() if args.json else report.to_text(), file=sys.stdout)
    return report.exit_code

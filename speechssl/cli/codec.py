"""Audio to the acoustic tokens of a neural codec, and back.

    speechssl codec encode recordings/ --model exp/codec/codec -o codes
    speechssl codec decode codes --model exp/codec/codec -o again       a Kaldi data dir of WAV files
    speechssl codec info exp/codec/codec

Codes are stored in codes/shards/*.npz, an array [frames, codebooks] for each utterance. Both go on where they were when
the same command is given again. `speechssl units --model exp/codec/codec` gives the first codebooks as units, one
number a frame, in any format of units; decode takes that, too.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 stopped early, or nothing could be used.
"""

import argparse
import sys

from speechssl.cli import _extraction

SUMMARY = "audio to acoustic tokens and back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    encode = actions.add_parser("encode", help="audio to codes")
    _extraction.add_input(encode)
    encode.add_argument("-o", "--output", required=True, metavar="OUT", help="output folder")
    encode.add_argument("--model", required=True, metavar="DIR", help="folder of a codec")
    encode.add_argument("--codebooks", type=int, metavar="N", help="the first N only (default: all)")
    _extraction.add_running(encode)
    decode = actions.add_parser("decode", help="codes, or units of the codec's unit model, to WAV files")
    decode.add_argument("tokens", metavar="TOKENS", help="output folder of codec encode, or of units --model DIR")
    decode.add_argument("-o", "--output", required=True, metavar="OUT", help="new data directory")
    decode.add_argument("--model", required=True, metavar="DIR", help="folder of the codec that made them")
    decode.add_argument("--threads", type=int, default=1, metavar="N", help="torch threads (default 1)")
    decode.add_argument("--json", action="store_true", help="print the report as JSON")
    decode.add_argument("--quiet", action="store_true", help="no progress line")
    info = actions.add_parser("info", help="what a codec is")
    info.add_argument("model", metavar="DIR", help="folder of a codec")
    info.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Encode, decode or tell."""
    return {"encode": _encode, "decode": _decode, "info": _info}[args.action](args)


def _encode(args: argparse.Namespace) -> int:
    from speechssl.extract.job import ModelSpec
    from speechssl.extract.run import run_features

    report = run_features(
        _extraction.open_input(args),
        args.output,
        ModelSpec(codec=args.model, num_codebooks=args.codebooks),
        format="codes",
        **_extraction.running(args),
    )
    return _extraction.finish(report, args)


def _decode(args: argparse.Namespace) -> int:
    import dataclasses
    import json

    import torch

    from speechssl.extract.waveforms import decode
    from speechssl.units import codec

    torch.set_num_threads(max(1, args.threads))
    show = not args.quiet and sys.stderr.isatty()
    report = decode(args.tokens, args.output, codec.load(args.model), beat=_show if show else lambda done: None)
    if show:
        print(file=sys.stderr)
    if args.json:
        print(json.dumps(dataclasses.asdict(report), indent=2))
        return 0
    speed = f", {report.seconds / report.wall_s:.3g}x real time" if report.made else ""
    print(f"{report.utterances} recordings in {report.output} ({report.made} made now{speed})")
    return 0


def _show(done: int) -> None:
    print(f"\r{done} recordings", end="", file=sys.stderr, flush=True)


def _info(args: argparse.Namespace) -> int:
    import dataclasses
    import json

    from speechssl.units import codec

    found = codec.read_file(args.model)
    if args.json:
        print(json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False))
        return 0
    config = found.config
    books = (f"FSQ of levels {' '.join(map(str, config.levels))}" if config.quantizer == "fsq" else
             f"{config.num_codebooks} codebooks of {config.codebook_size} entries")  # fmt: skip
    print(f"{found.name}: {config.encoder['family']} encoder, {config.decoder['kind']} decoder, {books}\n"
          f"{found.sample_rate} Hz, {found.rate_hz:g} frames a second, {found.bitrate:.0f} bit/s\n"
          f"sha256 {found.sha256}")  # fmt: skip
    return 0

"""Speech to features: the frames of one encoder layer for every utterance of a corpus.

    speechssl features recordings/ -o features-out --encoder hubert-base-ls960 --layer 9
    speechssl features data/train -o exp/feats --encoder mfcc --format ark

Formats: npy (fairseq: all frames and a .len file per shard), ark (Kaldi, with feats.scp), npz and safetensors (one
array per utterance, by its id), tar (webdataset: KEY.npy). Stopped runs go on when the same command is given again.

exit code: 0 all done; 1 done, but some utterances were skipped; 2 stopped early, or nothing could be used.
"""

import argparse

from speechssl.cli import _extraction

SUMMARY = "speech to encoder features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, -o, the encoder, the format, how to run."""
    _extraction.add_input(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="output folder")
    parser.add_argument("--encoder", metavar="E", help="encoder: name, folder or file")
    parser.add_argument(
        "--layer", type=int, metavar="L", help="layer k is what block k returns; 0 enters the first block"
    )
    parser.add_argument("--model", metavar="DIR", help="take encoder and layer from this unit model")
    parser.add_argument("--soft", action="store_true", help="soft units of --model: what its prediction head projects")
    parser.add_argument("--format", default="npy", choices=("npy", "ark", "npz", "safetensors", "tar"))
    parser.add_argument("--offline", action="store_true", help="never use the network")
    _extraction.add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Run the job."""
    from speechssl.extract.job import ModelSpec
    from speechssl.extract.run import run_features

    report = run_features(
        _extraction.open_input(args),
        args.output,
        ModelSpec(args.model, args.encoder, args.layer, None, args.offline, args.soft),
        format=args.format,
        **_extraction.running(args),
    )
    return _extraction.finish(report, args)

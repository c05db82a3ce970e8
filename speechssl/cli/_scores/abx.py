"""ABX discriminability. `speechssl score abx INPUT --phones FILE --speakers utt2spk`.

INPUT is an output folder of `speechssl features` or `speechssl units`, or stored features of somebody else (feats.scp,
.ark, .npy; then give --rate). x and a hold the same phone, b another in the same context; an error is x nearer to b.
Items are made from the alignment, or read from an item file of the ZeroSpeech challenges (--item). Phonemes as in the
challenge of 2021: --on phone --context within, or any.
Printed: the error in % within and across speakers, averaged over contexts, then speakers, then pairs of phones; across
speakers over contexts and speakers of x at once.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from speechssl.metrics.abx_items import Item

SUMMARY = "whether two tokens of a phone are nearer than one of another: ABX, for frames and units"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`INPUT --phones FILE --speakers FILE` or `INPUT --item FILE`."""
    parser.add_argument("input", metavar="INPUT", help="output folder of `speechssl features` or `units`, or features")
    parser.add_argument("--phones", metavar="FILE", help="phone alignments (see `speechssl score units --help`)")
    parser.add_argument("--speakers", metavar="FILE", help="lines `utterance speaker`, as Kaldi's utt2spk")
    parser.add_argument("--item", metavar="FILE", help="an item file, in place of --phones and --speakers")
    parser.add_argument("--on", choices=("triphone", "phone"), default="triphone",
                        help="what an item spans: the phone and its neighbours (default), or the phone")  # fmt: skip
    parser.add_argument("--context", choices=("within", "any", "across"), default="within",
                        help="of a, b and x: the same (default), whatever it is, or another one of x")  # fmt: skip
    parser.add_argument("--distance", choices=("angular", "cosine", "euclidean", "kl", "identical", "levenshtein"),
                        help="of frames: angular (default), cosine, euclidean, or kl for distributions; of units: "
                        "identical (default, warped over 0 and 1), or levenshtein")  # fmt: skip
    parser.add_argument("--phone-shift", type=float, default=0.0, metavar="S", help="move every label (default 0)")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames a second, for features that do not say")
    parser.add_argument("--max-items", type=int, default=10, metavar="N",
                        help="of one phone, context and speaker (default 10, as Libri-light)")  # fmt: skip
    parser.add_argument(
        "--max-across", type=int, default=5, metavar="N", help="speakers, or contexts, of x (default 5)"
    )
    parser.add_argument("--pool-x-speakers", action=argparse.BooleanOptionalAction, default=True,
                        help="across speakers: average over contexts and speakers of x at once, as Libri-light and "
                        "fastabx (default), or over contexts first")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    import dataclasses
    import math

    from speechssl.cli._scores._input import open_frames
    from speechssl.cli._scores._output import deliver
    from speechssl.errors import ConfigError
    from speechssl.metrics.abx import abx
    from speechssl.metrics.abx_distance import Distance

    frames, rate_hz, centre_s, is_units = open_frames(Path(args.input), args.rate)
    items = _items(args)
    wanted = {item.file for item in items}
    found: dict[str, Tensor] = {name: x for name, x in frames if name in wanted}
    kept = [item for item in items if item.file in found]
    distance: Distance = args.distance or ("identical" if is_units else "angular")
    if is_units != (distance in ("identical", "levenshtein")):
        raise ConfigError(f"--distance {distance} is not one of {'units' if is_units else 'frames'}")
    scores = abx(kept, found, rate_hz=rate_hz, centre_s=centre_s, distance=distance, context=args.context,
                 max_items=args.max_items, max_across=args.max_across, pool_x_speakers=args.pool_x_speakers,
                 seed=args.seed)  # fmt: skip
    row: dict[str, Any] = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in dataclasses.asdict(scores).items()
    }
    row |= {"distance": distance, "context": args.context, "on": "item file" if args.item else args.on,
            "pool_x_speakers": args.pool_x_speakers, "items_without_input": len(items) - len(kept)}  # fmt: skip

    def percent(key: str) -> str:
        return "undefined" if row[key] is None else f"{100 * row[key]:.3f} %"

    deliver(row, args, [
        f"within speakers  {percent('within')} over {row['cells_within']} cells",
        f"across speakers  {percent('across')} over {row['cells_across']} cells",
        f"items            {row['items']} used, {row['without_frames']} without a frame, "
        f"{row['items_without_input']} in utterances that INPUT does not have",
    ], of=[args.input])  # fmt: skip
    return 0


def _items(args: argparse.Namespace) -> "list[Item]":
    from speechssl.cli._scores._input import read_groups
    from speechssl.errors import ConfigError
    from speechssl.metrics.abx_items import make_items, read_items
    from speechssl.metrics.alignments import read_alignments

    if (args.item is None) == (args.phones is None or args.speakers is None):
        raise ConfigError("give --phones and --speakers, or --item")
    if args.item is not None:
        if args.phone_shift or args.on != "triphone":
            raise ConfigError("--phone-shift and --on have no effect with --item")
        return read_items(Path(args.item))
    alignments = read_alignments(args.phones)
    speakers = read_groups(Path(args.speakers))
    return make_items(alignments, speakers, on=args.on, shift_s=args.phone_shift)

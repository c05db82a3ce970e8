"""Every layer of an encoder. `speechssl score layers TEST --train TRAIN --encoder E --phones FILE --train-phones FILE`.

TEST and TRAIN are corpora (folders, Kaldi data dirs, manifests ...), encoded here, each utterance once. Of every layer:
the accuracy of a linear phone probe, and PNMI, purities, bitrate and boundaries of k-means units; both are learned from
a sample of TRAIN, units from at most 200 frames of it for each, probes in 20 steps. With --speakers also the ABX errors
of the layer with the best probe, of its units and its frames. Utterances without an alignment are left out. Recordings
of more than --max-s seconds, and those that cannot be read, are left out and listed; the exit code is 1 then.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from speechssl.metrics.alignments import Alignments

SUMMARY = "all layers of an encoder: probe, PNMI, boundaries, ABX"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`TEST --train TRAIN --encoder E --phones FILE --train-phones FILE`."""
    parser.add_argument("test", metavar="TEST", help="corpus to score on")
    parser.add_argument("--train", metavar="TRAIN", required=True, help="corpus to learn codebooks and probes from")
    parser.add_argument("--encoder", metavar="E", required=True, help="encoder: name, folder or file")
    parser.add_argument("--phones", metavar="FILE", required=True, help="phone alignments of TEST")
    parser.add_argument("--train-phones", metavar="FILE", required=True, help="phone alignments of TRAIN")
    parser.add_argument("--phone-shift", type=float, default=0.0, metavar="S", help="move every label (default 0)")
    parser.add_argument("--speakers", metavar="FILE", help="lines `utterance speaker` of TEST: measure ABX, too")
    parser.add_argument("-k", "--num-units", type=int, default=100, metavar="K", help="of every layer (default 100)")
    parser.add_argument("--max-frames", type=int, default=300_000, metavar="N",
                        help="of TRAIN, held of every layer (default 300000)")  # fmt: skip
    parser.add_argument("--max-s", type=float, default=60.0, metavar="S", help="longest recording (default 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--offline", action="store_true", help="never use the network")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Learn, score, print."""
    from speechssl.cli._scores._output import deliver

    row = layers(args)
    deliver(row, args, _lines(row))
    for name, reason in row["skipped"].items():
        print(f"skipped: {name}\t{reason}", file=sys.stderr)
    return 1 if row["skipped"] else 0


def layers(args: argparse.Namespace) -> dict[str, Any]:
    """What is printed and stored."""
    import dataclasses

    from speechssl import convert
    from speechssl.cli._scores._output import defined
    from speechssl.cli._speech import Speech
    from speechssl.errors import DataError
    from speechssl.metrics.alignments import read_alignments
    from speechssl.units import layer_sweep

    pretrained = convert.load_encoder(args.encoder, offline=args.offline)
    pretrained.encoder.to(args.device)
    encoder = pretrained.encoder
    sweep = layer_sweep.Sweep(
        rate_hz=encoder.sample_rate / encoder.hop, centre_s=encoder.receptive_field / 2 / encoder.sample_rate,
        num_units=args.num_units, max_frames=args.max_frames, shift_s=args.phone_shift, seed=args.seed,
        device=args.device,
    )  # fmt: skip
    found = {name: read_alignments(path) for name, path in (("train", args.train_phones), ("test", args.phones))}
    vocabulary: dict[str, int] = {}
    for alignments in found.values():
        for label in alignments.labels:
            vocabulary.setdefault(label, len(vocabulary))
    skipped: dict[str, str] = {}
    speech = {
        name: Speech(pretrained, spec, found[name], args.max_s, args.device, skipped)
        for name, spec in (("train", args.train), ("test", args.test))
    }
    try:
        learned = layer_sweep.learn(speech["train"].layers(), found["train"], vocabulary, sweep)
        rows, units = layer_sweep.score(speech["test"].layers(), found["test"], vocabulary, learned, sweep)
    except DataError as error:  # too little speech, perhaps because of these
        lines = [f"\n  skipped: {name}\t{reason}" for name, reason in list(skipped.items())[:5]]
        raise DataError("".join([str(error), *lines])) from error
    best = layer_sweep.best(rows)
    row: dict[str, Any] = {
        "encoder": args.encoder, "encoder_sha256": pretrained.sha256,
        "layers": [defined(dataclasses.asdict(scores)) for scores in rows], "best_layer": best,
        "seed": args.seed, "phone_shift_s": args.phone_shift, "probe_iterations": sweep.probe_iterations,
        "unit_frames": sweep.unit_frames * sweep.num_units, "max_frames": sweep.max_frames,
        **defined(dataclasses.asdict(rows[best])),
    }  # fmt: skip
    if args.speakers:
        frames = dict(speech["test"].layer(best))
        row |= _abx(args, found["test"], units[best], frames, sweep.rate_hz, sweep.centre_s)
    return row | {"skipped": skipped}


def _abx(
    args: argparse.Namespace, alignments: "Alignments", units: "dict[str, Tensor]", frames: "dict[str, Tensor]",
    rate_hz: float, centre_s: float,
) -> dict[str, float]:  # fmt: skip
    from speechssl.cli._scores._input import read_groups
    from speechssl.metrics.abx import abx
    from speechssl.metrics.abx_items import make_items

    items = [item for item in make_items(alignments, read_groups(Path(args.speakers)), shift_s=args.phone_shift)
             if item.file in frames]  # fmt: skip
    values = {"units": {name: ids[:, None] for name, ids in units.items()}, "frames": frames}
    row: dict[str, float] = {}
    for kind, own in values.items():
        scores = abx(items, own, rate_hz=rate_hz, centre_s=centre_s, seed=args.seed,
                     distance="identical" if kind == "units" else "angular")  # fmt: skip
        row |= {f"abx_{kind}_within": scores.within, f"abx_{kind}_across": scores.across}
    return row


def _lines(row: dict[str, Any]) -> list[str]:
    names = {"probe": "probe %", "pnmi": "PNMI", "phone_purity": "phone purity", "bitrate": "bit/s",
             "boundary_f1": "boundary F1", "r_value": "R-value"}  # fmt: skip
    lines = ["layer  " + "  ".join(f"{text:>12}" for text in names.values())]
    for scores in row["layers"]:
        cells = [_number(100 * scores[key] if key == "probe" else scores[key]) for key in names]
        lines.append(f"{scores['layer']:5}  " + "  ".join(f"{cell:>12}" for cell in cells))
    lines.append(f"best probe: layer {row['best_layer']}")
    for kind in ("units", "frames"):
        if f"abx_{kind}_within" in row:
            lines.append(f"its ABX of {kind}: {100 * row[f'abx_{kind}_within']:.2f} % within, "
                         f"{100 * row[f'abx_{kind}_across']:.2f} % across speakers")  # fmt: skip
    return lines


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}" if value >= 10 else f"{value:.4f}"

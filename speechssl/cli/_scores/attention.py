"""How alike attention is in two blocks, or two models. `speechssl score attention INPUT --encoder E [--other F]`.

INPUT is a corpus (a folder, Kaldi data dir, manifest ...), encoded here, every block of E against every block of F (of
E itself without --other). Printed: for each pair of blocks, the mean over the heads of E's block of the largest
correlation of its attention weights with those of a head of F's block, averaged over utterances (1: the same but for
the order of heads). With --layers I J only these two blocks, and also 1 less the Jensen-Shannon divergence. Block k
gives layer k. Both need as many frames; encoders without attention are refused.
Recordings of more than --max-s seconds, and those that cannot be read, are left out and listed; the exit code is 1
then.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from speechssl.encoders.pretrained import Pretrained

SUMMARY = "how alike attention is in two blocks or models, head by head"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`INPUT --encoder E`."""
    parser.add_argument("input", metavar="INPUT", help="corpus")
    parser.add_argument("--encoder", metavar="E", required=True, help="encoder: name, folder or file")
    parser.add_argument("--other", metavar="F", help="another one (default: E itself)")
    parser.add_argument("--layers", type=int, nargs=2, metavar=("I", "J"), help="block I of E and block J of F, from 1")
    parser.add_argument("--max-s", type=float, default=30.0, metavar="S", help="longest recording (default 30)")
    parser.add_argument("--offline", action="store_true", help="never use the network")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Encode, compare, print."""
    from speechssl import convert
    from speechssl.cli._scores._output import defined, deliver
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.attention_similarity import HeadSimilarity

    one = convert.load_encoder(args.encoder, offline=args.offline)
    other = convert.load_encoder(args.other, offline=args.offline) if args.other else one
    if one.encoder.sample_rate != other.encoder.sample_rate:
        rates = f"{one.encoder.sample_rate} and {other.encoder.sample_rate} Hz"
        raise ConfigError(f"{args.encoder} and {args.other} take audio of {rates}")
    pairs = _pairs(one, other, args.layers)
    found = {pair: HeadSimilarity(overlap=args.layers is not None) for pair in pairs}
    skipped: dict[str, str] = {}
    for name, wav in _waves(args.input, one, args.max_s, skipped):
        left = _maps(one, wav)
        right = left if other is one else _maps(other, wav)
        for (i, j), similarity in found.items():
            try:
                similarity.add(left[i - 1], right[j - 1])
            except ValueError as error:
                raise DataError(f"utterance {name!r}, blocks {i} and {j}: {error}") from None
    if not any(similarity.utterances for similarity in found.values()):
        raise DataError(f"{args.input} has no utterance to compare attention on; skipped: {skipped}")
    first = next(iter(found.values()))
    rows = []
    for (i, j), own in found.items():
        values = {"correlation": own.correlation()} | ({"overlap": own.overlap()} if args.layers else {})
        rows.append({"x": i, "y": j, **defined(values)})
    row: dict[str, Any] = {
        "encoder": args.encoder, "encoder_sha256": one.sha256, "other": args.other or args.encoder,
        "other_sha256": other.sha256, "utterances": first.utterances, "blocks": rows, "skipped": skipped,
    }  # fmt: skip
    deliver(row, args, _lines(rows, first.utterances))
    for name, reason in skipped.items():
        print(f"skipped: {name}\t{reason}", file=sys.stderr)
    return 1 if skipped else 0


def _pairs(one: "Pretrained", other: "Pretrained", layers: list[int] | None) -> list[tuple[int, int]]:
    """Numbers of the blocks to compare, from 1."""
    from speechssl.errors import ConfigError
    from speechssl.nn.attention_maps import num_maps

    counts = [num_maps(side.encoder) for side in (one, other)]
    for side, count in zip((one, other), counts, strict=True):
        if not count:
            raise ConfigError(f"{side.card.name or side.card.family}: a {side.card.family} encoder has no attention")
    if layers is None:
        return [(i, j) for i in range(1, counts[0] + 1) for j in range(1, counts[1] + 1)]
    for layer, count in zip(layers, counts, strict=True):
        if not 1 <= layer <= count:
            raise ConfigError(f"--layers {layers[0]} {layers[1]}: blocks are 1..{count}")
    return [(layers[0], layers[1])]


def _maps(pretrained: "Pretrained", wav: "Tensor") -> "list[NDArray[Any]]":
    """[H, T, T] of each block."""
    from speechssl.nn.attention_maps import attention_maps

    return [x[0].float().numpy() for x in attention_maps(pretrained.encoder, lambda: pretrained.all_layers(wav))]


def _waves(
    spec: str, pretrained: "Pretrained", max_s: float, skipped: dict[str, str]
) -> "Iterator[tuple[str, Tensor]]":
    import torch

    from speechssl.data.corpus import open_corpus, read_utterance
    from speechssl.errors import AudioError

    for utterance in open_corpus(spec).utterances:
        try:
            samples = read_utterance(utterance, sample_rate=pretrained.encoder.sample_rate, max_s=max_s).samples
        except AudioError as error:
            skipped[utterance.id] = f"{error.code}\t{error}"
            continue
        if len(samples) < pretrained.encoder.receptive_field:
            skipped[utterance.id] = f"too-short\t{len(samples)} samples are no frame"
            continue
        yield utterance.id, torch.from_numpy(samples)


def _lines(rows: list[dict[str, Any]], utterances: int) -> list[str]:
    def text(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.4f}"

    lines = [f"{utterances} utterances"]
    if len(rows) == 1 and "overlap" in rows[0]:
        return [*lines, f"correlation  {text(rows[0]['correlation'])}", f"overlap      {text(rows[0]['overlap'])}"]
    columns = sorted({row["y"] for row in rows})
    lines.append("correlation, rows: blocks of E, columns: of F")
    lines.append("       " + "  ".join(f"{j:>6}" for j in columns))
    for i in sorted({row["x"] for row in rows}):
        lines.append(f"{i:5}  " + "  ".join(f"{text(row['correlation']):>6}" for row in rows if row["x"] == i))
    return lines

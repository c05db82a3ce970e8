"""How alike two layers, or two models, are on the same speech. `speechssl score similarity X Y`.

X and Y are output folders of `speechssl features` (or other stored features, with --rate) of the same utterances and
the same frame rate. Printed: linear CKA (1: the same but for rotation and scale), SVCCA and PWCCA (1: the same but for
any invertible linear map; near 0 for unrelated frames where there are many more frames than channels), the share of the
--neighbours nearest frames that a frame has in common, on a sample, and neuron by neuron how well a channel of X is
found in Y: its largest correlation with one channel (1: the same but for order, scale and sign), and with the best
linear prediction from all of them, averaged over channels; and the same of Y in X.

One pass; memory does not grow with the corpus where both hold their utterances in the same order. Utterances that only
one of them has are counted and reported, and the exit code is 1, unless --allow-missing says that this is expected.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SUMMARY = "how alike two layers or models are: CKA, SVCCA, PWCCA, neurons, common neighbours"
_SLACK = 2  # frames by which two frame rules of one rate may differ at an utterance's end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`X Y`."""
    parser.add_argument("x", metavar="X", help="features of one layer")
    parser.add_argument("y", metavar="Y", help="features of another, of the same speech")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames a second, for features that do not say")
    parser.add_argument(
        "--neighbours", type=int, default=10, metavar="K", help="how many (default 10; 0: not measured)"
    )
    parser.add_argument("--sample", type=int, default=4000, metavar="N", help="frames whose neighbours are compared")
    parser.add_argument("--seed", type=int, default=0, help="which frames are sampled")
    parser.add_argument("--allow-missing", action="store_true", help="utterances that one side lacks are expected")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Add up, ask, print."""
    from speechssl.cli._scores._output import defined, deliver
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.similarity import Moments, mutual_neighbours

    if args.neighbours < 0 or args.sample < 1:
        raise ConfigError(f"--neighbours {args.neighbours} must be at least 0, --sample {args.sample} at least 1")
    (left, rate), (right, other_rate) = (_frames(path, args.rate) for path in (args.x, args.y))
    if rate != other_rate:
        raise ConfigError(f"{args.x} has {rate:g} frames a second and {args.y} {other_rate:g}")
    moments, sample, pairs = Moments(), Sample(args.sample, args.seed), Pairs()
    for name, x, y in pairs.of(left, right):
        if abs(len(x) - len(y)) > _SLACK:
            raise DataError(f"utterance {name!r} has {len(x)} frames in {args.x} and {len(y)} in {args.y}")
        count = min(len(x), len(y))
        a, b = x[:count].double().numpy(), y[:count].double().numpy()
        try:
            moments.add(a, b)
        except ValueError as error:
            raise DataError(f"utterance {name!r}: {error}") from None
        sample.add(a, b)
    if moments.count < 2:
        raise DataError(f"{args.x} and {args.y} have no two frames of the same utterances")
    few = moments.count < 10 * sum(sample.channels)
    row: dict[str, Any] = {
        "cka": moments.cka(), "svcca": moments.svcca(), "pwcca": moments.pwcca(), "frames": moments.count,
        "channels": list(sample.channels), "utterances": pairs.common, "only_in_one": pairs.alone,
    }  # fmt: skip
    lines = [
        f"CKA              {row['cka']:.4f}",
        f"SVCCA            {row['svcca']:.4f}",
        f"PWCCA            {row['pwcca']:.4f}",
    ]
    other = moments.swapped()
    for key, text, values in (
        ("neurons", "neurons", (moments.neurons(), other.neurons())),
        ("predicted_neurons", "  predicted", (moments.predicted_neurons(), other.predicted_neurons())),
    ):
        row[key], row[f"{key}_of_y"] = (_mean(found) for found in values)
        lines.append(f"{text:16s} {row[key]:.4f} of X in Y, {row[f'{key}_of_y']:.4f} of Y in X")
    if args.neighbours and sample.count > args.neighbours:
        row["mutual_neighbours"] = mutual_neighbours(*sample.frames(), args.neighbours)
        lines.append(
            f"neighbours       {row['mutual_neighbours']:.4f} of {args.neighbours} in common, {sample.count} frames"
        )
    lines.append(f"frames           {moments.count} of {pairs.common} utterances, {row['channels'][0]} and "
                 f"{row['channels'][1]} channels")  # fmt: skip
    if few:
        lines.append("few frames       fewer than 10 per channel: SVCCA and PWCCA are too high")
    if pairs.alone:
        lines.append(f"not counted      {pairs.alone} utterances that only one of them has")
    deliver(defined(row), args, lines)
    return 1 if pairs.alone and not args.allow_missing else 0


def _mean(values: Any) -> float:
    """Over channels that vary."""
    known = values[values == values]
    return float(known.mean()) if len(known) else float("nan")


class Pairs:
    """Utterances that two streams have in common, as soon as both have shown them."""

    def __init__(self) -> None:
        self.common, self.alone = 0, 0

    def of(
        self, left: Iterable[tuple[str, "Tensor"]], right: Iterable[tuple[str, "Tensor"]]
    ) -> Iterator[tuple[str, "Tensor", "Tensor"]]:
        """Name, x [T, C], y [T, D]; what waits for its partner is kept in memory."""
        streams = [iter(left), iter(right)]
        waiting: list[dict[str, Tensor]] = [{}, {}]
        going = [True, True]
        while any(going):
            for side in (0, 1):
                item = next(streams[side], None)
                if item is None:
                    going[side] = False
                    continue
                name, frames = item
                if name in waiting[1 - side]:
                    other = waiting[1 - side].pop(name)
                    self.common += 1
                    yield (name, other, frames) if side else (name, frames, other)
                else:
                    waiting[side][name] = frames
        self.alone = sum(map(len, waiting))


class Sample:
    """About `size` pairs of frames, each frame of the corpus as likely as any other (reservoir sampling)."""

    def __init__(self, size: int, seed: int) -> None:
        import numpy as np

        self.size, self.seen, self.channels = size, 0, (0, 0)
        self._random = np.random.default_rng(seed)
        self._x: list[Any] = []
        self._y: list[Any] = []

    @property
    def count(self) -> int:
        """Pairs that are held."""
        return len(self._x)

    def add(self, x: Any, y: Any) -> None:
        """Frames x [T, C], y [T, D]."""
        self.channels = (x.shape[1], y.shape[1])
        for a, b in zip(x, y, strict=True):
            self.seen += 1
            if self.count < self.size:
                self._x.append(a.copy())
                self._y.append(b.copy())
            elif (place := int(self._random.integers(self.seen))) < self.size:
                self._x[place], self._y[place] = a.copy(), b.copy()

    def frames(self) -> tuple[Any, Any]:
        """[N, C] and [N, D]."""
        import numpy as np

        return np.stack(self._x), np.stack(self._y)


def _frames(path: str, rate_hz: float | None) -> 'tuple[Iterable[tuple[str, "Tensor"]], float]':
    from speechssl.cli._scores._input import open_frames
    from speechssl.errors import ConfigError

    frames, found_hz, _, is_units = open_frames(Path(path), rate_hz)
    if is_units:
        raise ConfigError(f"{path} holds units: similarity is of features")
    return frames, found_hz

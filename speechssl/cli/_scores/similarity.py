"""How alike layers, or models, are on the same speech. `speechssl score similarity X Y [Z ...]`.

X and Y are output folders of `speechssl features` (or other stored features, with --rate) of the same utterances and
the same frame rate. Printed: linear CKA (1: the same but for rotation and scale), SVCCA and PWCCA (1: the same but for
any invertible linear map; near 0 for unrelated frames where there are many more frames than channels), the share of the
--neighbours nearest frames that a frame has in common, on a sample, and neuron by neuron how well a channel of X is
found in Y: its largest correlation with one channel (1: the same but for order, scale and sign), and with the best
linear prediction from all of them, averaged over channels; and the same of Y in X.

More than two models: of every pair the CKA, SVCCA and PWCCA, and of every model's channels the largest correlation with
one channel of another model, in the model that has the best (MaxCorr), in the one whose best is worst (MinCorr: high
where every model has such a neuron) and the mean over the other models; averaged over channels, with --neurons FILE
listed one by one. Common neighbours and linear predictions are of two.

One pass; memory does not grow with the corpus where all hold their utterances in the same order. Utterances that not
all of them have are counted and reported, and the exit code is 1, unless --allow-missing says that this is expected.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

SUMMARY = "how alike layers or models are: CKA, SVCCA, PWCCA, neurons, common neighbours"
_SLACK = 2  # frames by which two frame rules of one rate may differ at an utterance's end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`X Y`."""
    parser.add_argument("x", metavar="X", help="features of one layer")
    parser.add_argument("y", metavar="Y", help="features of another, of the same speech")
    parser.add_argument("others", metavar="Z", nargs="*", help="of more models: each against all others")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames a second, for features that do not say")
    parser.add_argument(
        "--neighbours", type=int, default=10, metavar="K", help="how many (default 10; 0: not measured)"
    )
    parser.add_argument("--sample", type=int, default=4000, metavar="N", help="frames whose neighbours are compared")
    parser.add_argument("--seed", type=int, default=0, help="which frames are sampled")
    parser.add_argument("--neurons", metavar="FILE", help="of several models: write JSON of every channel to FILE")
    parser.add_argument("--allow-missing", action="store_true", help="utterances that one side lacks are expected")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the JSON object to FILE too")


def run(args: argparse.Namespace) -> int:
    """Add up, ask, print."""
    from speechssl.cli._scores._output import defined, deliver
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.similarity import Moments, mutual_neighbours

    if args.others:
        from speechssl.cli._scores._similar_models import several

        return several([args.x, args.y, *args.others], args)
    if args.neurons is not None:
        raise ConfigError("--neurons has no effect on two models: their neurons are in the output")
    if args.neighbours < 0 or args.sample < 1:
        raise ConfigError(f"--neighbours {args.neighbours} must be at least 0, --sample {args.sample} at least 1")
    moments, sample, common = Moments(), Sample(args.sample, args.seed), Common()
    for name, (a, b) in aligned([args.x, args.y], args.rate, common):
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
        "channels": list(sample.channels), "utterances": common.count, "only_in_one": common.alone,
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
        row[key], row[f"{key}_of_y"] = (mean(found) for found in values)
        lines.append(f"{text:16s} {row[key]:.4f} of X in Y, {row[f'{key}_of_y']:.4f} of Y in X")
    if args.neighbours and sample.count > args.neighbours:
        row["mutual_neighbours"] = mutual_neighbours(*sample.frames(), args.neighbours)
        lines.append(
            f"neighbours       {row['mutual_neighbours']:.4f} of {args.neighbours} in common, {sample.count} frames"
        )
    lines.append(f"frames           {moments.count} of {common.count} utterances, {row['channels'][0]} and "
                 f"{row['channels'][1]} channels")  # fmt: skip
    if few:
        lines.append("few frames       fewer than 10 per channel: SVCCA and PWCCA are too high")
    if common.alone:
        lines.append(f"not counted      {common.alone} utterances that only one of them has")
    deliver(defined(row), args, lines, of=[args.x, args.y])
    return 1 if common.alone and not args.allow_missing else 0


def mean(values: Any) -> float:
    """Over channels that vary."""
    known = values[values == values]
    return float(known.mean()) if len(known) else float("nan")


def aligned(
    paths: Sequence[str], rate_hz: float | None, common: "Common"
) -> "Iterator[tuple[str, list[NDArray[np.float64]]]]":
    """Name and frames [T, C] of every path, of utterances that all have.

    Raises ConfigError where rates differ, DataError where numbers of frames do.
    """
    from speechssl.errors import ConfigError, DataError

    opened = [_frames(path, rate_hz) for path in paths]
    for path, (_, rate) in zip(paths, opened, strict=True):
        if rate != opened[0][1]:
            raise ConfigError(f"{paths[0]} has {opened[0][1]:g} frames a second and {path} {rate:g}")
    for name, frames in common.of([stream for stream, _ in opened]):
        lengths = [len(x) for x in frames]
        for path, length in zip(paths, lengths, strict=True):
            if max(lengths) - min(lengths) > _SLACK and length != lengths[0]:
                raise DataError(f"utterance {name!r} has {lengths[0]} frames in {paths[0]} and {length} in {path}")
        yield name, [x[: min(lengths)].double().numpy() for x in frames]


class Common:
    """Utterances that all streams have, as soon as all have shown them."""

    def __init__(self) -> None:
        self.count, self.alone = 0, 0

    def of(self, streams: "Sequence[Iterable[tuple[str, Tensor]]]") -> "Iterator[tuple[str, list[Tensor]]]":
        """Name and frames [T, C] of each; what waits for its partners is kept in memory."""
        going = dict(enumerate(map(iter, streams)))
        waiting: dict[str, dict[int, Tensor]] = {}
        while going:
            for number, stream in list(going.items()):
                item = next(stream, None)
                if item is None:
                    del going[number]
                    continue
                name, frames = item
                found = waiting.setdefault(name, {})
                found[number] = frames
                if len(found) == len(streams):
                    self.count += 1
                    yield name, [found[i] for i in range(len(streams))]
                    del waiting[name]
        self.alone = len(waiting)


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

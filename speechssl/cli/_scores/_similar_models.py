"""`speechssl score similarity` of more than two models: every pair, and every neuron against all other models."""

import argparse
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any


def several(paths: Sequence[str], args: argparse.Namespace) -> int:
    """Add up, ask, print."""
    import numpy as np

    from speechssl.cli._scores._output import defined, deliver, write_json
    from speechssl.cli._scores.similarity import Common, aligned, mean
    from speechssl.errors import ConfigError, DataError
    from speechssl.metrics.similarity import Moments, over_models

    if len(set(paths)) < len(paths):
        raise ConfigError("one of the models is given twice: a model is like itself, which says nothing of neurons")
    joint, common = Moments(), Common()
    edges = [0]
    for name, frames in aligned(paths, args.rate, common):
        edges = np.cumsum([0, *(x.shape[1] for x in frames)]).tolist()
        try:
            joint.add(frames[0], np.concatenate(frames[1:], axis=1))
        except ValueError as error:
            raise DataError(f"utterance {name!r}: {error}") from None
    if joint.count < 2:
        raise DataError(f"{', '.join(paths)} have no two frames of utterances that all of them have")
    ranges = [slice(a, b) for a, b in pairwise(edges)]
    correlations: list[list[Any]] = [[] for _ in paths]
    pairs = []
    for i, j in combinations(range(len(paths)), 2):
        moments = joint.between(ranges[i], ranges[j])
        swapped = moments.swapped()
        correlations[i].append(moments.neurons())
        correlations[j].append(swapped.neurons())
        pairs.append(defined({"x": paths[i], "y": paths[j], "cka": moments.cka(), "svcca": moments.svcca(),
                              "pwcca": moments.pwcca(), "pwcca_of_y": swapped.pwcca()}))  # fmt: skip
    neurons = [over_models(own) for own in correlations]
    models = [
        defined({"model": path, "channels": r.stop - r.start, "max_corr": mean(own.max), "min_corr": mean(own.min),
                 "mean_corr": mean(own.mean)})
        for path, r, own in zip(paths, ranges, neurons, strict=True)
    ]  # fmt: skip
    row: dict[str, Any] = {"pairs": pairs, "models": models, "frames": joint.count, "utterances": common.count,
                           "not_in_all": common.alone}  # fmt: skip
    if args.neurons is not None:
        listed = [{name: [None if np.isnan(x) else float(x) for x in getattr(own, name)]
                   for name in ("max", "min", "mean")} for own in neurons]  # fmt: skip
        write_json(args.neurons, dict(zip(paths, listed, strict=True)))
    deliver(row, args, _lines(row), of=paths)
    return 1 if common.alone and not args.allow_missing else 0


def _lines(row: dict[str, Any]) -> list[str]:
    def text(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.4f}"

    lines = ["CKA     SVCCA   PWCCA   of"]
    lines += ["  ".join([*(text(pair[key]) for key in ("cka", "svcca", "pwcca")), f"{pair['x']} and {pair['y']}"])
              for pair in row["pairs"]]  # fmt: skip
    lines.append("MaxCorr MinCorr mean    neurons of, in all others")
    lines += ["  ".join([*(text(one[key]) for key in ("max_corr", "min_corr", "mean_corr")), one["model"]])
              for one in row["models"]]  # fmt: skip
    lines.append(f"frames  {row['frames']} of {row['utterances']} utterances")
    if row["frames"] < 10 * sum(one["channels"] for one in row["models"]):
        lines.append("few frames: fewer than 10 per channel, SVCCA and PWCCA are too high")
    if row["not_in_all"]:
        lines.append(f"not counted  {row['not_in_all']} utterances that not all of them have")
    return lines

"""Every layer of an encoder at once: a linear phone probe, k-means units and their scores, boundaries.

One pass over the speech to learn from, one over that to be scored; each utterance is encoded once and all its layers
are used. What is held: a sample of frames of every layer while learning, units while scoring. So that all layers cost
little more than encoding, codebooks are learned from a part of the sample, and both codebooks and probes are left when
more steps would change them little: a codebook after an iteration that lowers its inertia by less than 0.1 %, a probe
after `probe_iterations`.

T frames, C channels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechssl.errors import DataError
from speechssl.metrics.alignments import Alignments
from speechssl.metrics.boundaries import BoundaryCounts
from speechssl.metrics.probe import Probe, fit_probe, label_numbers
from speechssl.metrics.units import UnitCounts
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_fit import fit
from speechssl.quantizers.kmeans_sample import FrameSample

Encoded = Iterable[tuple[str, Sequence[Tensor]]]  # utterance id, frames [T, C] of every layer
_LABEL_RATE = 100.0  # Hz, at which units and phones are compared
_TOLERANCE = 1e-3  # of k-means
_AT_ONCE = 4096  # frames that are given units and labels together: single utterances are short


@dataclass(frozen=True)
class Sweep:
    """How layers are compared."""

    rate_hz: float  # of the frames
    centre_s: float  # of the first frame
    num_units: int = 100
    max_frames: int = 300_000  # of the speech learned from, the same ones of every layer
    unit_frames: int = 200  # of these, for every unit, which codebooks are learned from
    probe_iterations: int = 20
    shift_s: float = 0.0  # moves every label
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Learned:
    """What was learned from a layer."""

    codebook: KMeans
    probe: Probe


@dataclass(frozen=True)
class LayerScores:
    """Of one layer."""

    layer: int
    probe: float  # share of labelled frames whose phone the probe finds
    pnmi: float
    phone_purity: float
    cluster_purity: float
    perplexity: float
    bitrate: float
    boundary_f1: float
    r_value: float


def learn(train: Encoded, alignments: Alignments, vocabulary: dict[str, int], sweep: Sweep) -> list[Learned]:
    """A codebook and a probe for every layer. `vocabulary`: number of each label, of those to be scored too.

    Raises DataError where no utterance has an alignment, or there are too few frames.
    """
    samples: list[FrameSample] = []
    numbers = FrameSample(sweep.max_frames, sweep.seed)  # of labels; picks the same frames as those of the layers
    for name, layers in train:
        if name not in alignments:
            continue
        samples = samples or [FrameSample(sweep.max_frames, sweep.seed) for _ in layers]
        labels = _labels(alignments, name, vocabulary, len(layers[0]), sweep)
        numbers.add(name, labels.float().unsqueeze(1).numpy())
        for sample, x in zip(samples, layers, strict=True):
            sample.add(name, x.float().cpu().numpy())
    if not samples:
        raise DataError("no utterance to learn from has an alignment")
    y = numbers.finish().rows.squeeze(1).long()
    learned = []
    while samples:
        x = samples.pop(0).finish().rows
        codebook = _codebook(x[: sweep.unit_frames * sweep.num_units], sweep)
        probe = fit_probe(x[y >= 0], y[y >= 0], num_labels=len(vocabulary), iterations=sweep.probe_iterations,
                          device=sweep.device)  # fmt: skip
        learned.append(Learned(codebook, probe))
    return learned


def score(
    test: Encoded, alignments: Alignments, vocabulary: dict[str, int], learned: Sequence[Learned], sweep: Sweep
) -> tuple[list[LayerScores], list[dict[str, Tensor]]]:
    """Scores of every layer, and its units [T] by utterance. DataError where no utterance has an alignment."""
    counts = [UnitCounts(sweep.num_units, unit_rate=sweep.rate_hz, label_rate=_LABEL_RATE) for _ in learned]
    edges = [BoundaryCounts(unit_rate=sweep.rate_hz, shift_s=sweep.shift_s)
             for _ in learned]  # fmt: skip
    right, labelled = np.zeros(len(learned), np.int64), 0
    units: list[dict[str, Tensor]] = [{} for _ in learned]
    for names, joined in _together((name, layers) for name, layers in test if name in alignments):
        lengths = [length for _, length in names]
        labels = torch.cat([_labels(alignments, name, vocabulary, length, sweep) for name, length in names])
        phones = [alignments.frames(name, _LABEL_RATE, shift_s=sweep.shift_s) for name, _ in names]
        known = labels >= 0
        labelled += int(known.sum())
        for i, (model, x) in enumerate(zip(learned, joined, strict=True)):
            for (name, _), labelling, ids in zip(names, phones, model.codebook.encode(x).split(lengths), strict=True):
                units[i][name] = ids
                counts[i].add(ids.numpy(), labelling)
                edges[i].add(ids.numpy(), alignments.boundaries(name))
            if bool(known.any()):
                right[i] += int((model.probe.predict(x[known]) == labels[known]).sum())
    if not labelled:
        raise DataError("no utterance to be scored has an alignment")
    rows = []
    for i, (own, edge) in enumerate(zip(counts, edges, strict=True)):
        found, boundaries = own.scores(), edge.scores()
        rows.append(LayerScores(i, float(right[i]) / labelled, found.pnmi, found.phone_purity, found.cluster_purity,
                                found.perplexity, found.bitrate, boundaries.f1, boundaries.r_value))  # fmt: skip
    return rows, units


def _together(encoded: Encoded) -> Iterator[tuple[list[tuple[str, int]], list[Tensor]]]:
    """Ids and lengths of a few utterances, and their frames [T, C] of every layer one behind another, on the CPU."""
    names: list[tuple[str, int]] = []
    held: list[list[Tensor]] = []
    for name, layers in encoded:
        names.append((name, len(layers[0])))
        held.append([x.float().cpu() for x in layers])
        if sum(length for _, length in names) >= _AT_ONCE:
            yield names, [torch.cat(own) for own in zip(*held, strict=True)]
            names, held = [], []
    if names:
        yield names, [torch.cat(own) for own in zip(*held, strict=True)]


def _codebook(x: Tensor, sweep: Sweep) -> KMeans:
    """k-means of frames [N, C]. Where few of them differ (vq-wav2vec's layer 0), the most frequent ones themselves."""
    try:
        return fit(x, num_units=sweep.num_units, seed=sweep.seed, max_frames=sweep.max_frames, tolerance=_TOLERANCE,
                   device=sweep.device)[0]  # fmt: skip
    except DataError:
        different, counts = torch.unique(x, dim=0, return_counts=True)
        if len(different) > len(x) / 10:
            raise
        return KMeans(different[counts.argsort(descending=True, stable=True)[: sweep.num_units]])


def best(rows: Sequence[LayerScores]) -> int:
    """The layer with the best probe, the lower one of equals."""
    return max(range(len(rows)), key=lambda i: (rows[i].probe, -i))


def _labels(alignments: Alignments, name: str, vocabulary: dict[str, int], num_frames: int, sweep: Sweep) -> Tensor:
    return label_numbers(num_frames, alignments, name, vocabulary, rate_hz=sweep.rate_hz, centre_s=sweep.centre_s,
                         shift_s=sweep.shift_s)  # fmt: skip

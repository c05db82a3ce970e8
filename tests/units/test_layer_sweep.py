"""Layers scored together are what they are one utterance and one layer at a time."""

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl.errors import DataError
from speechssl.metrics.alignments import Alignments
from speechssl.metrics.probe import fit_probe
from speechssl.metrics.units import UnitCounts
from speechssl.quantizers.kmeans_fit import fit
from speechssl.quantizers.kmeans_sample import FrameSample
from speechssl.units import layer_sweep
from speechssl.units.layer_sweep import Sweep

SWEEP = Sweep(rate_hz=100, centre_s=0.005, num_units=6, unit_frames=20)
VOCABULARY = {"a": 0, "b": 1, "c": 2}


def speech(seed: int) -> tuple[list[tuple[str, list[Tensor]]], Alignments]:
    """Nine utterances of 40 to 80 frames in two layers, the second with less noise; phones of five frames."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(3, 4)) * 2
    encoded, runs = [], {}
    for number in range(9):
        phones = random.integers(3, size=random.integers(8, 17))
        ids = np.repeat(phones, 5)
        layers = [torch.from_numpy(centres[ids] + noise * random.normal(size=(len(ids), 4))).float()
                  for noise in (2.0, 0.7)]  # fmt: skip
        encoded.append((f"u{number}", layers))
        edges = np.arange(len(phones) + 1) * 5
        runs[f"u{number}"] = (edges[:-1], edges[1:], phones)
    return encoded, Alignments(("a", "b", "c"), 100.0, runs)


def test_utterances_scored_together_are_those_scored_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    train, train_labels = speech(0)
    test, labels = speech(1)
    learned = layer_sweep.learn(train, train_labels, VOCABULARY, SWEEP)
    together = layer_sweep.score(test, labels, VOCABULARY, learned, SWEEP)
    monkeypatch.setattr(layer_sweep, "_AT_ONCE", 1)
    rows, units = layer_sweep.score(test, labels, VOCABULARY, learned, SWEEP)
    assert rows == together[0] and layer_sweep.best(rows) == 1
    for layer, (row, model) in enumerate(zip(rows, learned, strict=True)):
        counts, right, frames = UnitCounts(6, unit_rate=100), 0, 0
        for name, layers in test:
            ids, phones = model.codebook.encode(layers[layer]), labels.frames(name, 100)
            assert torch.equal(units[layer][name], ids) and torch.equal(together[1][layer][name], ids)
            counts.add(ids.numpy(), phones)
            right += int((model.probe.predict(layers[layer]).numpy() == phones).sum())
            frames += len(phones)
        assert row.pnmi == counts.scores().pnmi and row.probe == right / frames


def test_the_probe_learns_from_all_sampled_frames_and_the_codebook_from_the_first() -> None:
    train, labels = speech(0)
    [_, learned] = layer_sweep.learn(train, labels, VOCABULARY, SWEEP)
    x = torch.cat([layers[1] for _, layers in train])
    y = torch.from_numpy(np.concatenate([labels.frames(name, 100) for name, _ in train])).long()
    whole = fit_probe(x, y, num_labels=3, iterations=20)
    torch.testing.assert_close(learned.probe.weight, whole.weight, atol=1e-3, rtol=1e-3)
    sample = FrameSample(300_000, 0)
    for name, layers in train:
        sample.add(name, layers[1].numpy())
    rows = sample.finish().rows
    first, everything = (fit(part, num_units=6, tolerance=1e-3)[0].centroids for part in (rows[:120], rows))
    assert torch.equal(learned.codebook.centroids, first) and not torch.equal(first, everything)
    with pytest.raises(DataError, match="frames cannot make 6 units"):
        layer_sweep.learn(train, labels, VOCABULARY, Sweep(rate_hz=100, centre_s=0.005, num_units=6, max_frames=5))


def test_without_aligned_speech_it_is_refused() -> None:
    train, labels = speech(0)
    learned = layer_sweep.learn(train, labels, VOCABULARY, SWEEP)
    with pytest.raises(DataError, match="to be scored has an alignment"):
        layer_sweep.score([], labels, VOCABULARY, learned, SWEEP)
    with pytest.raises(DataError, match="to learn from has an alignment"):
        layer_sweep.learn([("else", train[0][1])], labels, VOCABULARY, SWEEP)

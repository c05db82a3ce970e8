#!/usr/bin/env python3
"""How much of the phones is in each layer of an encoder: a linear probe, and units of k-means against alignments.

evaluate.py ENCODER DATA --output scores.json

DATA/{train,dev}: data dirs with align/phones.tsv and utt2spk. One pass over the audio gives all layers. Of every layer:
accuracy of a linear phone probe on dev (trained on train), PNMI and purities of --num-units units (k-means on train).
Of the layer with the best probe also ABX error of its units and its frames, within and across speakers.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl import convert
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.encoders.pretrained import Pretrained
from speechssl.metrics.abx import abx
from speechssl.metrics.abx_items import make_items
from speechssl.metrics.alignments import Alignments, read_alignments
from speechssl.metrics.probe import fit_probe, label_frames
from speechssl.metrics.unit_report import score_corpus
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_fit import fit

BATCH_S = 120.0  # of padded audio at once


def main() -> int:
    """Write the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--num-units", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--phone-shift", type=float, default=0.0)
    parser.add_argument("--max-frames", type=int, default=300_000, help="of train, for the probe and for k-means")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    began = time.monotonic()
    pretrained = convert.load_encoder(str(args.encoder))
    pretrained.encoder.to(args.device)
    scores = Evaluation(pretrained, args).scores()
    scores["seconds"] = round(time.monotonic() - began, 1)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(scores))
    return 0


class Evaluation:
    """The frames of both splits, every layer, and what is measured on them."""

    def __init__(self, pretrained: Pretrained, args: argparse.Namespace) -> None:
        self.args = args
        encoder = pretrained.encoder
        self.rate_hz = encoder.sample_rate / encoder.hop
        self.centre_s = encoder.receptive_field / 2 / encoder.sample_rate
        self._codebooks: dict[int, KMeans] = {}
        self.alignments = {split: self._alignments(split) for split in ("train", "dev")}
        self.vocabulary: dict[str, int] = {}
        for found in self.alignments.values():
            for label in found.labels:
                self.vocabulary.setdefault(label, len(self.vocabulary))
        self.frames = {split: self._frames(pretrained, split) for split in ("train", "dev")}  # [layer][id] -> [T, C]

    def scores(self) -> dict[str, object]:
        """Everything that is reported."""
        layers = [self._layer(layer) for layer in range(len(self.frames["dev"]))]
        best = max(range(len(layers)), key=lambda layer: layers[layer]["probe"])
        units = self._units(best)
        speakers = dict(line.split() for line in (self.args.data / "dev" / "utt2spk").read_text().splitlines())
        items = make_items(self.alignments["dev"], speakers, on="triphone", shift_s=self.args.phone_shift)
        values = {"frames": self.frames["dev"][best], "units": {n: u[:, None] for n, u in units.items()}}
        abx_scores = {
            kind: abx(items, own, rate_hz=self.rate_hz, centre_s=self.centre_s, seed=self.args.seed,
                      distance="identical" if kind == "units" else "angular")
            for kind, own in values.items()
        }  # fmt: skip
        return {
            "encoder": str(self.args.encoder), "layers": layers, "best_layer": best, "seed": self.args.seed,
            "phone_shift_s": self.args.phone_shift, **layers[best],
            **{f"abx_{kind}_within": found.within for kind, found in abx_scores.items()},
            **{f"abx_{kind}_across": found.across for kind, found in abx_scores.items()},
        }  # fmt: skip

    def _layer(self, layer: int) -> dict[str, float]:
        x, y = self._labelled("train", layer)
        keep = np.random.default_rng(self.args.seed).permutation(len(x))[: self.args.max_frames]
        probe = fit_probe(x[keep], y[keep], num_labels=len(self.vocabulary), device=self.args.device)
        accuracy = probe.accuracy(*self._labelled("dev", layer))
        self._codebooks[layer], _ = fit(
            lambda: iter(self.frames["train"][layer].items()), num_units=self.args.num_units, seed=self.args.seed,
            max_frames=self.args.max_frames, device=self.args.device,
        )  # fmt: skip
        units = self._units(layer)
        report = score_corpus(
            ((name, ids.numpy()) for name, ids in units.items()), self.alignments["dev"],
            num_units=self.args.num_units, unit_rate=self.rate_hz, label_shift_s=self.args.phone_shift,
        )  # fmt: skip
        found = report.scores
        return {"layer": layer, "probe": accuracy, "pnmi": found.pnmi, "phone_purity": found.phone_purity,
                "cluster_purity": found.cluster_purity, "perplexity": found.perplexity,
                "bitrate": found.bitrate}  # fmt: skip

    def _units(self, layer: int) -> dict[str, Tensor]:
        return {name: self._codebooks[layer].encode(x) for name, x in self.frames["dev"][layer].items()}

    def _labelled(self, split: str, layer: int) -> tuple[Tensor, Tensor]:
        """Frames [N, C] that have a label, and their labels [N]."""
        alignments, vocabulary = self.alignments[split], self.vocabulary
        parts = [
            label_frames(x, alignments, name, vocabulary, rate_hz=self.rate_hz, centre_s=self.centre_s,
                         shift_s=self.args.phone_shift)
            for name, x in self.frames[split][layer].items()
        ]  # fmt: skip
        return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

    def _alignments(self, split: str) -> Alignments:
        return read_alignments(self.args.data / split / "align" / "phones.tsv")

    def _frames(self, pretrained: Pretrained, split: str) -> list[dict[str, Tensor]]:
        layers: list[dict[str, Tensor]] = []
        for names, states, counts in self._batches(pretrained, split):
            layers = layers or [{} for _ in states]
            for layer, x in zip(layers, states, strict=True):
                layer |= {name: row[:count] for name, row, count in zip(names, x.float().cpu(), counts, strict=True)}
        return layers

    def _batches(self, pretrained: Pretrained, split: str) -> Iterator[tuple[list[str], list[Tensor], list[int]]]:
        encoder = pretrained.encoder
        utterances = [u for u in open_corpus(self.args.data / split).utterances if u.id in self.alignments[split]]
        waves = {u.id: torch.from_numpy(read_utterance(u, sample_rate=encoder.sample_rate).samples) for u in utterances}
        order = sorted(waves, key=lambda name: -len(waves[name]))
        while order:
            size = max(1, int(BATCH_S * encoder.sample_rate / len(waves[order[0]])))
            names, order = order[:size], order[size:]
            wav = pad_sequence([pretrained.normalize(waves[name]) for name in names], batch_first=True)
            lengths = torch.tensor([len(waves[name]) for name in names])
            with torch.inference_mode():
                states, counts = encoder.layers(wav.to(self.args.device), lengths.to(self.args.device))
            yield names, states, counts.tolist()


if __name__ == "__main__":
    raise SystemExit(main())

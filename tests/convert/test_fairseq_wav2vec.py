"""The first wav2vec and vq-wav2vec of fairseq, against the papers' networks written down again, on random weights."""

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl import convert
from speechssl.cli import main
from speechssl.convert.codebooks import of_checkpoint
from speechssl.errors import CheckpointError
from speechssl.units.model import UnitModel

FRONT = "[(16, 10, 5)] + [(16, 4, 2)] * 2 + [(16, 1, 1)]"
CONTEXT = "[(16, 2, 1), (16, 3, 1)]"
SETTINGS = {"arch": "wav2vec", "conv_feature_layers": FRONT, "conv_aggregator_layers": CONTEXT, "agg_zero_pad": True,
            "skip_connections_agg": True, "residual_scale": 0.5, "log_compression": True, "vq_groups": 2,
            "normalize": False}  # fmt: skip


def front_and_context() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random) / math.sqrt(shape[-1] * shape[1] if len(shape) > 1 else 4)

    state = {"wav2vec_predictions.project_to_steps.weight": draw(16, 16, 1, 3)}
    for place, shift, kernels in (("feature_extractor", 0, (10, 4, 4, 1)), ("feature_aggregator", 1, (2, 3))):
        for i, kernel in enumerate(kernels):
            stem = f"{place}.conv_layers.{i}."
            state[f"{stem}{shift}.weight"] = draw(16, 16 if i or shift else 1, kernel)
            state[f"{stem}{shift + 2}.weight"], state[f"{stem}{shift + 2}.bias"] = 1 + draw(16), draw(16)
            if shift:
                state[f"{stem}1.bias"] = draw(16)
    return state


def with_gumbel(state: dict[str, Tensor], *, shared: bool, depth: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    state["vector_quantizer.vars"] = torch.rand(1, 5 if shared else 10, 8, generator=random)
    widths = [16, *[32] * (depth - 1), 10]
    for j in range(depth):
        name = "weight_proj." if depth == 1 else f"weight_proj.{j}." + ("0." if j < depth - 1 else "")
        state[f"vector_quantizer.{name}weight"] = torch.randn(widths[j + 1], widths[j], generator=random)
        state[f"vector_quantizer.{name}bias"] = 0.1 * torch.randn(widths[j + 1], generator=random)
    return state


def with_kmeans(state: dict[str, Tensor], *, shared: bool) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(2)
    state["vector_quantizer.embedding"] = torch.randn(5, 1 if shared else 2, 8, generator=random)
    state["vector_quantizer.projection.0.weight"] = torch.randn(16, 8, 1, generator=random)
    state["vector_quantizer.projection.1.weight"] = 1 + torch.rand(16, generator=random)
    state["vector_quantizer.projection.1.bias"] = torch.randn(16, generator=random)
    return state


def oracle(state: dict[str, Tensor], wav: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """z [T, C] (quantized), c [T, C] and codes [T, G] of one utterance, in float64, plainly."""
    state = {name: tensor.double() for name, tensor in state.items()}
    x = wav.double()[None, None]
    for i, stride in enumerate((5, 2, 2, 1)):
        stem = f"feature_extractor.conv_layers.{i}."
        x = F.conv1d(x, state[stem + "0.weight"], stride=stride)
        x = F.relu(F.group_norm(x, 1, state[stem + "2.weight"], state[stem + "2.bias"]))
    x = (x.abs() + 1).log()
    codes = None
    if "vector_quantizer.vars" in state:
        rows, book = [], state["vector_quantizer.vars"][0]
        for frame in x[0].T:
            h = frame
            names = sorted(n for n in state if n.startswith("vector_quantizer.weight_proj") and n.endswith("weight"))
            for j, name in enumerate(names):
                h = state[name] @ h + state[name.replace("weight", "bias").replace("bias_proj", "weight_proj")]
                h = F.relu(h) if j < len(names) - 1 else h
            rows.append([int(h[:5].argmax()), int(h[5:].argmax())])
        codes = torch.tensor(rows)
        second = codes[:, 1] + (5 if len(book) == 10 else 0)
        x = torch.cat([book[codes[:, 0]], book[second]], dim=1).T[None]
    elif "vector_quantizer.embedding" in state:
        x = F.conv1d(x, state["vector_quantizer.projection.0.weight"], groups=2)
        x = F.group_norm(
            x, 2, state["vector_quantizer.projection.1.weight"], state["vector_quantizer.projection.1.bias"]
        )
        book = state["vector_quantizer.embedding"].expand(5, 2, 8)
        halves = x[0].T.view(-1, 2, 8)
        codes = torch.tensor([[int((book[:, g] - half[g]).norm(dim=1).argmin()) for g in (0, 1)] for half in halves])
        x = torch.cat([book[codes[:, g], g] for g in (0, 1)], dim=1).T[None]
    z = x[0].T
    for i, kernel in enumerate((2, 3)):
        stem = f"feature_aggregator.conv_layers.{i}."
        y = F.conv1d(F.pad(x, (kernel - 1, 0)), state[stem + "1.weight"], state[stem + "1.bias"])
        y = F.relu(F.group_norm(y, 1, state[stem + "3.weight"], state[stem + "3.bias"]))
        x = (x + y) * math.sqrt(0.5)
    return z, x[0].T, codes


def write(state: dict[str, Tensor], path: Path, **settings: Any) -> Path:
    torch.save({"args": Namespace(**{**SETTINGS, **settings}), "model": state}, path)
    return path


MODELS = {
    "wav2vec": lambda: front_and_context(),
    "gumbel": lambda: with_gumbel(front_and_context(), shared=True, depth=2),
    "gumbel, own codebooks, three layers": lambda: with_gumbel(front_and_context(), shared=False, depth=3),
    "gumbel, one layer": lambda: with_gumbel(front_and_context(), shared=False, depth=1),
    "k-means": lambda: with_kmeans(front_and_context(), shared=True),
    "k-means, own codebooks": lambda: with_kmeans(front_and_context(), shared=False),
}


@pytest.mark.parametrize("name", MODELS)
def test_its_features_and_units_are_those_of_the_network(name: str, tmp_path: Path) -> None:
    state = MODELS[name]()
    path = write(state, tmp_path / "vq.pt")
    loaded = convert.load(path)
    assert loaded.format == "fairseq" and loaded.dropped == ("wav2vec_predictions.project_to_steps.weight",)
    assert loaded.pretrained.card.family == ("wav2vec" if name == "wav2vec" else "vq_wav2vec")
    wav = torch.randn(4000, generator=torch.Generator().manual_seed(3))
    z, c, codes = oracle(state, wav)
    layers = loaded.pretrained.all_layers(wav)
    assert len(layers) == 2 and layers[0].shape == z.shape
    for ours, theirs in zip(layers, (z, c), strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=1e-4, rtol=1e-4)
    if codes is None:
        with pytest.raises(CheckpointError, match="no codebook"):
            of_checkpoint(loaded)
        return
    assert len(codes.unique(dim=0)) > 1
    assert main(["convert", str(path), str(tmp_path / "units"), "--to", "unit-model"]) == 0
    units = UnitModel.load(tmp_path / "units")
    assert units.size == 25 and torch.equal(
        torch.from_numpy(units(wav, sample_rate=16_000).frames()), codes[:, 0] * 5 + codes[:, 1]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"aggregator": "gru"}, "aggregator"), ({"activation": "gelu"}, "activation"), ({"residual_scale": 1.0}, "scale"),
     ({"agg_zero_pad": None}, "agg_zero_pad"), ({"vq_groups": 3}, "shape|codebook"), ({"vq_groups": True}, "vq_groups"),
     ({"conv_aggregator_layers": "[(8, 2, 1)]"}, "conv_aggregator_layers"), ({"conv_feature_layers": "x"}, "triples")],
)  # fmt: skip
def test_what_is_built_otherwise_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert.load(write(MODELS["gumbel"](), tmp_path / "vq.pt", **settings))


def test_damaged_quantizers_are_refused(tmp_path: Path) -> None:
    for key, tensor in (("vars", torch.rand(1, 7, 8)), ("vars", torch.rand(5)), ("embedding", torch.rand(5, 8))):
        state = MODELS["gumbel"]() | {f"vector_quantizer.{key}": tensor}
        with pytest.raises(CheckpointError, match=r"codebook|quantizer|shape"):
            convert.load(write(state, tmp_path / "vq.pt"))
    state = MODELS["k-means"]()
    del state["vector_quantizer.projection.0.weight"]
    with pytest.raises(CheckpointError, match="missing"):
        convert.load(write(state, tmp_path / "vq.pt"))

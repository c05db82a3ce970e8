"""Codebooks of finished trainings as unit models: the units are the codes that the objective computes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recipes.pretrain import Run
from speechssl import config, objectives
from speechssl.cli import main
from speechssl.data.batch import Batch
from speechssl.encoders import pretrained as native
from speechssl.errors import CheckpointError, ConfigError
from speechssl.extract.outputs import read_units
from speechssl.training import checkpoint
from speechssl.training.codebook import of_run
from speechssl.units.model import UnitModel
from tests.encoders.tiny import TINY
from tests.objectives.tiny import ENCODER
from tests.training.helpers import corpus, train

RUNS: dict[str, dict[str, Any]] = {
    "wav2vec2": {"settings__dim": 8, "settings__entries": 5, "settings__negatives": 6},
    "wav2vec2-mel": {"objective": "wav2vec2", "settings__dim": 8, "settings__entries": 5, "settings__negatives": 6,
                     "settings__penalty": 0.0, "encoder": {"family": "tdnn", **TINY["tdnn"][0]}},
    "dinosr": {"settings__top_layers": 1, "settings__entries": 6},
    "dinosr-mel": {"objective": "dinosr", "settings__top_layers": 2, "settings__entries": 6,
                   "encoder": {"family": "tdnn", **TINY["tdnn"][0]}},
    "gumbel": {"objective": "vq_wav2vec", "settings__contrast__steps": 3,
               "encoder": {"family": "vq_wav2vec", **TINY["vq_wav2vec"][0]}},
    "kmeans": {"objective": "vq_wav2vec", "settings__contrast__steps": 3,
               "encoder": {"family": "vq_wav2vec", **TINY["vq_wav2vec"][2]}},
    "data2vec": {"settings__top_layers": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "tones", 8)


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of finished trainings, made once."""
    root, made = tmp_path_factory.mktemp("runs"), {}
    for name, values in RUNS.items():
        options = {"objective": name, "training__updates": 3, "optimizer__lr": 0.02, **values}
        options |= {"settings__code_dim": None, "data__labels": None}
        if encoder := options.pop("encoder", None):
            options |= {f"encoder__{key}": None for key in ENCODER}
            options |= {f"encoder__{key}": value for key, value in encoder.items()}
        if options["objective"] == "vq_wav2vec":
            options |= {"dropout__residual": 0.0}
        assert train(data, root / name, **options) == 0
        made[name] = root / name
    return made


def objective_of(run: Path) -> nn.Module:
    """The objective as it was trained, in eval mode."""
    stored = config.load(Run, run / "config.toml")
    num_labels = 5 if stored.data.labels else None
    encoder = native.load(run / "encoder").encoder
    built = objectives.build(stored.objective, encoder, stored.settings, num_labels=num_labels)
    path, _ = checkpoint.newest(run / "checkpoints")
    assert path is not None
    built.load_state_dict(checkpoint.load(path).model, strict=False)
    return built.eval()


def codes_of(run: Path, wav: Tensor) -> Tensor:
    """The codes [T, G] that the objective chooses for wav [S], every frame masked."""
    objective = objective_of(run)
    batch = Batch(wav.unsqueeze(0), torch.tensor([len(wav)]), torch.tensor([3]), ("x",))
    masks = {}
    if objective.__module__.rpartition(".")[2] != "vq_wav2vec":
        frames = int(objective.encoder.frame_lengths(batch.lengths))
        masks = {"mask": torch.ones(1, frames, dtype=torch.bool)}
    with torch.no_grad():
        return objective(batch, **masks).codes


@pytest.mark.parametrize("name", [name for name in RUNS if name != "data2vec"])
def test_units_of_a_corpus_are_the_codes_of_the_objective(
    name: str, runs: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers: list[int | None] = {"dinosr": [2], "dinosr-mel": [1, 2]}.get(name, [None])  # type: ignore[assignment]
    for column, layer in enumerate(layers):
        capsys.readouterr()
        model, out = tmp_path / f"model{layer}", tmp_path / f"out{layer}"
        words = ["convert", str(runs[name]), str(model), "--to", "unit-model", "--json"]
        assert main([*words, *([] if layer is None else ["--layer", str(layer)])]) == 0
        told = json.loads(capsys.readouterr().out)
        assert main(["units", str(data), "-o", str(out), "--model", str(model), "--workers", "0", "--quiet"]) == 0
        found = dict(read_units(out))
        everything = set()
        for path in sorted(data.glob("*.wav")):
            codes = codes_of(runs[name], torch.from_numpy(soundfile.read(path, dtype="float32")[0]))
            expected = codes[:, column] if layer is not None else codes[:, 0] * 5 + codes[:, 1]
            assert found[path.stem].ids.tolist() == expected.tolist()
            everything |= set(expected.tolist())
        assert len(everything) > 1 and told["num_units"] == (25 if layer is None else 6)
        loaded = UnitModel.load(model)
        assert loaded.hash == told["sha256"] and loaded.layer == (layer or 0)


def test_another_run_or_layer_has_another_hash(runs: dict[str, Path]) -> None:
    parts = [of_run(runs["dinosr-mel"], layer) for layer in (1, 2)] + [
        of_run(runs[name]) for name in ("gumbel", "kmeans")
    ]
    hashes = {UnitModel(part.pretrained, part.layer, part.quantizer).hash for part in parts}
    assert len(hashes) == 4


def test_runs_without_the_codebook_that_is_asked_for_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="speechssl kmeans"):
        of_run(runs["data2vec"])
    for name, layer in (("wav2vec2", 1), ("gumbel", 0), ("dinosr", None), ("dinosr", 1), ("dinosr-mel", 3)):
        with pytest.raises(ConfigError, match="--layer"):
            of_run(runs[name], layer)
    run = tmp_path / "run"
    shutil.copytree(runs["wav2vec2"], run)
    newest, _ = checkpoint.newest(run / "checkpoints")
    assert newest is not None
    state = checkpoint.load(newest)
    moved = {name: tensor + 1 if name.startswith("encoder.conv") else tensor for name, tensor in state.model.items()}
    checkpoint.save(run / "checkpoints", checkpoint.State(moved, state.optimizer, state.progress), update=9, keep=9)
    with pytest.raises(CheckpointError, match="went on"):
        of_run(run)
    less = {name: tensor for name, tensor in state.model.items() if name != "quantizer.codebook"}
    checkpoint.save(run / "checkpoints", checkpoint.State(less, state.optimizer, state.progress), update=10, keep=9)
    with pytest.raises(CheckpointError, match="not that of wav2vec2"):
        of_run(run)
    for path in (run / "checkpoints").glob("*/model.safetensors"):
        save_file({"x": load_file(path)["quantizer.logits.bias"]}, path)
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        of_run(run)
    shutil.rmtree(run / "encoder")
    with pytest.raises(CheckpointError, match="not trained to the end"):
        of_run(run)

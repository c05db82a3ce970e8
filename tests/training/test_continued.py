"""Training goes on from a checkpoint, and languages are drawn as XLSR does."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from speechssl.encoders import pretrained
from tests.training.helpers import corpus, settings


def main_with(arguments: list[str], *others: str) -> int:
    from recipes.pretrain import main

    return main([*(a for a in arguments if not a.startswith("encoder.")), *others])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "tones")


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("first") / "run"
    from recipes.pretrain import main

    assert main(settings(data, run, training__updates=2)) == 0
    return run


def test_the_encoder_goes_on_from_its_weights_and_all_of_it_is_trained(data: Path, first: Path, tmp_path: Path) -> None:
    """encoder={checkpoint=...} replaces the whole table of a paper's file; a rate of 1e-30 leaves weights in place."""
    source = first / "encoder"
    for lr, stays in ((1e-30, True), (1e-2, False)):
        run = tmp_path / str(lr)
        arguments = settings(data, run, training__updates=2, optimizer__lr=lr)
        assert main_with(arguments, 'encoder.family="hubert"', f'encoder={{checkpoint="{source}"}}') == 0
        before, after = pretrained.load(source), pretrained.load(run / "encoder")
        assert after.card.family == "hubert" and "trained further" in after.card.name
        for name, tensor in before.encoder.state_dict().items():
            trained = after.encoder.state_dict()[name]
            if stays:
                torch.testing.assert_close(tensor, trained, rtol=0, atol=1e-12)
            elif not name.endswith("attention.key.bias"):
                assert not torch.equal(tensor, trained), name


def test_another_objective_can_go_on_with_it(data: Path, first: Path, tmp_path: Path) -> None:
    arguments = [
        a for a in settings(data, tmp_path / "run", objective="best_rq", training__updates=2)
        if not a.startswith(("settings.", "data.labels"))
    ]  # fmt: skip
    others = ["settings.entries=32", "settings.mask={start=0.1, span=5}"]
    assert main_with(arguments, *others, f'encoder={{checkpoint="{first / "encoder"}"}}') == 0
    weights = load_file(tmp_path / "run/checkpoints/update-000000002/model.safetensors")
    assert weights["prediction.weight"].shape[0] == 32


def test_a_checkpoint_with_sizes_of_its_own_or_another_normalisation_is_refused(
    data: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = settings(data, tmp_path / "run")
    checkpoint = f'encoder={{checkpoint="{first / "encoder"}"}}'
    assert main_with(arguments, checkpoint, "normalize=true") == 2
    assert "normalize" in capsys.readouterr().err
    assert main_with(arguments, checkpoint, "encoder.dim=64") == 2
    assert "dim" in capsys.readouterr().err
    assert main_with(arguments, checkpoint, 'encoder.family="hubert"') == 2
    assert "one of them" in capsys.readouterr().err


def test_languages_are_balanced_in_a_run(data: Path, tmp_path: Path) -> None:
    """A manifest with utt2lang; what is logged shows that the run took it, the shares are tested with the plan."""
    rows = [
        {"id": path.stem, "audio": str(path), "utt2lang": "one" if number < 3 else "two"}
        for number, path in enumerate(sorted(data.glob("*.wav")))
    ]
    manifest = tmp_path / "two.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = settings(data, tmp_path / "run", data__group_by="utt2lang", data__batching__balance=0.5)
    assert main_with([*arguments, f"data.train={manifest}"], *(a for a in arguments if a.startswith("encoder."))) == 0

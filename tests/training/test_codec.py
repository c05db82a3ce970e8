"""The codec recipe as its users run it: it leaves a codec that loads, and goes on exactly where it was killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes import codec as recipe
from speechssl import config
from speechssl.codecs.model import Codec
from speechssl.units import codec as codec_files
from speechssl.units.model import UnitModel
from tests.training.helpers import _toml, corpus
from tests.training.test_pretrain import assert_same_run, losses, weights

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
SMALL: dict[str, Any] = {
    "threads": 1, "data.batching.seconds": 2.0, "data.batching.crop_s": 0.2, "data.batching.min_s": 0.2,
    "data.valid_batching.crop_s": 1.0, "data.valid_batching.seconds": 4.0, "codec.encoder.channels": 2,
    "codec.encoder.dim": 8, "codec.decoder.channels": 16, "codec.decoder.num_blocks": 1, "codec.codebook_size": 8,
    "losses.windows": (64, 256), "losses.num_mels": (10, 40), "losses.discriminators.periods": (2,),
    "losses.discriminators.fft_sizes": (64,), "losses.discriminators.width": 0.0625, "losses.adversarial_from": 2,
    "training.updates": 6, "training.log_every": 1, "training.save_every": 2, "training.valid_every": 6,
    "training.workers": 0, "training.keep": 9,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "tones")


def settings(data: Path, run: Path, **others: Any) -> list[str]:
    values = {"run": run, "data.train": data, "data.valid": data, **SMALL}
    values |= {name.replace("__", "."): value for name, value in others.items()}
    return [str(CONF / "tiny_codec.toml"), *(f"{name}={_toml(value)}" for name, value in values.items())]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert recipe.main(settings(data, run)) == 0
    return run


def test_a_run_leaves_config_log_checkpoints_result_and_a_codec_that_is_a_unit_model_too(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    assert result["update"] == 6 and result["bitrate"] == 50 * 4 * 3
    assert losses(whole, "valid", "update") == [0, 6]
    assert result["valid_mel"] == pytest.approx(losses(whole, "valid", "mel")[1], rel=1e-5)
    assert {"valid_si_sdr_db", "valid_loss"} <= set(result)
    stored = config.load(recipe.Run, whole / "config.toml")
    assert stored.codec.codebook_size == 8 and stored.losses.discriminators.periods == (2,)
    codec = codec_files.load(whole / "codec")
    trained = weights(whole)
    assert torch.equal(codec.codebooks, trained["generator.codec.codebooks"])
    assert UnitModel.load(whole / "codec").size == 8**4


def test_the_discriminators_start_when_they_are_told_and_everything_learns(whole: Path) -> None:
    rows = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    train = [row for row in rows if row["kind"] == "train"]
    assert ["adversarial" in row for row in train] == [False, False, True, True, True, True]
    first, last = weights(whole, 2), weights(whole, 6)
    for name in first:
        assert name.endswith("idle") or not torch.equal(first[name], last[name]), name


def test_killed_anywhere_and_started_again_it_ends_with_the_same_losses_and_weights(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "recipes.codec", *settings(data, run, training__workers=1)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/update-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "result.json").exists(), "it was too fast to be killed"
    assert recipe.main(settings(data, run)) == 0
    assert_same_run(whole, run)
    assert codec_files.read_file(run / "codec").sha256 == codec_files.read_file(whole / "codec").sha256


def test_gone_on_from_before_and_from_behind_the_discriminators_start_it_is_the_same(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    for kept in (2, 4):
        run = tmp_path / f"from{kept}"
        shutil.copytree(whole, run)
        (run / "config.toml").unlink()
        for update in range(kept + 2, 7, 2):
            shutil.rmtree(run / "checkpoints" / f"update-{update:09d}")
        assert recipe.main(settings(data, run)) == 0
        assert_same_run(whole, run)


def test_fsq_is_trained_by_the_same_recipe(data: Path, tmp_path: Path) -> None:
    values = {k: v for k, v in SMALL.items() if k not in ("codec.codebook_size", "codec.encoder.dim")}
    text = (CONF / "tiny_codec.toml").read_text().replace('"rvq"', '"fsq"').replace("dim = 32", "dim = 3")
    text = text.replace("num_codebooks = 4\ncodebook_size = 64\n", "levels = [5, 5, 4]\n")
    (tmp_path / "fsq.toml").write_text(text.replace("{ commitment = 0.25 }", "{}"))
    values |= {"run": tmp_path / "run", "data.train": data, "training.updates": 2, "losses.adversarial_from": 0}
    assert recipe.main([str(tmp_path / "fsq.toml"), *(f"{k}={_toml(v)}" for k, v in values.items())]) == 0
    assert codec_files.load(tmp_path / "run" / "codec").sizes == (100,)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.batching.min_s=0.1", "min_s"),
        ("training.shard=true", "shard"),
        ("losses.mel=-1.0", "negative"),
        ("codec.levels=[3]", "levels"),
        ("codec.decoder.hop=300", "samples of a frame"),
        ("codec.decoder.strides=[2]", "strides"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    override: str, named: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipe.main([*settings(data, tmp_path / "run"), override]) == 2
    assert named in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_codec_toml_is_descripts_size_and_both_files_store_whole(tmp_path: Path) -> None:
    for name, rate in (("codec", 6000), ("tiny_codec", 1200)):
        run = config.load(recipe.Run, CONF / f"{name}.toml", ["data.train=x"])
        (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
        assert config.load(recipe.Run, tmp_path / "config.toml") == run
        with torch.device("meta"):
            codec = Codec(run.codec)
        assert codec.bitrate == pytest.approx(rate) and codec.hop == 320
        millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (codec.encoder, codec.decoder)]
        assert millions == pytest.approx([18.76, 42.69] if name == "codec" else [0.204, 1.976], rel=1e-2)

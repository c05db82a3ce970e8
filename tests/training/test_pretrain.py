"""The recipe as its users run it: resumed, distributed, disturbed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from recipes.pretrain import Run
from speechssl import config, encoders
from speechssl.encoders import pretrained
from speechssl.errors import ConfigError
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.training import checkpoint
from speechssl.training.distributed import Group
from speechssl.training.shard import shard
from tests.encoders.tiny import TINY as ENCODERS
from tests.objectives.tiny import ENCODER
from tests.training.helpers import corpus, settings, train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "tones")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(data, run) == 0
    return run


def losses(run: Path, kind: str = "train", name: str = "loss") -> list[float]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if row["kind"] == kind]


def weights(run: Path, update: int = 6) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"update-{update:09d}" / "model.safetensors")


def assert_same_run(one: Path, other: Path) -> None:
    assert losses(one) == losses(other)
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name


def test_a_run_leaves_config_log_checkpoints_result_and_an_encoder_that_loads(whole: Path) -> None:
    assert json.loads((whole / "result.json").read_text())["update"] == 6
    assert len(losses(whole)) == 6
    encoder = pretrained.load(whole / "encoder")
    trained = {k.removeprefix("encoder."): v for k, v in weights(whole).items() if k.startswith("encoder.")}
    for name, tensor in encoder.encoder.state_dict().items():
        assert torch.equal(tensor, trained[name]), name
    stored = config.load(Run, whole / "config.toml")
    assert stored.encoder["family"] == "hubert" and stored.training.updates == 6


def test_killed_anywhere_and_started_again_it_ends_with_the_same_losses_and_weights(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    """With another number of loader processes before, after, and in the undisturbed run."""
    command = [sys.executable, "-m", "recipes.pretrain", *settings(data, tmp_path / "run", training__workers=2)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("checkpoints/update-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "result.json").exists(), "it was too fast to be killed"
    assert train(data, tmp_path / "run", training__workers=1) == 0
    assert_same_run(whole, tmp_path / "run")


def test_what_is_drawn_for_an_utterance_is_drawn_again_after_a_stop(data: Path, tmp_path: Path) -> None:
    """Warps, gains and noise of log-mel frames."""
    perturb = {f"settings__masking__perturb__{name}": value for name, value in
               {"warp": 0.18, "gain_db": 8.0, "noise_share": 0.7}.items()}  # fmt: skip
    tdnn = {f"encoder__{name}": None for name in ENCODER} | {f"encoder__{k}": v for k, v in ENCODERS["tdnn"][0].items()}
    options = {**tdnn, **perturb, "encoder__family": "tdnn", "settings__penalty": 0.0}
    assert train(data, tmp_path / "whole", **options) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for update in (4, 6):
        shutil.rmtree(tmp_path / "again" / "checkpoints" / f"update-{update:09d}")
    assert train(data, tmp_path / "again", **options, training__workers=1) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "again")


def test_a_stop_sent_to_the_whole_group_ends_cleanly(data: Path, tmp_path: Path) -> None:
    """As Slurm and Ctrl-C send it: to the loader's processes, too."""
    run = tmp_path / "run"
    slow = {"training__workers": 2, "training__updates": 4000, "training__save_every": 1}
    command = [sys.executable, "-m", "recipes.pretrain", *settings(data, run, **slow)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/update-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 2 and "stopped at update" in said and "Traceback" not in said
    assert checkpoint.newest(run / "checkpoints")[1] == []


def test_a_damaged_newest_checkpoint_costs_its_updates_only(
    data: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(data, run) == 0
    for name in (4, 6):
        path = run / "checkpoints" / f"update-{name:09d}" / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert train(data, run) == 0
    assert "going on from update 2" in capsys.readouterr().err
    assert_same_run(whole, run)


def test_two_processes_do_what_one_does_with_two_batches_per_update(data: Path, tmp_path: Path) -> None:
    """The same batches, seeds, and division by the number of masked frames everywhere."""
    assert train(data, tmp_path / "one", training__accumulate=2, training__updates=4) == 0
    done = under_torchrun(settings(data, tmp_path / "two", training__updates=4))
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-4)
    one, two = weights(tmp_path / "one", 4), weights(tmp_path / "two", 4)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-3, atol=2e-5, msg=name)


def under_torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "-m", "recipes.pretrain", *arguments]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_divided_model_does_what_a_whole_one_does_and_goes_on_as_one(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """FSDP2 on two processes, with a teacher (an exponential average) and validation, against one process."""
    values = {"objective": "data2vec", "settings.code_dim": None, "data.labels": None, "settings.top_layers": 2}
    values |= {"data.valid": data, "training.valid_every": 2, "training.clip": 0.5, "schedule.name": "constant"}
    extra = {name.replace(".", "__"): value for name, value in values.items()}
    assert train(data, tmp_path / "one", training__accumulate=4, training__updates=4, **extra) == 0
    both = {"training__accumulate": 2, "training__shard": True, **extra}
    for updates in (2, 4):  # the second goes on from the first's checkpoint
        done = under_torchrun(settings(data, tmp_path / "two", training__updates=updates, **both))
        assert done.returncode == 0, done.stderr[-3000:]
    for kind in ("train", "valid"):
        assert losses(tmp_path / "one", kind) == pytest.approx(losses(tmp_path / "two", kind), rel=1e-3)
    one, two = weights(tmp_path / "one", 4), weights(tmp_path / "two", 4)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-2, atol=1e-4, msg=name)
    encoder = pretrained.load(tmp_path / "two" / "encoder").encoder
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, two[f"encoder.{name}"]), name
    capsys.readouterr()
    alone = {**both, "training__shard": False}
    assert train(data, tmp_path / "two", training__updates=5, **alone) == 0  # undivided, by one process
    assert "going on from update 4" in capsys.readouterr().err


def test_dividing_a_model_needs_processes_and_no_layer_drop(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", training__shard=True) == 2
    assert "several processes" in capsys.readouterr().err
    encoder = encoders.build("hubert", ENCODER)
    set_dropout(encoder, Dropout(layer=0.1))
    with pytest.raises(ConfigError, match=r"dropout\.layer"):
        shard(encoder, Group(0, 2))


def test_a_training_that_diverges_stops_and_names_the_last_good_checkpoint(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    extreme = {"optimizer__lr": 1e30, "training__patience": 2, "training__save_every": 1}
    assert train(data, run, **extreme) == 2
    said = capsys.readouterr().err
    assert "skipped" in said and "last good checkpoint is" in said


def test_validation_is_the_same_every_time_and_leaves_training_alone(data: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(data, run, data__valid=data, training__valid_every=3) == 0
    assert_same_run(whole, run)
    first, second = losses(run, "valid")
    assert second < first


def test_a_run_of_a_version_without_a_setting_goes_on(data: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(data, run, training__updates=2, schedule__name="constant") == 0
    lines = (run / "config.toml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("shard =", "lengths ="))]
    assert len(kept) == len(lines) - 2
    (run / "config.toml").write_text("\n".join(kept) + "\n")
    assert train(data, run, training__updates=3, schedule__name="constant") == 0
    assert train(data, run, training__updates=4, schedule__name="constant", data__lengths="stated") == 2


def test_a_recording_that_cannot_be_read_is_left_out_and_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "tones"
    shutil.copytree(data, broken)
    shutil.copy(data.with_suffix(".labels"), broken.with_suffix(".labels"))
    path = broken / "u03.wav"
    path.write_bytes(path.read_bytes()[:5000])  # its header is fine, its end is missing
    assert train(broken, tmp_path / "run") == 0
    state = json.loads((tmp_path / "run/checkpoints/update-000000006/state.json").read_text())
    assert set(state["failures"]) == {"u03"}


@pytest.mark.parametrize(
    ("others", "named"),
    [
        ({"encoder__dim": 64}, "encoder.dim"),
        ({"optimizer__lr": 2e-3}, "optimizer.lr"),
        ({"data__batching__seconds": 9.0}, "data.batching.seconds"),
    ],
)
def test_a_folder_with_another_run_is_refused_naming_what_differs(
    data: Path, whole: Path, others: dict[str, float], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, whole, **others) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"no_such": 1}, "no_such"),
        ({"settings__no_such": 1}, "no_such"),
        ({"objective": "no_such"}, "no_such"),
        ({"encoder__family": "no_such"}, "no_such"),
        ({"schedule__hold": 0.1}, "hold"),
        ({"data__batching__crop_s": 100.0}, "crop_s"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(
    data: Path, tmp_path: Path, others: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", **others) == 2
    assert message in capsys.readouterr().err


def test_activation_checkpointing_changes_no_bit(data: Path, whole: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path / "run", training__recompute=True) == 0
    assert_same_run(whole, tmp_path / "run")


def test_a_compiled_model_has_the_losses_of_the_plain_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured and differentiated as graphs; run without code generation, which takes a compiler and minutes."""
    graphs = []

    def compile_without_codegen(self: torch.nn.Module, **options: object) -> None:
        graphs.append(options)
        self._compiled_call_impl = torch.compile(self._call_impl, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_without_codegen)
    assert train(data, tmp_path / "run", training__compile=True, training__updates=2, dropout__residual=0.0) == 0
    assert train(data, tmp_path / "plain", training__updates=2, dropout__residual=0.0) == 0
    assert graphs
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)


def test_tensorboard_gets_the_figures_of_the_log_and_changes_no_bit(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a writer in the place of TensorBoard's, which is no dependency."""
    written: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "run" / "tensorboard")

        def add_scalar(self, name: str, value: float, update: int) -> None:
            written.append((name, value, update))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    assert train(data, tmp_path / "run", training__tensorboard=True) == 0
    assert_same_run(whole, tmp_path / "run")
    shown = [value for name, value, _ in written if name == "train/loss"]
    assert shown == pytest.approx(losses(tmp_path / "run"), rel=1e-5) and len(shown) == 6

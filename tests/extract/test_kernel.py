"""The fast form of the encoder in jobs: chosen, written down, one for all shards."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl import encoders
from speechssl.audio import read
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import DataError
from speechssl.extract.job import ModelSpec
from speechssl.extract.run import Options, run_features
from speechssl.nn.fast import linear, operators
from tests.cli.test_units import HUBERT
from tests.extract.helpers import contents, corpus

pytestmark = pytest.mark.skipif(not linear.available(), reason="this torch or CPU has no packed linears")


def encoder(folder: Path) -> Pretrained:
    torch.manual_seed(0)
    made = Pretrained(encoders.build("hubert", HUBERT).eval(), EncoderCard("hubert", HUBERT, normalize=True))
    pretrained.save(folder, made)
    return made


def test_jobs_take_the_fast_form_say_so_and_give_the_plain_features(tmp_path: Path) -> None:
    plain, rows = encoder(tmp_path / "encoder"), corpus(tmp_path / "in", 7)
    spec = ModelSpec(None, str(tmp_path / "encoder"), 2)
    for name, workers in (("here", 0), ("two", 2)):
        options = Options(workers=workers, quiet=True)
        assert run_features(rows, tmp_path / name, spec, shard_size=3, options=options).ok == 7
    assert contents(tmp_path / "here") == contents(tmp_path / "two")
    for file in ("job.json", "features.json"):
        assert json.loads((tmp_path / "here" / file).read_text())["kernel"] == "fast"
    shards = sorted((tmp_path / "here" / "shards").glob("features_*.npy"))
    found = np.concatenate([np.load(shard) for shard in shards])
    expected = [plain.features(torch.from_numpy(read(u.audio).samples), 2) for u in rows.utterances]
    error = np.abs(found - torch.cat(expected).detach().numpy()).max()
    assert error <= 1e-5 * np.abs(found).max()


def test_bf16_is_warned_of_where_the_cpu_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder(tmp_path / "encoder")
    monkeypatch.setattr(operators, "has_bf16", lambda: False)
    for precision in ("bf16", "fp32"):
        run_features(corpus(tmp_path / "in", 1), tmp_path / precision, ModelSpec(None, str(tmp_path / "encoder"), 2),
                     precision=precision, options=Options(workers=0))  # fmt: skip
        assert ("no instructions" in capsys.readouterr().err) == (precision == "bf16")


def test_a_job_keeps_its_kernel(tmp_path: Path) -> None:
    encoder(tmp_path / "encoder")
    rows, spec = corpus(tmp_path / "in", 4), ModelSpec(None, str(tmp_path / "encoder"), 2)
    options = Options(workers=0, quiet=True)
    run_features(rows, tmp_path / "out", spec, kernel="plain", options=options)
    assert json.loads((tmp_path / "out" / "job.json").read_text())["kernel"] == "plain"
    with pytest.raises(DataError, match="kernel is 'plain' there, 'fast' now"):
        run_features(rows, tmp_path / "out", spec, options=options)

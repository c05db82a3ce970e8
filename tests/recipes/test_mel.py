"""The recipe of mel decoders, on noise: what it writes, on features and units, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes import mel as recipe
from speechssl import api, config
from speechssl.data import pitch_files
from speechssl.data.batch import Batch
from speechssl.data.pitch import Settings
from speechssl.errors import DataError
from speechssl.quantizers.cosine import Cosine
from speechssl.units.model import UnitModel
from speechssl.vocoders.mel_learning import example
from speechssl.vocoders.prosody import Settings as Prosody

CONF = Path(recipe.__file__).parent / "conf"
SMALL = ["settings.decoder.dim=16", "settings.decoder.ffn_dim=24", "settings.decoder.num_layers=1",
         "training.updates=2", "settings.decoder.num_heads=2", "training.workers=0", "data.batching.seconds=2.0",
         "data.batching.crop_s=1.0"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings and their units."""
    folder, random = tmp_path_factory.mktemp("mel"), np.random.default_rng(0)
    (folder / "wavs").mkdir()
    for number in range(3):
        soundfile.write(folder / "wavs" / f"u{number}.wav", random.normal(0, 0.1, 20000), 16000)
    model, lines = api.load_unit_model(), []
    for number in range(3):
        ids = model(folder / "wavs" / f"u{number}.wav").frames()
        lines.append(f"u{number} {' '.join(map(str, ids))}\n")
    (folder / "units").mkdir()
    (folder / "units" / "units").write_text("".join(lines))
    card = {"num_units": model.size, "rate_hz": model.rate_hz, "unit_model": model.hash, "name": "x"}
    outputs = [{"format": "text", "merged": False}]
    (folder / "units" / "units.json").write_text(json.dumps({"rate_hz": 50.0, "outputs": outputs, "model": card}))
    return folder


@pytest.mark.parametrize("kind", ["regression", "flow", "diffusion"])
def test_a_run_leaves_a_mel_decoder_of_its_kind_and_unit_model(data: Path, tmp_path: Path, kind: str) -> None:
    labels = [] if kind == "diffusion" else [f"data.labels={data / 'units'}"]
    run = [str(CONF / f"mel_{kind}.toml"), f"run={tmp_path}", f"data.train={data / 'wavs'}", *labels, *SMALL]
    assert recipe.main(run) == 0
    decoder, model = api.load_mel_decoder(tmp_path / "mel_decoder"), api.load_unit_model()
    assert decoder.card.config.kind == kind and decoder.card.layer == model.layer
    assert json.loads((tmp_path / "result.json").read_text())["update"] == 2
    decoder.check(model.hash)
    assert float((decoder.module.scale - 1).abs().max()) > 0.01  # of the data, not the default
    units = model(np.random.default_rng(1).normal(0, 0.1, 8000), 16000)
    if kind == "diffusion":
        with pytest.raises(DataError, match="features"):
            decoder(units)
    else:
        assert decoder(units).shape == (2 * units.num_frames, 80)
    assert recipe.main(run) == 0  # it was trained to the end before


def test_a_run_with_pitch_leaves_a_decoder_with_prosody(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = {f"u{n}": np.full(63, 100.0 + 20 * n, np.float32) for n in range(3)}
    (tmp_path / "pitch").mkdir()
    pitch_files.write(tmp_path / "pitch", Settings(), tracks, dict.fromkeys(tracks, "anna"))
    run = [str(CONF / "tiny_prosody.toml"), f"run={tmp_path / 'run'}", f"data.train={data / 'wavs'}",
           f"data.labels={data / 'units'}", *SMALL]  # fmt: skip
    assert recipe.main(run) == 2 and "data.pitch and settings.decoder.prosody" in capsys.readouterr().err
    assert recipe.main([*run, f"data.pitch={tmp_path / 'pitch'}"]) == 0
    made = api.load_mel_decoder(tmp_path / "run" / "mel_decoder").card.config
    assert made.prosody == Prosody(embedding=64) and made.speaker_inputs == 64
    logged = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert {"duration", "pitch", "voicing", "energy"} <= set(logged)


def test_noise_is_under_what_is_heard_and_not_in_the_mels(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [f"data.train={data / 'wavs'}", *SMALL]
    noisy = config.load(recipe.Run, CONF / "mel_enhancement.toml", [*told, "settings.noise.share=1.0"])
    clean = config.load(recipe.Run, CONF / "mel_diffusion.toml", told)
    model = api.load_unit_model()
    wav = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    batch = Batch(wav, torch.tensor([8000, 6000]), torch.tensor([1, 2]), ("a", "b"))
    heard, spoken = (example(recipe.build(run, model, ()), batch) for run in (noisy, clean))
    assert torch.equal(heard.mel, spoken.mel) and not torch.equal(heard.condition, spoken.condition)
    run = [str(CONF / "mel_enhancement.toml"), f"run={tmp_path}", *told]
    assert recipe.main([*run, f"data.labels={data / 'units'}"]) == 2
    assert "settings.noise" in capsys.readouterr().err
    assert recipe.main(run) == 0
    assert api.load_mel_decoder(tmp_path / "mel_decoder").module.config.kind == "diffusion"


def test_the_papers_settings_build() -> None:
    run = config.load(recipe.Run, CONF / "prosody.toml", ["data.train=x", "data.labels=y", "data.pitch=z"])
    model = api.load_unit_model()
    with torch.device("meta"):
        made = recipe.build(run, model, ()).decoder
    assert made.config.prosody.embedding == 256 and sum(p.numel() for p in made.parameters()) > 2e7


def test_what_does_not_belong_together_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = [str(CONF / "mel_regression.toml"), f"run={tmp_path / 'run'}", f"data.train={data / 'wavs'}"]
    assert recipe.main([*start, *SMALL, "settings.layer=3"]) == 2
    assert "follows from the units" in capsys.readouterr().err
    other = tmp_path / "units"
    other.mkdir()
    card = json.loads((data / "units" / "units.json").read_text())
    card["model"]["unit_model"] = "b" * 64
    (other / "units.json").write_text(json.dumps(card))
    (other / "units").write_text((data / "units" / "units").read_text())
    assert recipe.main([*start, *SMALL, f"data.labels={other}"]) == 2
    assert "other sounds" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_soft_units_are_learned_from_and_spoken_where_the_unit_model_has_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hard = api.load_unit_model()
    random = torch.Generator().manual_seed(0)
    head = Cosine(torch.randn(6, hard.quantizer.dim, generator=random), torch.randn(6, generator=random),
                  torch.randn(9, 6, generator=random), torch.tensor(0.1))  # fmt: skip
    soft = UnitModel(hard.pretrained, hard.layer, head)
    soft.save(tmp_path / "units")
    run = [str(CONF / "mel_regression.toml"), f"run={tmp_path / 'run'}", f"data.train={data / 'wavs'}",
           "data.soft=true", *SMALL]  # fmt: skip
    assert recipe.main(run) == 2
    assert "are not soft" in capsys.readouterr().err
    run.append(f"unit_model={tmp_path / 'units'}")
    assert recipe.main([*run, f"data.labels={data / 'units'}"]) == 2
    assert recipe.main(run) == 0
    decoder = api.load_mel_decoder(tmp_path / "run" / "mel_decoder")
    assert decoder.card.soft and decoder.module.config.inputs == 6
    samples = np.random.default_rng(1).normal(0, 0.1, 8000).astype(np.float32)
    frames = hard.pretrained.features_long(torch.from_numpy(samples), hard.layer)
    told = decoder.hear(soft, samples)
    torch.testing.assert_close(told, frames @ head.weight.T + head.bias, atol=1e-4, rtol=1e-4)
    assert decoder(told).shape == (2 * len(frames), 80)

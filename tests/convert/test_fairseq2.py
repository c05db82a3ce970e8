"""fairseq2 checkpoints in and out, against fairseq2 with random weights.

fairseq2 itself runs in a second process: its import is slow, changes the process, and is not there on every machine.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from speechssl import convert
from speechssl.convert import export_fairseq2
from speechssl.errors import CheckpointError
from tests.convert import oracles

needs_fairseq2 = pytest.mark.skipif(importlib.util.find_spec("fairseq2") is None, reason="fairseq2 is not installed")

# argv: mode, folder. "write": random models of each kind as .pt with card and features. "read": features of exports.
PROGRAM = """
import sys
from pathlib import Path
import soundfile  # before fairseq2: gives it libsndfile
import torch
from fairseq2.models.transformer import TransformerNormOrder
from fairseq2.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2EncoderConfig, create_wav2vec2_model
from fairseq2.nn import BatchLayout
from safetensors.torch import save_file

CONV = [(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2
KINDS = {
    "base": {},
    "lv60k": dict(layer_norm_features=False, feature_extractor_bias=True, feature_extractor_layer_norm_convs=True,
                  norm_order=TransformerNormOrder.PRE),
    "stacked": dict(feature_extractor_layer_norm_convs=True, pos_encoder_depth=3, pos_conv_kernel_size=15),
}

def make(**values):
    sizes = dict(model_dim=32, feature_dim=16, feature_extractor_layer_descs=CONV, pos_conv_kernel_size=16,
                 num_pos_conv_groups=4, num_encoder_layers=3, num_encoder_attn_heads=4, ffn_inner_dim=48)
    encoder = Wav2Vec2EncoderConfig(**(sizes | values))
    return create_wav2vec2_model(Wav2Vec2Config(encoder_config=encoder)).eval()

@torch.inference_mode()
def features(model):
    wav = torch.randn(1, 6000, generator=torch.Generator().manual_seed(7))
    layout = BatchLayout.of(wav)
    seqs, layout = model.encoder_frontend(wav, layout)
    return model.encoder(seqs, layout)

folder = Path(sys.argv[2])
if sys.argv[1] == "write":
    for kind, values in KINDS.items():
        model = make(**values)
        generator = torch.Generator().manual_seed(3)
        for name, p in model.named_parameters():
            noise = 0.1 * torch.randn(p.shape, generator=generator)
            p.data.copy_(1 + noise.abs() if name.endswith(("norm.weight", "weight_g")) else noise)
        torch.save({"model": model.state_dict(), "fs2": True}, folder / f"{kind}.pt")
        save_file({"out": features(model).contiguous()}, folder / f"{kind}.features")
else:
    import fairseq2
    import yaml
    from fairseq2.assets import AssetCard
    from fairseq2.models.wav2vec2 import get_wav2vec2_model_hub

    fairseq2.init_fairseq2()
    for export in sorted(folder.iterdir()):
        card = yaml.safe_load((export / "card.yaml").read_text())
        model = get_wav2vec2_model_hub().load_model(AssetCard("export_" + export.name, card)).eval()
        save_file({"out": features(model).contiguous()}, export / "out.features")
"""


def run_fairseq2(mode: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fairseq2")
    run_fairseq2("write", folder)
    for kind in ("base", "lv60k", "stacked"):
        (folder / f"{kind}.yaml").write_text(
            f"name: {kind}\nmodel_family: wav2vec2\nmodel_config:\n  encoder_config:\n    num_encoder_attn_heads: 4\n"
        )
    return folder


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@needs_fairseq2
@pytest.mark.parametrize("kind", ["base", "lv60k", "stacked"])
def test_checkpoint_gives_the_features_of_fairseq2(kind: str, written: Path) -> None:
    loaded = convert.load(written / f"{kind}.pt", normalize=True)
    assert loaded.format == "fairseq2"
    assert {"quantizer.entries", "masker.temporal_mask_embed", "final_proj.bias"} <= set(loaded.dropped)
    with torch.inference_mode():
        ours, _ = loaded.pretrained.encoder(oracles.wave())
    assert relative_error(ours, load_file(written / f"{kind}.features")["out"]) <= 1e-5


@needs_fairseq2
def test_export_loads_strictly_in_fairseq2_and_agrees(tmp_path: Path) -> None:
    names = ["wav2vec2-base", "wav2vec2-lv60", "hubert-large", "data2vec", "unispeech-sat"]
    encoders = {
        n: convert.load_encoder(oracles.save(oracles.make(n), tmp_path / "in" / n, normalize=True)) for n in names
    }
    for name, pretrained in encoders.items():
        assert export_fairseq2.write(tmp_path / "out" / name, pretrained)
    run_fairseq2("read", tmp_path / "out")
    for name, pretrained in encoders.items():
        with torch.inference_mode():
            ours, _ = pretrained.encoder(oracles.wave())
        assert relative_error(ours, load_file(tmp_path / "out" / name / "out.features")["out"]) <= 1e-5, name


@pytest.mark.parametrize("name", ["wav2vec2-base", "wav2vec2-lv60", "hubert-large", "data2vec", "unispeech-sat"])
def test_export_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    first = convert.load_encoder(oracles.save(oracles.make(name), tmp_path / "in", normalize=True))
    export_fairseq2.write(tmp_path / "out", first)
    second = convert.load_encoder(tmp_path / "out")
    assert second.card.family == first.card.family
    assert second.card.normalize is True, "our card says it; fairseq2's own cards do not"
    for key, tensor in first.encoder.state_dict().items():
        assert torch.equal(tensor, second.encoder.state_dict()[key]), key


@pytest.mark.parametrize("name", ["wavlm-base", "sew", "mhubert-147", "hubert-no-norm"])
def test_other_architectures_are_refused(name: str, tmp_path: Path) -> None:
    pretrained = convert.load_encoder(oracles.save(oracles.make(name), tmp_path / "in"))
    with pytest.raises(CheckpointError, match="fairseq2"):
        export_fairseq2.write(tmp_path / "out", pretrained)
    assert not (tmp_path / "out").exists()


def native_run(tmp_path: Path, **card: Any) -> Path:
    """A folder as fairseq2's trainer leaves it."""
    pretrained = convert.load_encoder(oracles.save(oracles.make("wav2vec2-base"), tmp_path / "in"))
    export_fairseq2.write(tmp_path / "export", pretrained)
    state = load_file(tmp_path / "export" / "model.safetensors")
    for step in (5, 40):
        shard = tmp_path / "run" / f"step_{step}" / "model" / "pp_00" / "tp_00"
        shard.mkdir(parents=True)
        torch.save({k: v + (step == 5) for k, v in state.items()}, shard / "sdp_00.pt")
    encoder = {"num_encoder_attn_heads": 4, "model_dim": 32, "norm_order": "POST"}
    values = {"name": "checkpoint", "model_family": "wav2vec2", "model_config": {"encoder_config": encoder}}
    (tmp_path / "run" / "model.yaml").write_text(json.dumps(values | card))
    return tmp_path / "run"


def test_trainer_folder_gives_its_newest_step(tmp_path: Path) -> None:
    run = native_run(tmp_path)
    exported = convert.load_encoder(tmp_path / "export")
    for place in (run, run / "step_40", run / "step_40" / "model"):
        found = convert.load_encoder(place, normalize=False)
        assert torch.equal(found.encoder.projection.linear.bias, exported.encoder.projection.linear.bias)
    with pytest.raises(CheckpointError, match="--normalize"):
        convert.load_encoder(run)


def test_sharded_trainer_folder_is_an_error(tmp_path: Path) -> None:
    run = native_run(tmp_path)
    shard = run / "step_40" / "model" / "pp_00" / "tp_00" / "sdp_00.pt"
    shard.with_name("sdp_01.pt").write_bytes(shard.read_bytes())
    with pytest.raises(CheckpointError, match="split over devices"):
        convert.load_encoder(run, normalize=False)


@pytest.mark.parametrize("encoder", [{"model_dim": 64}, {"num_encoder_attn_heads": 5}, {"use_conformer": True},
                                     {"num_encoder_layers": 7}, {"feature_extractor_layer_descs": "x"}],
                         ids=str)  # fmt: skip
def test_card_that_does_not_fit_is_an_error(encoder: dict[str, Any], tmp_path: Path) -> None:
    run = native_run(tmp_path, model_config={"encoder_config": {"num_encoder_attn_heads": 4} | encoder})
    with pytest.raises(CheckpointError):
        convert.load_encoder(run, normalize=False)


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system ['touch owned']", "\x00", "- 1", "[" * 5000])
def test_broken_or_hostile_card_is_an_error(text: str, tmp_path: Path) -> None:
    run = native_run(tmp_path)
    (run / "model.yaml").write_text(text)
    with pytest.raises(CheckpointError):
        convert.load_encoder(run, normalize=False)

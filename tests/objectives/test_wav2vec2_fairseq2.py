"""wav2vec 2.0's loss and gradients against fairseq2: the same weights, mask and distractors, no Gumbel noise.

fairseq2 runs in a second process: its import is slow, changes the process, and is not there on every machine.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from speechssl import convert, objectives
from speechssl.data.batch import Batch
from tests.encoders.parity import assert_close

pytestmark = pytest.mark.skipif(importlib.util.find_spec("fairseq2") is None, reason="fairseq2 is not installed")

# argv: folder. Writes model.pt, model.yaml, grads.pt (gradients under the names of the weights), found.safetensors.
PROGRAM = """
import sys
from pathlib import Path
import soundfile  # before fairseq2: gives it libsndfile
import torch
torch.compile = lambda *args, **kwargs: (lambda function: function)  # it compiles one sum in every forward
from fairseq2.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2EncoderConfig, create_wav2vec2_model, vector_quantizer
from fairseq2.nn import BatchLayout
from safetensors.torch import save_file

def without_noise(logits, tau=1, hard=True):
    soft = (logits / tau).softmax(-1)
    return torch.nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]) + (soft - soft.detach())

vector_quantizer.gumbel_softmax = without_noise
CONV = [(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2
encoder = Wav2Vec2EncoderConfig(
    model_dim=32, feature_dim=16, feature_extractor_layer_descs=CONV, pos_conv_kernel_size=16, num_pos_conv_groups=4,
    num_encoder_layers=3, num_encoder_attn_heads=4, ffn_inner_dim=48, dropout_p=0.0, attn_dropout_p=0.0,
    ffn_inner_dropout_p=0.0, layer_drop_p=0.0, first_pass_dropout_p=0.0, feature_grad_scale=1.0)
config = Wav2Vec2Config(encoder_config=encoder, final_dim=8, quantized_dim=8, num_codebooks=2, num_codebook_entries=5)
model = create_wav2vec2_model(config).train()
random = torch.Generator().manual_seed(3)
for name, p in model.named_parameters():
    noise = 0.3 * torch.randn(p.shape, generator=random)
    p.data.copy_(1 + noise.abs() if name.endswith(("norm.weight", "weight_g")) else noise)
batch, frames, masked, distractors = 3, 24, 11, 7
wav = torch.randn(batch, 400 + 320 * (frames - 1), generator=random)
mask = torch.rand(batch, frames, generator=random).argsort(1) < masked
others = torch.rand(batch, masked, masked - 1, generator=random).argsort(2)[:, :, :distractors]
others += others >= torch.arange(masked).view(1, -1, 1)
model.masker.mask_factory = lambda **_: mask
rows = torch.arange(batch).view(-1, 1, 1)
model._sample_distractors = lambda targets: targets[rows, others]
loss, _ = model(wav, BatchLayout.of(wav), diversity_weight=0.1, features_penalty_weight=10.0)
loss.aggregate.backward()
folder = Path(sys.argv[1])
torch.save({"model": model.state_dict(), "fs2": True}, folder / "model.pt")
zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
grads = zeros | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
torch.save({"model": grads, "fs2": True}, folder / "grads.pt")
made = {"wav": wav, "mask": mask, "others": others.contiguous(), "loss": loss.aggregate.detach(),
        "contrastive": loss.contrastive.detach()}
save_file(made, folder / "found.safetensors")
"""
NAMES = {
    "masked.vector": "masker.temporal_mask_embed",
    "quantizer.logits.weight": "quantizer.entry_proj.weight",
    "quantizer.logits.bias": "quantizer.entry_proj.bias",
    "quantizer.codebook": "quantizer.entries",
    "project_targets.weight": "final_target_proj.weight",
    "project_targets.bias": "final_target_proj.bias",
    "project_context.weight": "final_proj.weight",
    "project_context.bias": "final_proj.bias",
}


def test_loss_and_gradients_equal_fairseq2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows have equally many masked frames: fairseq2 takes nothing else, and its penalty is one mean over the batch."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("model", "grads"):
        (tmp_path / f"{name}.yaml").write_text(
            f"name: {name}\nmodel_family: wav2vec2\nmodel_config:\n  encoder_config:\n    num_encoder_attn_heads: 4\n"
        )
    encoder = convert.load(tmp_path / "model.pt", normalize=True).pretrained.encoder.requires_grad_(True)
    settings = {"dim": 8, "entries": 5, "diversity": 0.1, "penalty": 10.0,
                "masking": {"gradient": 1.0, "dropout": 0.0, "features_dropout": 0.0}}  # fmt: skip
    ours = objectives.build("wav2vec2", encoder, settings).train()
    theirs = torch.load(tmp_path / "model.pt", weights_only=True)["model"]
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    state |= {a: theirs[b].view_as(ours.state_dict()[a]) for a, b in NAMES.items()}
    ours.load_state_dict(state | {"updates": torch.tensor(0)})

    found = load_file(tmp_path / "found.safetensors")
    monkeypatch.setattr("speechssl.objectives.wav2vec2.gumbel_noise", lambda shape, generator: torch.zeros(shape))
    wav, rows = found["wav"], len(found["wav"])
    batch = Batch(wav, torch.full((rows,), wav.shape[1]), torch.arange(rows), tuple("abc"))
    outcome = ours(batch, mask=found["mask"], negatives=list(found["others"]))
    contrastive = outcome.scalars["contrastive_loss"] * outcome.count
    torch.testing.assert_close(contrastive, found["contrastive"], rtol=1e-5, atol=0)
    torch.testing.assert_close(outcome.loss.detach(), found["loss"], rtol=1e-5, atol=0)

    outcome.loss.backward()
    gradients = torch.load(tmp_path / "grads.pt", weights_only=True)["model"]
    for a, b in NAMES.items():
        own = dict(ours.named_parameters())[a].grad
        assert_close(own, gradients[b].view_as(own), tolerance=1e-3, what=a, floor=1e-4)
    expected = convert.load(tmp_path / "grads.pt", normalize=True).pretrained.encoder.state_dict()
    for name, parameter in encoder.named_parameters():
        if "pos_conv" in name or name.endswith("key.bias"):  # weight norm splits the first; the second's gradient is 0
            continue
        assert_close(parameter.grad, expected[name], tolerance=1e-3, what=name, floor=1e-4)

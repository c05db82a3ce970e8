"""HuBERT's loss against torchaudio's pre-training model: the same weights, masks and labels, forward and gradients."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.models.wav2vec2.components import LogitGenerator
from torchaudio.models.wav2vec2.model import HuBERTPretrainModel

from speechssl import objectives
from speechssl.data.batch import Batch
from tests.encoders.parity import assert_close, randomize
from tests.encoders.test_torchaudio import SMALL, make_pair

LABELS, CODE_DIM, FRAMES = 6, 8, 24


class FixedMask(nn.Module):
    """In place of torchaudio's mask generator: a mask that is given."""

    def __init__(self, mask: Tensor, dim: int) -> None:
        super().__init__()
        self.mask = mask
        self.mask_embedding = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch.where(self.mask.unsqueeze(-1), self.mask_embedding, x), self.mask


@pytest.mark.parametrize("unmasked_weight", [0.0, 0.3])
@pytest.mark.parametrize("name", sorted(name for name in SMALL if name.startswith("hubert")))
def test_loss_and_gradients_equal_torchaudio(
    name: str, unmasked_weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows have equally many masked frames, for torchaudio's penalty is one mean over the batch, ours of each row."""
    random = torch.Generator().manual_seed(0)
    mask = torch.rand(3, FRAMES, generator=random).argsort(1) < 11
    pair = make_pair(name, torch.float64)
    dim = pair.model.dim
    oracle = HuBERTPretrainModel(
        pair.oracle, FixedMask(mask, dim), LogitGenerator(dim, LABELS, CODE_DIM, False, False), None
    )
    randomize(oracle)
    oracle = oracle.double()
    settings = {"code_dim": CODE_DIM, "unmasked_weight": unmasked_weight, "penalty": 10.0,
                "masking": {"gradient": 1.0, "dropout": 0.0, "features_dropout": 0.0}}  # fmt: skip
    ours = objectives.build("hubert", pair.model, settings, num_labels=LABELS).double().eval()
    names = {f"encoder.{a}": f"wav2vec2.{b}" for a, b in pair.names.items()} | {
        "masked.vector": "mask_generator.mask_embedding", "codes": "logit_generator.label_embeddings",
        "projection.weight": "logit_generator.final_proj.weight", "projection.bias": "logit_generator.final_proj.bias",
    }  # fmt: skip
    ours.load_state_dict({a: operator.attrgetter(b)(oracle).detach() for a, b in names.items()}, strict=False)

    wav = torch.randn(3, 400 + 320 * (FRAMES - 1), dtype=torch.float64, generator=random)
    labels = torch.randint(LABELS, (3, FRAMES), generator=random)
    masked, unmasked, penalty = oracle(wav, labels)
    count = mask.numel() if unmasked_weight else int(mask.sum())

    def cross_entropy(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64), reduction="sum")

    theirs = cross_entropy(masked) + unmasked_weight * cross_entropy(unmasked) + 10 * penalty * count
    monkeypatch.setattr("speechssl.nn.masked.span_mask", lambda *_: mask)
    found = ours(Batch(wav, torch.full((3,), wav.shape[1]), torch.arange(3), ("a", "b", "c"), labels=labels))
    assert found.count == count
    assert float(found.loss.detach()) == pytest.approx(float(theirs.detach()), rel=1e-6)

    theirs.backward()
    found.loss.backward()
    for a, b in names.items():
        if "pos_conv" in a or a.endswith("key.bias"):  # weight norm splits the first; the second's gradient is 0
            continue
        expected, gradient = operator.attrgetter(b)(oracle).grad, operator.attrgetter(a)(ours).grad
        assert_close(gradient, expected, tolerance=1e-4, what=a, floor=1e-6)

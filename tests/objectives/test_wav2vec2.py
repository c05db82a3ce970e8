"""The contrastive task against transformers, a slow oracle, and by hand."""

import math
import operator

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from speechssl import objectives
from speechssl.data.batch import Batch
from speechssl.encoders import wav2vec2
from speechssl.nn.negatives import draw_negatives
from speechssl.objectives.wav2vec2 import contrastive_logits, contrastive_loss
from speechssl.quantizers.gumbel import GumbelQuantizer, diversity
from tests.encoders.hf import hf_config_values, hf_names, shrink
from tests.encoders.parity import assert_close, randomize


def slow_loss(context: Tensor, targets: Tensor, negatives: Tensor, codes: Tensor, temperature: float) -> float:
    """Eq. (3) in float64, one frame and one distractor at a time."""

    def similarity(a: Tensor, b: Tensor) -> float:
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) / temperature

    total = 0.0
    for t in range(len(context)):
        own = similarity(context[t], targets[t])
        others = [
            similarity(context[t], targets[k]) for k in negatives[t].tolist() if codes[k].tolist() != codes[t].tolist()
        ]
        total -= own - math.log(sum(math.exp(score) for score in [own, *others]))
    return total


def test_the_loss_is_the_papers_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    context, targets = (torch.randn(9, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    codes = torch.randint(3, (9, 2), generator=generator)
    negatives = draw_negatives(9, 20, 4)
    ours = contrastive_loss(contrastive_logits(context, targets, negatives, codes, 0.1))
    assert float(ours) == pytest.approx(slow_loss(context, targets, negatives, codes, 0.1), rel=1e-5)


def test_by_hand() -> None:
    """Two orthogonal targets, context on the first: the right one has e^(1/κ), the other e^0."""
    eye = torch.eye(2)
    logits = contrastive_logits(eye[:1].repeat(2, 1), eye, torch.tensor([[1], [0]]), None, 0.5)
    assert logits.tolist() == [[2.0, 0.0], [0.0, 2.0]]
    expected = -math.log(math.exp(2) / (1 + math.exp(2))) - math.log(1 / (1 + math.exp(2)))
    assert float(contrastive_loss(logits)) == pytest.approx(expected)


def test_diversity_by_hand() -> None:
    unused, perplexity = diversity(torch.tensor([[0.5, 0.5, 0, 0], [1.0, 0, 0, 0]]))
    assert float(perplexity) == pytest.approx(3, abs=1e-5) and float(unused) == pytest.approx(5 / 8, abs=1e-5)


def test_negatives_are_uniform_over_the_others() -> None:
    drawn = draw_negatives(5, 20000, 1)
    for frame in range(5):
        shares = np.bincount(drawn[frame], minlength=5) / 20000
        expected = np.full(5, 0.25)
        expected[frame] = 0
        assert shares == pytest.approx(expected, abs=0.02)


def test_training_draws_codes_with_the_softmax_probabilities() -> None:
    from speechssl.quantizers.gumbel import gumbel_noise

    quantizer = GumbelQuantizer(4, 6, entries=3, groups=2)
    x = torch.randn(1, 4).repeat(20000, 1)
    with torch.no_grad():
        quantizer.logits.weight.mul_(0.3)
        drawn = quantizer(x, gumbel_noise((20000, 2, 3), torch.Generator().manual_seed(0)))
        plain = quantizer(x[:1])
    for group in range(2):
        shares = torch.bincount(drawn.codes[:, group], minlength=3) / 20000
        torch.testing.assert_close(shares, plain.probabilities[group], atol=0.02, rtol=0)
    assert torch.equal(quantizer.decode(plain.codes), plain.vectors)
    assert torch.equal(quantizer.encode(x[:1]), plain.codes)


@pytest.mark.parametrize("size", ["base", "large-lv60"])
def test_loss_and_gradients_equal_transformers(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wav2Vec2ForPreTraining: the same weights, mask and distractors give the same contrastive and diversity loss.

    In training mode, for the diversity loss is about soft choices only there; without Gumbel noise on either side.
    """
    config = shrink(wav2vec2.PRESETS[size])
    oracle = transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(
        **hf_config_values(config) | {"apply_spec_augment": True}, num_codevectors_per_group=5, codevector_dim=8,
        proj_codevector_dim=8, mask_time_prob=0.5, mask_feature_prob=0.0, hidden_dropout=0.0, attention_dropout=0.0,
        activation_dropout=0.0, feat_proj_dropout=0.0, feat_quantizer_dropout=0.0, final_dropout=0.0, layerdrop=0.0,
    )).train()  # fmt: skip
    randomize(oracle)
    oracle = oracle.double()
    settings = {
        "dim": 8,
        "entries": 5,
        "penalty": 0.0,
        "masking": {"gradient": 1.0, "dropout": 0.0, "features_dropout": 0.0},
    }
    ours = objectives.build("wav2vec2", wav2vec2.Model(config), settings).double().train()
    names = {f"encoder.{a}": f"wav2vec2.{b}" for a, b in hf_names(config).items()}
    names |= {"masked.vector": "wav2vec2.masked_spec_embed"}
    for a, b in {
        "quantizer.logits": "quantizer.weight_proj",
        "project_targets": "project_q",
        "project_context": "project_hid",
    }.items():
        names |= {f"{a}.weight": f"{b}.weight", f"{a}.bias": f"{b}.bias"}
    state = {a: operator.attrgetter(b)(oracle).detach() for a, b in names.items()}
    state["quantizer.codebook"] = oracle.quantizer.codevectors.detach().view(2, 5, 4)
    state["updates"] = torch.tensor(0)
    ours.load_state_dict(state)

    wav = torch.randn(3, 8000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    num_frames = (8000 - 400) // 320 + 1
    mask = torch.rand(3, num_frames, generator=torch.Generator().manual_seed(1)) < 0.5
    negatives = [draw_negatives(int(row.sum()), 7, seed) for seed, row in enumerate(mask)]
    theirs_negatives = torch.zeros(3, num_frames, 7, dtype=torch.int64)
    for row, (places, drawn) in enumerate(zip(mask, negatives, strict=True)):
        theirs_negatives[row, places] = places.nonzero().flatten()[drawn] + row * num_frames

    monkeypatch.setattr(torch.nn.functional, "gumbel_softmax", without_noise)
    monkeypatch.setattr("speechssl.objectives.wav2vec2.gumbel_noise", lambda shape, generator: torch.zeros(shape))
    theirs = oracle(wav, mask_time_indices=mask, sampled_negative_indices=theirs_negatives)
    batch = Batch(wav, torch.full((3,), 8000), torch.arange(3), ("a", "b", "c"))
    found = ours(batch, mask=mask, negatives=negatives)
    assert found.count == int(mask.sum())
    assert float(found.scalars["contrastive_loss"]) * found.count == pytest.approx(
        float(theirs.contrastive_loss), rel=1e-5
    )
    assert float(found.loss) == pytest.approx(float(theirs.loss), rel=1e-5)

    theirs.loss.backward()
    found.loss.backward()
    for a, b in names.items():
        if "pos_conv" in a or a.endswith("key.bias"):  # weight norm splits the first; the second's gradient is 0
            continue
        expected = operator.attrgetter(b)(oracle).grad
        assert_close(operator.attrgetter(a)(ours).grad, expected, tolerance=1e-4, what=a, floor=1e-6)
    assert_close(ours.quantizer.codebook.grad.flatten(0, 1)[None], oracle.quantizer.codevectors.grad, tolerance=1e-4,
                 what="codebook")  # fmt: skip


def without_noise(logits: Tensor, tau: float = 1, hard: bool = False) -> Tensor:
    soft = (logits / tau).softmax(-1)
    return torch.nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]) + (soft - soft.detach())

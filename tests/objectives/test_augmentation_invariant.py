"""CTC without blanks against all its paths; what the network learns from changed speech."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from speechssl import encoders, objectives
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import ConfigError
from speechssl.objectives.augmentation_invariant import sequence_loss
from speechssl.training import codebook
from tests.encoders import tiny
from tests.objectives.test_contract import make_batch
from tests.objectives.tiny import ENCODER, TINY

CASE = TINY["augmentation_invariant"][0]


def all_paths(logits: Tensor, target: Tensor) -> Tensor:
    """-log of the probability of every sequence of frames that merges to the target, one by one, float64."""
    log_probs = logits.double().log_softmax(-1)
    total = log_probs.new_zeros(())
    for path in product(range(logits.shape[1]), repeat=len(logits)):
        if torch.equal(torch.unique_consecutive(torch.tensor(path)), target):
            total = total + log_probs[torch.arange(len(path)), torch.tensor(path)].sum().exp()
    return -total.log()


@pytest.mark.parametrize("target", [[1], [0, 2], [2, 0, 2], [0, 1, 0, 1, 2]])
def test_the_loss_is_over_all_paths_that_merge_to_the_labels(target: list[int]) -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    oracle = all_paths(logits, torch.tensor(target))
    (expected,) = torch.autograd.grad(oracle, logits)
    loss = sequence_loss(logits[None], torch.tensor([5]), [torch.tensor(target)])
    torch.testing.assert_close(loss, oracle.float()[None], rtol=1e-4, atol=1e-5)
    (found,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_two_frames_and_two_labels_have_one_path() -> None:
    """By hand: logits 0 for three units, so each of the two frames has 1/3."""
    loss = sequence_loss(torch.zeros(1, 2, 3), torch.tensor([2]), [torch.tensor([2, 0])])
    torch.testing.assert_close(loss, torch.tensor([9.0]).log())


def test_too_few_frames_or_no_labels_cost_nothing() -> None:
    logits = torch.zeros(2, 2, 3, requires_grad=True)
    loss = sequence_loss(logits, torch.tensor([2, 2]), [torch.tensor([2, 0, 1]), torch.tensor([], dtype=torch.int64)])
    loss.sum().backward()
    assert loss.tolist() == [0, 0] and logits.grad is not None and not logits.grad.any()


def make(**settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return objectives.build("augmentation_invariant", encoders.build("hubert", ENCODER), settings, num_labels=7)


def test_labels_count_by_the_recording_as_it_was() -> None:
    """A stretched utterance has the labels of the whole crop, and no more."""
    objective, batch = make(hidden=()), make_batch(CASE)
    assert objective(batch).count == sum(len(target) for target in objective._targets(batch))
    shorter = replace(
        batch, wav=batch.wav[:, :9000], lengths=batch.lengths.clamp(max=9000), source_lengths=batch.lengths
    )
    assert objective(shorter).count == objective(batch).count
    cut = replace(batch, source_lengths=batch.lengths // 2)
    assert objective(cut).count < objective(batch).count


def test_utterances_that_are_too_short_for_their_labels_are_counted() -> None:
    objective, batch = make(), make_batch(CASE)
    lengths = torch.tensor([400, *batch.lengths[1:].tolist()])
    outcome = objective(replace(batch, lengths=lengths, source_lengths=batch.lengths))
    assert float(outcome.scalars["too_short"]) == pytest.approx(1 / 3)
    assert outcome.loss.isfinite()


def test_the_encoder_stays_as_it_is() -> None:
    objective = make().train()
    objective(make_batch(CASE)).loss.backward()
    assert all(p.grad is None for p in objective.encoder.parameters())
    assert objective.linears.training and not objective.encoder.training


def test_the_quantizer_gives_the_units_that_the_objective_predicts() -> None:
    objective, batch = make(layer=1), make_batch(CASE)
    encoder = Pretrained(objective.encoder, EncoderCard("hubert", ENCODER))
    trained = codebook.network(encoder, objective.state_dict(), layer=1)
    layers, counts = objective.encoder.layers(batch.wav, batch.lengths)
    assert trained.layer == 1
    frames = torch.cat([x[:count] for x, count in zip(layers[1], counts.tolist(), strict=True)])
    assert torch.equal(trained.quantizer.encode(frames), objective(batch).codes)


@pytest.mark.parametrize("family, encoder", [("hubert", ENCODER), ("wav2vec2", {**tiny.LARGE, "num_layers": 2})])
def test_a_hubert_head_gives_the_units_that_the_objective_predicts(family: str, encoder: dict[str, object]) -> None:
    """Of a model with norms after its blocks, and of one with norms before them."""
    torch.manual_seed(0)
    settings = {"code_dim": 8, "masked_weight": 0.0, "unmasked_weight": 1.0,
                "masking": {"time": {"share": 0.0, "min_spans": 0}}}  # fmt: skip
    objective = objectives.build("hubert", encoders.build(family, encoder), settings, num_labels=7).eval()
    batch = make_batch(TINY["hubert"][0])
    trained = codebook.head(Pretrained(objective.encoder, EncoderCard(family, encoder)), objective.state_dict(),
                            temperature=0.1)  # fmt: skip
    layers, _ = objective.encoder.layers(batch.wav, batch.lengths)
    frames = layers[2][batch.labels[:, : layers[2].shape[1]] >= 0]
    assert trained.layer == 2 and torch.equal(trained.quantizer.encode(frames), objective(batch).codes)
    assert len(trained.quantizer.encode(frames).unique()) > 1


def test_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"layers 0\.\.2"):
        make(layer=3)

"""The transducer as an objective: against its own parts, utterance by utterance."""

import math
from dataclasses import replace

import pytest
import torch

from speechssl.data.batch import Batch
from speechssl.decoders.transducer import greedy
from speechssl.errors import ConfigError, DataError
from speechssl.nn.ctc_loss import ctc_losses
from speechssl.nn.transducer_loss import transducer_losses
from speechssl.objectives.transducer import Config
from tests.encoders import tiny as encoders
from tests.objectives.test_contract import build, make_batch
from tests.objectives.test_contract import rows as alone
from tests.objectives.tiny import TINY, Case

PLAIN, WITH_CTC = TINY["transducer"]
NONE = {"share": 0.0, "min_spans": 0}


def test_the_loss_is_the_transducers_and_the_weighted_one_of_ctc_utterance_by_utterance() -> None:
    objective, batch = build("transducer", WITH_CTC).eval(), make_batch(WITH_CTC)
    assert batch.targets is not None
    found = objective(batch)
    wanted = 0.0
    with torch.no_grad():
        for row in range(3):
            one = alone(batch, row)
            assert one.targets is not None
            targets = one.targets[:, : int((one.targets >= 0).sum())]
            states, lengths = objective.states(one)
            frames = objective.head(states, lengths)
            model = objective.transducer
            logits = model.join(frames[:, :, None], model.predictions(targets)[:, None])
            log_probs = objective.ctc(frames).log_softmax(-1)
            wanted += float(transducer_losses(logits.double(), lengths, targets, blank=0))
            wanted += 0.3 * float(ctc_losses(log_probs, lengths, targets, blank=0)[0])
    assert float(found.loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert found.count == int((batch.targets >= 0).sum())
    parts = float(found.scalars["transducer_loss"]) + 0.3 * float(found.scalars["ctc_loss"])
    assert parts * found.count == pytest.approx(wanted, rel=1e-5)


def test_what_greedy_decoding_writes_has_no_errors_as_targets() -> None:
    objective, batch = build("transducer", PLAIN).eval(), make_batch(PLAIN)
    with torch.no_grad():
        states, lengths = objective.states(batch)
        written = greedy(objective.transducer, objective.head(states, lengths), lengths)
    targets = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(text.ids) for text in written], batch_first=True, padding_value=-1
    )
    assert (targets >= 0).any(1).all()
    assert objective(replace(batch, targets=targets)).scalars["token_error_rate"] == 0
    targets[0, 0] = 1 + targets[0, 0] % 4
    found = objective(replace(batch, targets=targets)).scalars["token_error_rate"]
    assert found == pytest.approx(1 / int((targets >= 0).sum()))


def test_without_ctc_four_utterances_of_tones_are_learned_by_heart() -> None:
    """Texts of the same length and symbols: what is said must come from the encoder."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(1, 5, (4, 4), generator=generator)
    phase = torch.cumsum(2 * math.pi * (200 + 400 * targets).repeat_interleave(1600, 1) / 16000, 1)
    wav = 0.3 * phase.sin() + 0.01 * torch.randn(4, 6400, generator=generator)
    batch = Batch(wav, torch.full((4,), 6400), torch.arange(4), tuple("abcd"), targets=targets)
    unmasked = {"gradient": 1.0, "time": NONE, "channels": NONE}
    settings = {"num_symbols": 5, "shape": {"prediction": "lstm", "dim": 32, "joint": 32, "dropout": 0.0},
                "masking": unmasked, "head": {"kind": "tdnn", "dim": 32}}  # fmt: skip
    objective = build("transducer", Case(settings, "tdnn", encoders.TINY["tdnn"][0])).train()
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    for step in range(1, 301):
        optimizer.zero_grad()
        (objective(batch).loss / 16).backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 5.0)
        optimizer.step()
        if step % 25 == 0:
            found = objective.eval()(batch)
            objective.train()
            if float(found.loss.detach()) / 16 < 0.1 and found.scalars["token_error_rate"] == 0:
                return
    raise AssertionError(f"{float(found.loss.detach()) / 16:.2f} nats a symbol are left, errors: {found.scalars}")


def test_gradients_reach_encoder_predictor_and_joiner_and_a_frozen_encoder_gets_none() -> None:
    """Bit by bit the contract suite has it; here by parts, and while the encoder is frozen."""
    for freeze in (0, 5):
        objective = build("transducer", replace(PLAIN, settings={**PLAIN.settings, "freeze_updates": freeze}))
        objective.train()(make_batch(PLAIN)).loss.backward()
        model = objective.transducer
        for part in (model.embedding, model.lstm, model.projection, model.output, objective.head):
            assert sum(float(p.grad.abs().sum()) for p in part.parameters()) > 0
        reached = any(p.grad is not None for p in objective.encoder.parameters())
        assert reached == (freeze == 0) and objective.skips_parameters == (freeze > 0)


def test_ctc_alone_starts_and_the_transducer_follows() -> None:
    case = replace(WITH_CTC, settings={**WITH_CTC.settings, "ctc_start": 3})
    objective, batch = build("transducer", case).train(), make_batch(case)
    assert objective.skips_parameters
    for step, transducer in ((2, False), (3, True)):
        objective.zero_grad()
        objective.after_step(step)
        found = objective(batch)
        found.loss.backward()
        assert ("transducer_loss" in found.scalars) == transducer
        wanted = 0.3 * float(found.scalars["ctc_loss"]) + float(found.scalars.get("transducer_loss", 0.0))
        assert float(found.loss.detach()) == pytest.approx(wanted * found.count, rel=1e-5)
        moved = [p.grad is not None and bool(p.grad.any()) for p in objective.transducer.parameters()]
        assert all(moved) if transducer else not any(moved)
        assert objective.ctc.weight.grad.any() and any(p.grad is not None for p in objective.head.parameters())
    objective.after_step(0)
    assert "transducer_loss" in objective.eval()(batch).scalars


def test_a_batch_without_texts_is_an_error() -> None:
    with pytest.raises(DataError, match="transducer needs the text"):
        build("transducer", PLAIN)(replace(make_batch(PLAIN), targets=None))


@pytest.mark.parametrize(
    "values", [{"num_symbols": 1}, {"blank": 5}, {"ctc_weight": -0.1}, {"freeze_updates": -1}, {"ctc_start": 5}]
)
def test_settings_that_write_nothing_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Config(**{"num_symbols": 5, **values})

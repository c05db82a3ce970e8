"""CTC's prefix probabilities against the sum over all alignments, and joint decoding against all label sequences."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.decoders.search import Search
from speechssl.decoders.token_scorers import CTCPrefix, decode
from speechssl.decoders.transformer import Config
from speechssl.errors import ConfigError
from tests.decoders.test_transformer import frames_of, model


def label_probabilities(log_probs: Tensor, blank: int) -> dict[tuple[int, ...], float]:
    """p(labels) by summing over every alignment of [S, V + 1]."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        labels = tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)
        p = math.exp(sum(float(log_probs[s, symbol]) for s, symbol in enumerate(path)))
        found[labels] = found.get(labels, 0.0) + p
    return found


@pytest.mark.parametrize(("blank", "symbols", "num_symbols"), [(0, (1, 2), 3), (2, (0, 1), 2), (2, (0, 1), 3)])
def test_prefix_scores_sum_over_all_alignments(blank: int, symbols: tuple[int, ...], num_symbols: int) -> None:
    lengths = torch.tensor([5, 3])
    log_probs = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    truth = [label_probabilities(log_probs[row, :n], blank) for row, n in enumerate(lengths.tolist())]
    spoilt = log_probs.clone()
    spoilt[1, 3:] = 5.0
    scorer = CTCPrefix(spoilt, lengths, blank=blank, num_symbols=num_symbols)
    prefixes: list[tuple[int, ...]] = [()]
    for _ in range(4):  # every prefix of up to three symbols, all as hypotheses beside one another
        total = scorer.prefix.unsqueeze(-1) + scorer.step(torch.zeros(2, len(prefixes), dtype=torch.int64))
        for row, probabilities in enumerate(truth):
            for place, prefix in enumerate(prefixes):
                assert math.exp(total[row, place, num_symbols]) == pytest.approx(
                    probabilities.get(prefix, 0.0), abs=1e-12
                )
                for symbol in symbols:
                    longer = (*prefix, symbol)
                    expected = sum(p for labels, p in probabilities.items() if labels[: len(longer)] == longer)
                    assert math.exp(total[row, place, symbol]) == pytest.approx(expected, abs=1e-12)
        parents = torch.arange(len(prefixes)).repeat_interleave(2).expand(2, -1)
        tokens = torch.tensor(symbols).repeat(len(prefixes)).expand(2, -1)
        scorer.follow(parents, tokens)
        prefixes = [(*prefix, symbol) for prefix in prefixes for symbol in symbols]


def test_a_long_utterance_ends_with_torchs_ctc_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    log_probs = (8 * torch.randn(1, 700, 30, dtype=torch.float64, generator=generator)).log_softmax(-1)
    labels = torch.randint(1, 30, (1, 90), generator=generator)
    labels[0, 10] = labels[0, 11]
    loss = F.ctc_loss(log_probs.transpose(0, 1), labels, torch.tensor([700]), torch.tensor([90]), reduction="sum")
    scorer = CTCPrefix(log_probs, torch.tensor([700]), blank=0, num_symbols=30)
    for symbol in labels[0].tolist():
        scorer.step(torch.zeros(1, 1))
        scorer.follow(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[symbol]]))
    end = scorer.step(torch.zeros(1, 1))[0, 0, -1] + scorer.prefix[0, 0]
    assert float(end) == pytest.approx(-float(loss), rel=1e-9)


def test_joint_decoding_finds_the_best_label_sequence() -> None:
    decoder = model(Config(2, dim=8, ffn_dim=8, num_layers=1, num_heads=2, max_positions=9), 4)
    frames, _ = frames_of(4, dim=4)
    log_probs = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(7)).log_softmax(-1)
    by_ctc = label_probabilities(log_probs[0].double(), blank=2)
    expected = []
    for size in range(1, 5):
        for tokens in itertools.product(range(2), repeat=size - 1):
            whole = [*tokens, 2]
            scores = decoder(torch.tensor([[2, *tokens]]), frames).detach().double().log_softmax(-1)[0]
            attention = float(scores.gather(1, torch.tensor(whole).unsqueeze(1)).sum())
            if tokens in by_ctc:
                expected.append(((0.6 * attention + 0.4 * math.log(by_ctc[tokens])) / size, tokens))
    expected.sort(reverse=True)
    chosen = Search(beam=40, num_best=8, max_tokens=5, stop="never")
    (found,) = decode(decoder, frames, torch.tensor([4]), chosen, ctc_log_probs=log_probs, ctc_weight=0.4,
                      blank=2)  # fmt: skip
    found = [h for h in found if len(h.tokens) < 4]
    for hypothesis, (score, tokens) in zip(found, expected, strict=False):
        assert hypothesis.tokens == tokens and hypothesis.score == pytest.approx(score, abs=1e-5)
    assert len(found) >= 3
    with pytest.raises(ConfigError, match="3 outputs do not fit 5 symbols"):
        CTCPrefix(log_probs, torch.tensor([4]), blank=2, num_symbols=5)


def test_joint_decoding_batched_equals_one_by_one_and_impossible_labels_never_come() -> None:
    decoder = model()
    frames, lengths = frames_of(6, 2, 4)
    log_probs = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    chosen = Search(beam=4, num_best=4, max_tokens=9)
    together = decode(decoder, frames, lengths, chosen, ctc_log_probs=log_probs, ctc_weight=0.5, blank=7)
    for row, n in enumerate(lengths.tolist()):
        (alone,) = decode(decoder, frames[row : row + 1, :n], lengths[row : row + 1], chosen,
                          ctc_log_probs=log_probs[row : row + 1, :n], ctc_weight=0.5, blank=7)  # fmt: skip
        assert [h.tokens for h in alone] == [h.tokens for h in together[row]]
        assert [h.score for h in alone] == pytest.approx([h.score for h in together[row]], abs=1e-5)
        for h in together[row]:
            needed = len(h.tokens) + sum(a == b for a, b in itertools.pairwise(h.tokens))
            assert needed <= n and math.isfinite(h.score)

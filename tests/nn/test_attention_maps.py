"""Attention weights against those that transformers writes down, and against the attention's own output."""

import pytest
import torch

from speechssl.nn.attention import Attention, merge_heads, split_heads
from speechssl.nn.attention_maps import attention_maps, num_maps
from tests.encoders.families import small_pair
from tests.encoders.parity import waves

ALONE = [("wav2vec2", "base"), ("hubert", "base"), ("data2vec_audio", "base"), ("wavlm", "base"), ("sew", "tiny"),
         ("sew_d", "tiny")]  # fmt: skip
PADDED = [("hubert", "large-conv-bias"), ("wavlm", "large")]  # of which transformers' padding changes nothing


@pytest.mark.parametrize(
    ("family", "name", "padded"), [*((*case, False) for case in ALONE), *((*case, True) for case in PADDED)]
)
def test_they_equal_output_attentions(family: str, name: str, padded: bool) -> None:
    pair = small_pair(family, name, torch.float64)
    assert pair.masks_right or not padded
    wav, lengths = waves(torch.float64)
    if not padded:
        wav, lengths = wav[1:2], lengths[1:2]
    mask = (torch.arange(wav.shape[1]) < lengths.unsqueeze(1)).long() if padded else None
    with torch.inference_mode():
        theirs = pair.oracle(wav, attention_mask=mask, output_attentions=True).attentions
        ours = attention_maps(pair.model, lambda: pair.model.layers(wav, lengths))
        _, counts = pair.model.layers(wav, lengths)
    assert len(ours) == len(theirs) == num_maps(pair.model)
    for mine, other in zip(ours, theirs, strict=True):
        for one, expected, count in zip(mine, other, counts.tolist(), strict=True):
            # of WavLM transformers gives the mean over heads, for every head
            compared = one.mean(0, keepdim=True) if family == "wavlm" else one
            assert float((compared[:, :count] - expected[:, :count]).abs().max()) < 1e-9
            assert one[:, :count].sum(-1) == pytest.approx(1) and not one[:, :count, count:].any()


def test_queries_taken_a_few_at_a_time_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = small_pair("wavlm", "base", torch.float64)
    wav, lengths = waves(torch.float64)
    whole = attention_maps(pair.model, lambda: pair.model.layers(wav, lengths))
    monkeypatch.setattr("speechssl.nn.relative_bias._QUERIES", 7)
    pieces = attention_maps(pair.model, lambda: pair.model.layers(wav, lengths))
    for a, b in zip(whole, pieces, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_they_are_what_values_are_weighed_by_and_the_module_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    attention, x = Attention(8, 2).double().eval(), torch.randn(2, 5, 8, dtype=torch.float64)
    keys = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    outputs: list[torch.Tensor] = []
    [found] = attention_maps(attention, lambda: outputs.append(attention(x, keys)))
    weighed = attention.out(merge_heads(found @ split_heads(attention.value(x), 2)))
    assert torch.allclose(weighed, outputs[0], atol=1e-12) and torch.equal(outputs[0], attention(x, keys))
    assert "weigh" not in vars(attention)
    with pytest.raises(ZeroDivisionError):
        attention_maps(attention, lambda: 1 / 0)
    assert "weigh" not in vars(attention)

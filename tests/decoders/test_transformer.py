"""The decoder: equal to transformers' on random weights, and step by step to what it gives at once."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.decoders.transformer import Config, Model, shifted, with_end
from speechssl.errors import ConfigError, DataError
from speechssl.nn.decoder_blocks import DecoderBlock
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.positional import sinusoids
from tests.decoders.hf import renamed, speech_to_text

SMALL = Config(7, dim=16, ffn_dim=24, num_layers=2, num_heads=4, max_positions=50)


def frames_of(*lengths: int, dim: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(len(lengths), max(lengths), dim, generator=generator), torch.tensor(lengths)


def model(config: Config = SMALL, memory_dim: int = 12) -> Model:
    torch.manual_seed(1)
    made = Model(config, memory_dim).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def test_scores_and_gradients_equal_those_of_transformers() -> None:
    theirs, ours = speech_to_text(9)
    tokens = torch.randint(9, (2, 5), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 9
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    one, two = (torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    layer = theirs.model.decoder.layers[0]
    padded = torch.where(valid, 0.0, -math.inf)[:, None, None].expand(2, 1, 5, 6)
    causal = torch.full((5, 5), -math.inf).triu(1).expand(2, 1, 5, 5)
    x = torch.randn(2, 5, 16)
    expected = layer(x, causal, one, padded, use_cache=False)[0]  # a block, where some frames are padding
    torch.testing.assert_close(ours.layers[0](x, two, valid[:, None, None]), expected, rtol=1e-4, atol=1e-5)
    hidden = theirs.model.decoder(input_ids=tokens, encoder_hidden_states=one, use_cache=False)[0]
    scores = ours(tokens, two)
    torch.testing.assert_close(theirs.lm_head(hidden)[..., :-1], scores, rtol=1e-4, atol=1e-4)
    weights = torch.randn_like(scores)
    (gradient,) = torch.autograd.grad((theirs.lm_head(hidden)[..., :-1] * weights).sum(), one)
    (own,) = torch.autograd.grad((scores * weights).sum(), two)
    torch.testing.assert_close(gradient, own, rtol=1e-3, atol=1e-3)


def test_a_post_norm_block_equals_that_of_bart_with_gradients() -> None:
    from transformers import BartConfig
    from transformers.models.bart.modeling_bart import BartDecoderLayer

    torch.manual_seed(0)
    config = BartConfig(d_model=16, decoder_attention_heads=4, decoder_ffn_dim=24, dropout=0.0, activation_dropout=0.0,
                        attention_dropout=0.0, activation_function="gelu")  # fmt: skip
    config._attn_implementation = "eager"
    theirs = BartDecoderLayer(config, layer_idx=0).double()
    ours = DecoderBlock(dim=16, ffn_dim=24, num_heads=4, memory_dim=16, norm_first=False, activation=F.gelu).double()
    ours.load_state_dict(renamed(theirs.state_dict()))
    x, frames = torch.randn(2, 5, 16).double(), torch.randn(2, 7, 16).double()
    causal = torch.full((5, 5), -math.inf, dtype=torch.float64).triu(1).expand(2, 1, 5, 5)
    given = [(x.clone().requires_grad_(), frames.clone().requires_grad_()) for _ in range(2)]
    one = theirs(given[0][0], causal, given[0][1], use_cache=False)[0]
    two = ours(*given[1])
    torch.testing.assert_close(one, two)
    weights = torch.randn_like(one)
    gradients = [torch.autograd.grad((y * weights).sum(), pair) for y, pair in zip((one, two), given, strict=True)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("config", [SMALL, Config(7, dim=16, ffn_dim=24, num_layers=3, num_heads=2, norm_first=False,
                                                  positions="learned", tied=False, max_positions=50)])  # fmt: skip
def test_step_by_step_equals_all_at_once_and_batched_equals_alone(config: Config) -> None:
    decoder = model(config)
    frames, lengths = frames_of(6, 3, 1)
    tokens = torch.randint(8, (3, 37), generator=torch.Generator().manual_seed(2))  # a Past begins with fewer places
    whole = decoder(tokens, frames, lengths)
    state = decoder.start(frames, lengths, width=1)
    steps = torch.cat([decoder.step(tokens[:, t : t + 1], state) for t in range(37)], 1)
    torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-4)
    for row, length in enumerate(lengths.tolist()):
        alone = decoder(tokens[row : row + 1], frames[row : row + 1, :length])
        torch.testing.assert_close(alone[0], whole[row], rtol=1e-4, atol=1e-4)


def test_hypotheses_that_part_and_die_keep_their_own_past() -> None:
    """Random parents at every step, and utterances that end: each hypothesis scores as its own tokens alone do.

    Long enough for pasts to be merged, again and again.
    """
    decoder, generator = model(), torch.Generator().manual_seed(3)
    frames, lengths = frames_of(5, 4, 6)
    state, width = decoder.start(frames, lengths, width=3), 3
    tokens = torch.full((3, 1, 1), decoder.end)
    rows = torch.arange(3)
    decoder.step(tokens[:, :, -1], state)
    for step in range(45):
        parents = torch.randint(tokens.shape[1], (len(tokens), width), generator=generator)
        new = torch.randint(7, (len(tokens), width), generator=generator)
        tokens = torch.cat([tokens.gather(1, parents.unsqueeze(-1).expand(-1, -1, tokens.shape[2])),
                            new.unsqueeze(-1)], 2)  # fmt: skip
        state.follow(parents)
        if step == 5:
            kept = torch.tensor([0, 2])
            state.keep(kept)
            rows, tokens, new = rows[kept], tokens[kept], new[kept]
        scores = decoder.step(new, state)
        if step not in (0, 3, 5, 20, 44):
            continue
        for place, row in enumerate(rows.tolist()):
            for w in range(width):
                alone = decoder(tokens[place, w : w + 1], frames[row : row + 1, : int(lengths[row])])
                torch.testing.assert_close(scores[place, w], alone[0, -1], rtol=1e-4, atol=1e-4)
    assert state.places.shared > 0 and state.places.rows < 45 * 3 * 2 // 3, "one row for what hypotheses share"


def test_padding_and_later_tokens_change_nothing() -> None:
    decoder = model()
    frames, lengths = frames_of(6, 3)
    tokens = torch.randint(8, (2, 6), generator=torch.Generator().manual_seed(0))
    scores = decoder(tokens, frames, lengths)
    spoilt = frames.clone()
    spoilt[1, 3:] = 1e3
    later = tokens.clone()
    later[:, 4:] = 0
    torch.testing.assert_close(decoder(tokens, spoilt, lengths), scores)
    torch.testing.assert_close(decoder(later, frames, lengths)[:, :4], scores[:, :4])
    assert decoder(tokens, frames, torch.tensor([6, 0])).isfinite().all(), "an utterance without frames"


def test_a_language_model_is_a_decoder_without_frames() -> None:
    decoder = model(memory_dim=0)
    tokens = torch.randint(8, (2, 5), generator=torch.Generator().manual_seed(0))
    whole = decoder(tokens)
    state = decoder.start(None, batch=2)
    steps = torch.cat([decoder.step(tokens[:, t : t + 1], state) for t in range(5)], 1)
    torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="frames"):
        decoder(tokens, torch.zeros(2, 3, 12))


def test_tied_weights_are_one() -> None:
    decoder = model()
    x = torch.randn(1, 3, 16)
    assert decoder.output is None
    torch.testing.assert_close(decoder.scores(x), decoder.norm(x) @ decoder.embedding.weight.T)


def test_sinusoids_by_hand() -> None:
    found = sinusoids(2, 4, first=3)
    expected = [[math.sin(3), math.sin(3e-4), math.cos(3), math.cos(3e-4)],
                [math.sin(4), math.sin(4e-4), math.cos(4), math.cos(4e-4)]]  # fmt: skip
    torch.testing.assert_close(found, torch.tensor(expected))


def test_targets_get_their_end_and_their_start() -> None:
    targets, lengths = with_end(torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1]), 9)
    assert targets.tolist() == [[1, 2, 3, 9], [4, 9, 9, 9]] and lengths.tolist() == [4, 2]
    assert shifted(targets, 9).tolist() == [[9, 1, 2, 3], [9, 4, 9, 9]]


def test_dropout_reaches_every_part() -> None:
    decoder = model().train()
    tokens, (frames, _) = torch.tensor([[7, 1, 2]]), frames_of(4)
    torch.testing.assert_close(decoder(tokens, frames), decoder(tokens, frames))
    for part in ("residual", "attention", "activation"):
        set_dropout(decoder, Dropout(**{**dict.fromkeys(("residual", "attention", "activation", "layer"), 0.0),
                                        part: 0.5}))  # fmt: skip
        assert not torch.equal(decoder(tokens, frames), decoder(tokens, frames)), part


def test_impossible_sizes_and_too_many_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_heads"):
        Config(7, dim=10, num_heads=4)
    with pytest.raises(DataError, match="max_positions=50"):
        model()(torch.zeros(1, 51, dtype=torch.int64), frames_of(3)[0])

"""What lies inside an encoder, as an encoder of its own: the front end, and what blocks' feed-forward networks give."""

from typing import Any

import pytest
import torch

from speechssl import encoders
from speechssl.encoders import feed_forward, front_end
from speechssl.encoders.pretrained import EncoderCard, Pretrained, build_empty
from speechssl.errors import ConfigError
from tests.encoders.parity import randomize
from tests.encoders.tiny import TINY
from tests.objectives.teachers import blocks, make, make_batch, normalised

LAYOUTS = [("wav2vec2", 0), ("wav2vec2", 1), ("wav2vec2", 2), ("hubert", 2), ("sew", 0), ("sew_d", 0), ("tdnn", 0),
           ("tdnn", 1), ("melhubert", 1), ("data2vec_audio", 0)]  # fmt: skip


@pytest.mark.parametrize(("family", "case"), LAYOUTS)
def test_a_front_end_is_what_enters_the_encoders_projection(family: str, case: int) -> None:
    encoder = encoders.build(family, TINY[family][case]).eval()
    randomize(encoder)
    seen: list[torch.Tensor] = []
    encoder.projection.linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    wav = torch.randn(2, 9000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([9000, 5000])
    with torch.no_grad():
        encoder(wav, lengths)
        ours, counts = front_end.part_of(encoder)(wav, lengths)
    for mine, theirs, n in zip(ours, seen[0], counts.tolist(), strict=True):
        assert n and torch.equal(mine[:n], theirs[:n])


@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_layers_are_the_normalised_feed_forward_outputs_of_a_slow_transformer(family: str) -> None:
    encoder = make("dinosr", {"top_layers": 2}, family).encoder.eval()
    model, batch = feed_forward.view_of(family, encoder).double(), make_batch()
    with torch.no_grad():
        layers, counts = model.layers(batch.wav, batch.lengths)
        for row, n in enumerate(counts.tolist()):
            x = encoder.frontend(batch.wav[row : row + 1, : int(batch.lengths[row])])[0]
            _, branches = blocks(encoder, (x + encoder.pos_conv(x))[0])
            assert n == len(branches[0]) and len(branches) == model.num_layers
            for layer, branch in zip(layers[1:], branches, strict=True):
                torch.testing.assert_close(layer[row, :n], normalised(branch), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("family", "case"), [("front_end", i) for i in range(3)] + [("feed_forward", 2)])
def test_long_recordings_in_windows_are_close_to_the_whole(family: str, case: int) -> None:
    encoder = encoders.build(family, TINY[family][case]).eval()
    randomize(encoder)
    pretrained = Pretrained(encoder, EncoderCard(family, TINY[family][case]))
    wav = torch.randn(80_000, generator=torch.Generator().manual_seed(1))
    parts = pretrained.features_long(wav, encoder.num_layers, window_s=2.0, overlap_s=0.3)
    whole = pretrained.features(wav, encoder.num_layers)
    assert parts.shape == whole.shape
    error = float((parts - whole).abs().mean() / whole.abs().mean())
    assert error < (1e-4 if family == "front_end" else 0.3), "statistics of windows are near those of the whole"


@pytest.mark.parametrize("values", [
    {"family": "feed_forward"}, {"family": "feed_forward", "encoder": {"family": "feed_forward"}}, {"family": "mfcc"},
    {"family": "cpc"},
    {"family": "sew", "encoder": TINY["sew"][0]}, {"family": "nothing"}, {"family": "hubert", "encoder": {"depth": 3}},
], ids=str)  # fmt: skip
def test_encoders_without_such_blocks_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        encoders.build("feed_forward", values)


def test_a_card_cannot_hide_a_million_blocks_in_an_encoder_within_another() -> None:
    with pytest.raises(ConfigError, match="more than any model has"):
        build_empty("feed_forward", {"family": "hubert", "encoder": {"num_layers": 10**6}})


@pytest.mark.parametrize("values", [
    {"conv_layers": []}, {"num_mels": 20}, {"conv_layers": [], "num_mels": 20, "conv_bias": True},
    {"conv_layers": [[8, 0, 1]]}, {"conv_layers": [], "num_mels": 20, "sample_rate": 16_001},
], ids=str)  # fmt: skip
def test_front_ends_that_cannot_be_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        encoders.build("front_end", values)
    with pytest.raises(ConfigError, match="front end"):
        front_end.part_of(encoders.build("mfcc", {}))

"""Hashes of stored models: what came later and has no effect leaves those of older ones alone."""

from dataclasses import replace

from speechssl.decoders import seq2seq, transformer
from speechssl.generation.stored import plain_decoder, plain_model
from speechssl.nn.adaptor import Config as Adaptor

DECODER = ("dim ffn_dim num_layers num_heads norm_first activation positions max_positions first_position "
           "scale_embedding tied")  # fmt: skip
ADAPTOR = ("kind strides kernel channels dim ffn_dim num_layers num_heads conv_kernel conv_norm num_blocks "
           "factors")  # fmt: skip


def test_a_config_of_the_first_version_is_hashed_as_then() -> None:
    config = seq2seq.Config(9, tasks=(seq2seq.Task("text", 5, "attention"),))
    plain = plain_model(config)
    assert set(plain["decoder"]) == set(DECODER.split()) == set(plain["tasks"][0]["decoder"])
    assert set(plain["adaptor"]) == set(ADAPTOR.split())
    assert set(plain_decoder(transformer.Config(9))) == {"num_symbols", *DECODER.split()}


def test_what_came_later_is_hashed_where_it_has_an_effect() -> None:
    config = seq2seq.Config(9)
    changed = [replace(config, decoder=seq2seq.DecoderShape(stack=2)), replace(config, adaptor=Adaptor(scale=False)),
               replace(config, decoder=seq2seq.DecoderShape(silent=3)),
               replace(config, adaptor=Adaptor(first_position=2))]  # fmt: skip
    assert all(plain_model(one) != plain_model(config) for one in changed)

"""Units as they come to samples: equal to all at once, as early as can be, and no earlier."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.errors import DataError
from speechssl.vocoders.stream import Stream
from tests.vocoders.test_unit_vocoder import GENERATORS, ids, make


@given(st.sampled_from(sorted(GENERATORS)), st.lists(st.integers(0, 40), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_however_units_are_divided_the_samples_are_those_of_one_pass(kind: str, sizes: list[int]) -> None:
    vocoder, units = make(kind), ids(max(1, sum(sizes)))
    stream = Stream(vocoder)
    parts = [stream.feed(part) for part in units.split([*sizes, len(units) - sum(sizes)])]
    wav = torch.cat([*parts, stream.finish()])
    torch.testing.assert_close(wav.double(), vocoder.synthesize(units), atol=1e-10, rtol=0)


def test_a_sample_comes_as_soon_as_no_later_unit_can_change_it() -> None:
    vocoder = make("wave", ("anna", "bob"))
    stream = Stream(vocoder, speaker=1)
    right = vocoder.generator.reach[1]
    assert stream.latency_s == right / 800
    assert [len(stream.feed(ids(1))) for _ in range(right + 2)] == [0] * right + [vocoder.hop] * 2


def test_what_cannot_be_spoken_is_refused_as_it_comes() -> None:
    with pytest.raises(DataError, match="no units"):
        Stream(make()).finish()
    with pytest.raises(DataError, match="unit 9 is unknown"):
        Stream(make()).feed(torch.tensor([9]))
    with pytest.raises(DataError, match="2 speakers"):
        Stream(make("wave", ("anna", "bob"))).feed(ids(3))

"""Every family against its `transformers` model with the same random weights. The cases: `families.py`."""

import pytest
import torch

from tests.encoders.families import FAMILIES, small_pair
from tests.encoders.parity import check_gradients, check_padded, check_single

CASES = [(family, name) for family, cases in FAMILIES.items() for name in sorted(cases.small)]
DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("family", "name"), CASES)
def test_all_layers_equal_transformers(family: str, name: str, dtype: torch.dtype) -> None:
    check_single(small_pair(family, name, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("family", "name"), CASES)
def test_padded_layers_equal_transformers_alone_and_in_its_batch_where_that_masks_right(
    family: str, name: str, dtype: torch.dtype
) -> None:
    check_padded(small_pair(family, name, dtype))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("family", "name", "dtype"),
    [(family, name, dtype) for family, name in CASES for dtype in FAMILIES[family].gradients],
)
def test_gradients_equal_transformers(family: str, name: str, dtype: torch.dtype, padded: bool) -> None:
    check_gradients(small_pair(family, name, dtype), padded=padded)


@pytest.mark.large
@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family in FAMILIES for name in FAMILIES[family].full_size]
)
def test_full_size_equals_transformers(family: str, name: str) -> None:
    check_padded(FAMILIES[family].pair(FAMILIES[family].full_size[name], torch.float32))

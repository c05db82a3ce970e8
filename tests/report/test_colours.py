"""Colours of units."""

import numpy as np
import pytest

from speechssl.report.colours import ink, unit_colours


def luminance(colour: str) -> float:
    values = [int(colour.lstrip("#")[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("codebook", [None, np.random.default_rng(0).standard_normal((500, 39)).astype(np.float32)])
def test_numbers_on_units_can_be_read(codebook: np.ndarray | None) -> None:
    for colour in unit_colours(500, codebook):
        light, dark = sorted((luminance(colour), 1.0 if ink(colour) == "#fff" else 0.0), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG AA


def test_similar_units_have_similar_colours() -> None:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((10, 12)) * 10
    codebook = (np.repeat(centres, 20, axis=0) + 0.01 * rng.standard_normal((200, 12))).astype(np.float32)
    rgb = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in unit_colours(200, codebook)], float)
    groups = rgb.reshape(10, 20, 3)
    within = np.linalg.norm(groups - groups.mean(1, keepdims=True), axis=2).mean()
    between = np.linalg.norm(groups.mean(1) - rgb.mean(0), axis=1).mean()
    assert within < 0.4 * between


def test_colours_do_not_depend_on_the_sign_of_a_component_and_repeat() -> None:
    codebook = np.random.default_rng(2).standard_normal((64, 8)).astype(np.float32)
    assert unit_colours(64, codebook) == unit_colours(64, codebook.copy())
    assert unit_colours(3, np.eye(2, dtype=np.float32)) == unit_colours(3)  # a codebook that does not fit is not used
    assert unit_colours(1) and unit_colours(1, np.zeros((1, 39), np.float32))

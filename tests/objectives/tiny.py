"""Small settings of every objective: a new one goes here, and the contract suite finds it."""

from dataclasses import dataclass, field
from typing import Any

from tests.encoders import tiny as encoders

NUM_LABELS = 7
ENCODER: dict[str, Any] = {**encoders.BASE, "num_layers": 2}
LARGE: dict[str, Any] = {**encoders.LARGE, "num_layers": 2}


@dataclass(frozen=True)
class Case:
    """How to build a small objective, and what its contract is excused from, with the reason in a comment there."""

    settings: dict[str, Any] = field(default_factory=dict)
    family: str = "hubert"
    encoder: dict[str, Any] = field(default_factory=lambda: ENCODER)
    labels: bool = False
    additive: bool = True  # the loss of a batch is the sum over its utterances
    lr: float = 3e-3  # for overfitting one batch
    falls_to: float = 0.5  # the share of its first loss that it must get below when one batch is overfitted


TINY: dict[str, list[Case]] = {
    "hubert": [
        Case({"code_dim": 8, "masking": {"gradient": 1.0}}, labels=True),
        Case({"code_dim": 8, "unmasked_weight": 0.5, "masking": {"channels": {"share": 0.3}}}, labels=True),
    ],
    "wav2vec2": [
        # the diversity loss is about all frames of a batch together
        Case({"dim": 8, "entries": 5, "negatives": 6}, family="wav2vec2", additive=False),
        Case({"dim": 8, "entries": 5, "negatives": 6, "diversity": 0.0}, family="wav2vec2", encoder=LARGE),
    ],
}

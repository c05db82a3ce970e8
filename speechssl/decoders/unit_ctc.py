"""A recogniser of units: embeddings, an adaptor of transformer, conformer or zipformer blocks, scores of symbols.

Units or codec tokens are all it sees (Codec-ASR, arXiv:2407.03495; arXiv:2309.07377). B utterances, T units, G
streams, V symbols.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.adaptor import Adaptor
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.unit_input import Augmentation, UnitInput


@dataclass(frozen=True)
class Config:
    """All of it."""

    sizes: tuple[int, ...]  # V of each stream of units
    num_symbols: int  # of what is written, blank included
    blank: int = 0
    embedding: int = 256  # channels
    adaptor: AdaptorConfig = field(
        default_factory=lambda: AdaptorConfig("conformer", dim=256, ffn_dim=1024, num_heads=4)
    )
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuse what writes nothing."""
        if self.num_symbols < 2 or not 0 <= self.blank < self.num_symbols or self.embedding < 1:
            raise ConfigError(f"a recogniser of units needs num_symbols >= 2, a blank among them and an embedding, got "
                              f"{self.num_symbols}, {self.blank} and {self.embedding}")  # fmt: skip


class Model(nn.Module):
    """Units [B, T] or [B, T, G] to log probabilities [B, T', V]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.units = UnitInput(config.sizes, config.embedding, config.augmentation)
        self.adaptor = Adaptor(config.adaptor, config.embedding)
        self.output = nn.Linear(config.adaptor.dim, config.num_symbols)

    def states(self, units: Tensor, lengths: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The adaptor's output [B, T', D] and its counts [B]; seeds [B] decide what training changes."""
        return self.adaptor(self.units(units, lengths, seeds), lengths)

    def forward(self, units: Tensor, lengths: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log probabilities and counts [B]."""
        states, counts = self.states(units, lengths, seeds)
        return self.log_probs(states), counts

    def log_probs(self, states: Tensor) -> Tensor:
        """Of what `states` gave; float32."""
        return self.output(states).float().log_softmax(-1)

"""Foreign checkpoints to ours and back: dict to dict, one key table per model, nothing executed."""

from speechssl.convert.loading import load, load_encoder

__all__ = ["load", "load_encoder"]

"""Encoders rebuilt for inference on a CPU. `supports(encoder)`, `accelerate(encoder)`: see `encoder`."""

from speechssl.nn.fast.encoder import FastEncoder, accelerate, supports

__all__ = ["FastEncoder", "accelerate", "supports"]

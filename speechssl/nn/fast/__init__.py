"""Encoders rebuilt for inference on a CPU: the same features up to rounding, sooner. See `encoder`."""

from speechssl.nn.fast.encoder import FastEncoder, accelerate, supports, supports_kind

__all__ = ["FastEncoder", "accelerate", "supports", "supports_kind"]

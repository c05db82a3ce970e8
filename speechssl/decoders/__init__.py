"""Decoders: frames of an encoder to sequences of symbols."""

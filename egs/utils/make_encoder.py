#!/usr/bin/env python3
"""An encoder that nobody trained: MFCCs with other settings than the default, or a model with fresh weights.

make_encoder.py SETTINGS.toml OUT [FAMILY [SEED]]

FAMILY is a module of speechssl.encoders (default mfcc), SETTINGS the values of its Config, `preset` among them where it
has one. OUT is a folder that `speechssl ... --encoder OUT` takes.
"""

import sys
import tomllib
from pathlib import Path

import torch

from speechssl import config, encoders
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.nn.initialize import initialize


def main(settings: str, out: str, family: str = "mfcc", seed: str = "0") -> int:
    """Write the folder."""
    values = tomllib.loads(Path(settings).read_text(encoding="utf-8"))
    encoder = encoders.build(family, encoders.preset(family, values.pop("preset", None)) | values)
    initialize(encoder, torch.Generator().manual_seed(int(seed)))
    name = f"{family} ({Path(settings).name})"
    card = EncoderCard(family, config.to_dict(encoder.config), name=name, source="speechssl")
    pretrained.save(Path(out), Pretrained(encoder.eval(), card))
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4, 5):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

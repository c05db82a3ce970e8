#!/usr/bin/env python3
"""An MFCC encoder with other settings than the default: a folder that `speechssl ... --encoder FOLDER` takes.

make_encoder.py conf/mfcc.toml OUT
"""

import sys
from pathlib import Path

from speechssl import config
from speechssl.encoders import mfcc, pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained


def main(settings: str, out: str) -> int:
    """Write the folder."""
    chosen = config.load(mfcc.Config, Path(settings))
    card = EncoderCard("mfcc", config.to_dict(chosen), name=f"mfcc ({Path(settings).name})", source="speechssl")
    pretrained.save(Path(out), Pretrained(mfcc.Model(chosen), card))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

"""stub"""
from pathlib import Path
from speechssl.vocoders.mel_vocoder import MelVocoder
def load(folder: Path) -> MelVocoder:
    raise NotImplementedError

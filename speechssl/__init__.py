"""speechssl: speech self-supervised learning and discrete speech units.

The public names load on first use, so `import speechssl` costs next to nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Units": "speechssl.units.units",
    "Pretrained": "speechssl.encoders.pretrained",
    "load_codec": "speechssl.api",
    "load_encoder": "speechssl.api",
    "load_mel_decoder": "speechssl.api",
    "load_mel_vocoder": "speechssl.api",
    "load_recognizer": "speechssl.api",
    "load_text_to_units": "speechssl.api",
    "load_translator": "speechssl.api",
    "load_unit_model": "speechssl.api",
    "load_vocoder": "speechssl.api",
    "load_voice_converter": "speechssl.api",
    "read_audio": "speechssl.api",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'speechssl' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Text to speech by espeak-ng: a robot's voice, offline, in a hundred languages.

It does not say a text twice in exactly the same way: the voice flutters a little, from where it was before.
For pseudo-parallel data, where a text is there and nobody who says it; not for listening. The library is that of
`phones.espeak` (GPL, loaded only where this is used), but called itself, since phonemizer has no sound.
"""

import ctypes
import ctypes.util
from functools import cache

import numpy as np

from speechssl.errors import ConfigError, DataError

_SYNCHRONOUS, _KEEP_RUNNING, _UTF8, _CHARACTERS = 2, 0x8000, 1, 1  # names in espeak-ng's speak_lib.h
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_MOST_BYTES = 4000  # of a text: some minutes of speech


class Speaker:
    """One voice of espeak. Raises ConfigError for a language that it lacks, or where espeak-ng is not installed."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._library, self.sample_rate = _library()
        self._choose()

    def __call__(self, text: str) -> np.ndarray:
        """Samples [S] float32 in [-1, 1] at `sample_rate` Hz. DataError for a text for which espeak says nothing."""
        raw, found = text.replace("\0", " ").encode(), []
        if len(raw) > _MOST_BYTES:
            raise DataError(f"a text of {len(raw)} bytes is more than {_MOST_BYTES}: give sentences")

        def collect(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: object) -> int:
            if samples and count > 0:
                found.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        callback = _CALLBACK(collect)
        self._choose()  # the library serves all voices
        self._library.espeak_SetSynthCallback(callback)
        size = ctypes.c_size_t(len(raw) + 1)
        code = self._library.espeak_Synth(raw, size, 0, _CHARACTERS, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate([np.zeros(0, np.int16), *found])
        if code or not samples.any():
            raise DataError(f"espeak says nothing for {text[:60]!r} as {self.language} (code {code})")
        return samples.astype(np.float32) / 32768

    def _choose(self) -> None:
        if not self.language or self._library.espeak_SetVoiceByName(self.language.encode()):
            raise ConfigError(f"espeak has no voice {self.language!r}: give a code such as es, fr or cs")


@cache
def _library() -> tuple[ctypes.CDLL, int]:
    """The library, begun once, and its sample rate."""
    path: str | None
    try:
        import espeakng_loader

        path, data = str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path()).encode()
    except ImportError:
        path, data = ctypes.util.find_library("espeak-ng"), None
    try:
        if path is None:
            raise OSError("no libespeak-ng")
        library = ctypes.CDLL(path)
        rate = int(library.espeak_Initialize(_SYNCHRONOUS, 0, data, _KEEP_RUNNING))
        if rate <= 0:
            raise OSError("it does not begin: its data are missing")
    except OSError as error:
        raise ConfigError(f"espeak-ng is not here ({error}): pip install 'speechssl[phones]'") from None
    return library, rate

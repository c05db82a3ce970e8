"""Networks of other packages that judge speech, each optional: speaker similarity, DNSMOS, a recogniser."""

import argparse
import importlib
from typing import TYPE_CHECKING, Any, Protocol

from speechssl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

_RATE = 16000  # Hz, of all of them


class Judge(Protocol):
    """Hears real and made speech, one utterance after the other."""

    def __call__(self, name: str, real: "np.ndarray", made: "np.ndarray", rate: int) -> dict[str, float]:
        """What `metrics.speech_figures` needs of one utterance."""


def make_judges(args: argparse.Namespace) -> list[Judge]:
    """Those that were asked for. ConfigError where a package is missing."""
    judges: list[Judge] = []
    if args.similarity:
        judges.append(Similarity())
    if args.dnsmos:
        judges.append(Dnsmos())
    if args.cer:
        judges.append(Recognition(args.cer, args.recognizer, args.language))
    return judges


class Similarity:
    """Cosine of resemblyzer's speaker embeddings of real and made."""

    def __init__(self) -> None:
        from speechssl.data.speaker_embedding import SpeakerEmbedder

        self.embedder = SpeakerEmbedder("--similarity")

    def __call__(self, name: str, real: "np.ndarray", made: "np.ndarray", rate: int) -> dict[str, float]:
        """`similarity`. The embeddings have length 1."""
        one, other = (self.embedder(wav, rate) for wav in (real, made))
        return {"similarity": float(one @ other)}


class Dnsmos:
    """Overall DNSMOS (P.835) of what was made. Seconds for each recording: the real side is scored by itself."""

    def __init__(self) -> None:
        self.package = _load("speechmos.dnsmos", "--dnsmos", "speechmos")

    def __call__(self, name: str, real: "np.ndarray", made: "np.ndarray", rate: int) -> dict[str, float]:
        """`dnsmos_made`. Samples beyond full scale are clipped."""
        from speechssl.recognition.whisper import at_16k

        heard = self.package.run(at_16k(made, rate).clip(-1, 1), sr=_RATE, return_df=False)
        return {"dnsmos_made": float(heard["ovrl_mos"])}


class Recognition:
    """Wrong characters of what faster-whisper hears; case and punctuation do not count."""

    def __init__(self, text: str, model: str, language: str | None) -> None:
        from speechssl.data.lines import read_lines
        from speechssl.recognition.whisper import Whisper

        self.whisper = Whisper.load(model, language=language)
        self.texts = dict(line.split(" ", 1) for _, line in read_lines(text) if " " in line)

    def __call__(self, name: str, real: "np.ndarray", made: "np.ndarray", rate: int) -> dict[str, float]:
        """`errors_real`, `errors_made` and `characters`. ConfigError for an utterance without text."""
        from speechssl.metrics.word_errors import count_edits

        if name not in self.texts:
            raise ConfigError(f"--cer: there is no text of utterance {name!r}")
        text = plain(self.texts[name])
        wrong = [count_edits(text, plain(self.whisper(wav, rate))).errors for wav in (real, made)]
        return {"errors_real": wrong[0], "errors_made": wrong[1], "characters": len(text)}


def plain(text: str) -> str:
    """Lower case, letters and digits, single spaces."""
    kept = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    return " ".join(kept.split())


def _load(module: str, option: str, package: str = "") -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{option} needs a package: pip install {package or module} ({error})") from None

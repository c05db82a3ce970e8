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

    def add(self, name: str, real: "np.ndarray", made: "np.ndarray", rate: int) -> None:
        """One utterance."""

    def scores(self) -> dict[str, Any]:
        """Over all of them."""


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
    """Mean cosine of resemblyzer's speaker embeddings of real and made."""

    def __init__(self) -> None:
        from speechssl.data.speaker_embedding import SpeakerEmbedder

        self.embedder = SpeakerEmbedder("--similarity")
        self.cosines: list[float] = []

    def add(self, name: str, real: "np.ndarray", made: "np.ndarray", rate: int) -> None:
        """The embeddings have length 1."""
        one, other = (self.embedder(wav, rate) for wav in (real, made))
        self.cosines.append(float(one @ other))

    def scores(self) -> dict[str, Any]:
        """`similarity`."""
        return {"similarity": sum(self.cosines) / len(self.cosines)}


class Dnsmos:
    """Mean overall DNSMOS (P.835) of what was made. Seconds for each recording: the real side is scored by itself."""

    def __init__(self) -> None:
        self.package = _load("speechmos.dnsmos", "--dnsmos", "speechmos")
        self.found: list[float] = []

    def add(self, name: str, real: "np.ndarray", made: "np.ndarray", rate: int) -> None:
        """Samples beyond full scale are clipped."""
        from speechssl.recognition.whisper import at_16k

        heard = self.package.run(at_16k(made, rate).clip(-1, 1), sr=_RATE, return_df=False)
        self.found.append(float(heard["ovrl_mos"]))

    def scores(self) -> dict[str, Any]:
        """`dnsmos_made`."""
        return {"dnsmos_made": sum(self.found) / len(self.found)}


class Recognition:
    """Character error rate of what faster-whisper hears, over all characters; case and punctuation do not count."""

    def __init__(self, text: str, model: str, language: str | None) -> None:
        from speechssl.data.lines import read_lines
        from speechssl.recognition.whisper import Whisper

        self.whisper, self.jiwer = Whisper.load(model, language=language), _load("jiwer", "--cer")
        self.texts = dict(line.split(" ", 1) for _, line in read_lines(text) if " " in line)
        self.heard: list[tuple[str, str, str]] = []

    def add(self, name: str, real: "np.ndarray", made: "np.ndarray", rate: int) -> None:
        """An utterance without text is an error."""
        if name not in self.texts:
            raise ConfigError(f"--cer: there is no text of utterance {name!r}")
        heard = [plain(self.whisper(wav, rate)) for wav in (real, made)]
        self.heard.append((plain(self.texts[name]), heard[0], heard[1]))

    def scores(self) -> dict[str, Any]:
        """`cer_real` and `cer_made`."""
        texts, real, made = map(list, zip(*self.heard, strict=True))
        return {"cer_real": self.jiwer.cer(texts, real), "cer_made": self.jiwer.cer(texts, made)}


def plain(text: str) -> str:
    """Lower case, letters and digits, single spaces."""
    kept = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    return " ".join(kept.split())


def _load(module: str, option: str, package: str = "") -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{option} needs a package: pip install {package or module} ({error})") from None

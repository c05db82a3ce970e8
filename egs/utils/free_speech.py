"""Freely licensed speech for several recipes: what is found in its folders, read once to 16 kHz WAV, Kaldi data dirs.

Scripts of recipes find this file beside the others of egs/utils. G.722 needs PyAV (pip install av).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from kaldi_dir import write_dir

from speechssl.audio import read
from speechssl.audio import write as write_audio
from speechssl.errors import ConfigError

PROMPT_LANGUAGES = {"en_US": "en", "fr_CA": "fr", "es_MX": "es", "it_IT": "it", "ru_RU": "ru"}
RATE, G722_BYTES = 16_000, 8_000  # a second


@dataclass(frozen=True)
class Row:
    """One utterance."""

    id: str
    path: Path
    speaker: str
    language: str


def kerstin(folder: Path) -> Iterator[Row]:
    """German, one speaker, CC0."""
    for path in sorted(folder.glob("verified/*.opus")):
        yield Row(f"kerstin-{path.stem}", path, "kerstin", "de")


def librispeech(folder: Path) -> Iterator[Row]:
    """English, CC BY 4.0; the speaker stands in the name."""
    for path in sorted(folder.rglob("*.opus")):
        yield Row(f"ls-{path.stem}", path, f"ls-{path.stem.split('-')[0]}", "en")


def speech_to_intent(folder: Path) -> Iterator[Row]:
    """English, Apache-2.0; speakers are not told."""
    for path in sorted(folder.rglob("*.opus")):
        yield Row(f"sti-{path.stem}", path, "sti", "en")


def fsdd(folder: Path) -> Iterator[Row]:
    """English digits at 8 kHz, CC BY-SA 4.0; the test part (index 0 to 4) is left alone."""
    for path in sorted(folder.glob("recordings/*.flac")):
        _, speaker, index = path.stem.split("_")
        if int(index) > 4:
            yield Row(f"fsdd-{path.stem}", path, f"fsdd-{speaker}", "en")


def asterisk(root: Path) -> Iterator[Row]:
    """Telephone prompts in five languages, CC BY(-SA) 3.0."""
    for path in sorted(root.glob("**/asterisk/sounds/*/**/*.g722")):
        if path.parent.name == "silence" or path.stat().st_size < 0.3 * G722_BYTES:
            continue
        voice = path.parts[path.parts.index("sounds") + 1]
        name = "-".join((*path.parts[path.parts.index(voice) + 1 : -1], path.stem))
        yield Row(f"asterisk-{voice}-{name}", path, f"asterisk-{voice}", PROMPT_LANGUAGES[voice[:5]])


def festvox(root: Path) -> Iterator[Row]:
    """Russian, one speaker, a BSD-like licence."""
    for path in sorted(root.glob("**/msu_ru_nsh_clunits/wav/*.wav")):
        yield Row(f"festvox-ru-{path.stem}", path, "festvox-ru", "ru")


def decoded(row: Row, audio: Path) -> Row:
    """The same with its recording as a 16 kHz WAV in `audio`; one that is there is kept."""
    out = audio / f"{row.id}.wav"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        write_audio(out, samples_of(row.path), RATE)
    return replace(row, path=out)


def stored(out: Path, name: str, samples: np.ndarray) -> Path:
    """Where the samples [S] at 16 kHz lie now: OUT/audio/NAME.wav, as an absolute path."""
    path = (out / "audio" / f"{name}.wav").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, samples, RATE)
    return path


def samples_of(path: Path) -> np.ndarray:
    """Samples [S] at 16 kHz of a file, raw G.722 among them, which is known by its suffix. Raises AudioError."""
    return g722(path) if path.suffix == ".g722" else read(path, sample_rate=RATE).samples


def g722(path: Path) -> np.ndarray:
    """Samples [S], int16 at 16 kHz, of a raw G.722 file."""
    try:
        import av
    except ImportError as error:
        raise ConfigError(f"{path}: G.722 needs PyAV: pip install av ({error})") from None

    with av.open(str(path), format="g722") as container:
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])


def write(folder: Path, rows: list[Row]) -> None:
    """One data dir."""
    write_dir(folder, {row.id: row.path.resolve() for row in rows}, {row.id: row.speaker for row in rows},
              utt2lang={row.id: row.language for row in rows})  # fmt: skip

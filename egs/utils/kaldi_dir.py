"""A Kaldi data dir from tables, for scripts of recipes, which find this file beside the others of egs/utils."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from speechssl.audio import write as write_audio


def write_dir(folder: Path, recordings: dict[str, Path], speakers: dict[str, str], **tables: dict[str, str]) -> None:
    """wav.scp, utt2spk, spk2utt and the tables by name; every file sorted by id in C order as Kaldi wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = sorted(recordings, key=str.encode)
    of_speaker = defaultdict(list)
    for name in ids:
        of_speaker[speakers[name]].append(name)
    files = {"wav.scp": recordings, "utt2spk": speakers, **tables}
    lines = {file: [f"{name} {values[name]}" for name in ids] for file, values in files.items()}
    lines["spk2utt"] = [f"{speaker} {' '.join(names)}" for speaker, names in sorted(of_speaker.items())]
    for file, text in lines.items():
        (folder / file).write_text("".join(line + "\n" for line in text), encoding="utf-8")
    print(f"  {folder}: {len(ids)} utterances, {len(of_speaker)} speakers")


def write_speech(folder: Path, made: Iterable[tuple[str, np.ndarray]], rate: int, speaker: str) -> None:
    """A data dir of samples [S] by id, stored in folder/audio, all of one speaker."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    paths = {}
    for number, (name, samples) in enumerate(made):
        paths[name] = (folder / "audio" / f"{number:06}.wav").resolve()
        write_audio(paths[name], samples, rate)
    write_dir(folder, paths, dict.fromkeys(paths, speaker))

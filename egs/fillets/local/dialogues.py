"""What is said in the game Fish Fillets: the clips of a language, for the scripts beside this file.

The Debian packages fillets-ng-data and fillets-ng-data-LANGUAGE, unpacked, hold sound/LEVEL/LANGUAGE/CLIP.ogg and the
texts, script/LEVEL/dialogs_LANGUAGE.lua.
"""

import re
from dataclasses import dataclass
from pathlib import Path

LINE = re.compile(r'dialogId\("([^"]+)",\s*"([^"]*)".*?\)\s*dialogStr\("((?:[^"\\]|\\.)*)"\)', re.DOTALL)


@dataclass(frozen=True)
class Clip:
    """A line of dialogue as it is spoken in one language."""

    level: str
    name: str  # the same in all languages
    path: Path
    speaker: str  # the font of the text: the big fish, the small fish, or who else speaks
    text: str | None  # as it is written

    @property
    def id(self) -> str:
        """Of the utterance."""
        return f"{self.level}-{self.name}"


def clips(corpus: Path, language: str) -> list[Clip]:
    """All recordings of a language, by level and name; those whose level has no text for them have None."""
    found = []
    for folder in sorted(path for path in corpus.glob(f"**/sound/*/{language}") if path.is_dir()):
        level = folder.parent
        texts = lines(level.parents[1] / "script" / level.name / f"dialogs_{language}.lua")
        for path in sorted(folder.glob("*.ogg")):
            text, speaker = texts.get(path.stem, (None, "nobody"))
            found.append(Clip(level.name, path.stem, path, speaker, text))
    return found


def lines(script: Path) -> dict[str, tuple[str, str]]:
    """Text and font of each line of a level."""
    if not script.is_file():
        return {}
    found = LINE.findall(script.read_text(encoding="utf-8"))
    return {name: (re.sub(r"\\(.)", r"\1", text), font or "nobody") for name, font, text in found}


def paired(first: list[Clip], second: list[Clip]) -> list[tuple[Clip, Clip]]:
    """Clips that both languages have, with a text or not."""
    others = {(clip.level, clip.name): clip for clip in second}
    return [(clip, others[clip.level, clip.name]) for clip in first if (clip.level, clip.name) in others]

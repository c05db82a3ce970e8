"""Weights of a decoder chosen on transcripts whose texts are known, and the file that keeps them.

decoder.json holds the settings, the hashes of the language model and lexicon that they go with, and what was tried.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from speechssl import config, files
from speechssl.decoders.decoder import Settings
from speechssl.decoders.tune import Trial, Tuned, tune
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.errors import ConfigError, DataError
from speechssl.extract import atomic, transcripts
from speechssl.extract.transcripts import Decoding
from speechssl.metrics.text_rules import TextRules

FORMAT = "speechssl-decoder-1"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Stored:
    """decoder.json."""

    format: str
    settings: Settings
    hashes: dict[str, str] = field(default_factory=dict)  # of lm and lexicon, as `Decoding.facts` names them
    tuned: dict[str, Any] = field(default_factory=dict)  # on what, and its errors


def tune_output(
    emissions: Path, texts: Mapping[str, str], vocabulary: Vocabulary, base: Decoding, *,
    lm_weights: Sequence[float], bonuses: Sequence[float], by: Literal["words", "characters"], rules: TextRules,
) -> Tuned:  # fmt: skip
    """Weight and bonus with the fewest errors on the utterances of `emissions` that `texts` has, or greedy decoding.

    emissions: as `transcripts.stored` reads them. `rules` are done to both sides. DataError where no utterance has a
    text.
    """
    rows = [(name, values) for name, values in transcripts.stored(emissions) if name in texts]
    if not rows:
        raise DataError(f"{emissions}: none of its utterances is among the {len(texts)} texts")
    decoder = base.decoder(vocabulary)
    return tune([values for _, values in rows], [texts[name] for name, _ in rows],
                spelling=decoder.spelling, base=base.settings, model=decoder.model, lexicon=decoder.lexicon,
                lm_weights=lm_weights, bonuses=bonuses, by=by, normalize=rules)  # fmt: skip


def save(path: Path, found: Tuned, base: Decoding, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write decoder.json, whole or not at all; returns it."""
    decoding = replace(base, settings=found.settings)
    hashes = {name: value for name, value in decoding.facts().items() if name.endswith("_sha256")}
    best = next(trial for trial in found.trials if trial.settings == found.settings)
    tuned = {**facts, "greedy": errors(found.trials[0]), "best": errors(best), "trials": len(found.trials)}
    values = {"format": FORMAT, "settings": asdict(found.settings), "hashes": hashes, "tuned": tuned}
    atomic.write_output(path, json.dumps(values, indent=2) + "\n")
    return values


def errors(trial: Trial) -> dict[str, float]:
    """Rates of one trial; of nothing that was said, 0."""
    counts = {"wer": trial.words, "cer": trial.characters}
    return {name: count.errors / count.reference if count.reference else 0.0 for name, count in counts.items()}


def read(path: str | Path, *, lm: Path | None, lexicon: Path | None) -> Decoding:
    """How to decode as the file says, with these models; of a greedy one without them.

    DataError for a file that is none; ConfigError for models that are not those of the tuning.
    """
    try:
        raw = files.read_json(Path(path), most=_MOST_BYTES)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ValueError(f'format is not "{FORMAT}"')
        stored = config.build(Stored, raw)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a decoder's settings: {error}") from error
    if stored.settings.beam == 1:
        return Decoding(stored.settings)
    for name, file in (("lm", lm), ("lexicon", lexicon)):
        wanted = stored.hashes.get(f"{name}_sha256")
        found = None if file is None else atomic.sha256(file)
        if found != wanted:
            given = "another one" if found and wanted else f"--{name} is missing" if wanted else f"no --{name} then"
            raise ConfigError(f"{path}: was tuned with a certain {name}: {given}")
    return Decoding(stored.settings, lm, lexicon)

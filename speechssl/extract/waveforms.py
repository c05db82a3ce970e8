"""Tokens of a codec back to recordings: a Kaldi data directory of WAV files with the lengths of the originals.

OUT/audio/HASH.wav   each written whole or not at all; one that is there is not made again
OUT/decode.json      of which tokens, by which codec: a run that goes on must have the same
OUT/wav.scp          ids and files; written last
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from speechssl import audio, files
from speechssl.codecs.model import Codec
from speechssl.data.export_kaldi import write_kaldi
from speechssl.data.lines import check_id
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError
from speechssl.extract import atomic, lock
from speechssl.extract import job as jobs
from speechssl.extract.merge import SUMS
from speechssl.extract.outputs import read_tokens
from speechssl.units import codec as codecs

_FORMAT = "speechssl-decoded-1"


@dataclass(frozen=True)
class Decoded:
    """What a run did."""

    output: str
    utterances: int
    made: int  # in this run; the others were there
    seconds: float  # of audio, made in this run
    wall_s: float


def decode(
    tokens: str | Path, target: str | Path, codec: Codec, *, beat: Callable[[int], None] = lambda done: None
) -> Decoded:
    """Recordings of all tokens in a finished output folder of `speechssl codec encode` or `speechssl units`.

    beat is told how many utterances are done. Raises DataError where the tokens are not this codec's, or `target` holds
    anything else.
    """
    began, tokens, target = time.monotonic(), Path(tokens), Path(target)
    made_by = jobs.load(tokens).model
    quantizer = codecs.token_models(codec).get(made_by.unit_model or "")
    if quantizer is None:
        raise DataError(f"{tokens}: made by another model ({made_by.name or made_by.encoder.id}), not by this codec")
    for name, _, _ in read_tokens(tokens):
        check_id(name, f"{target}/wav.scp")
    done, made, samples = [], 0, 0
    claim(target, {"format": _FORMAT, "codec": codecs.sha256(codec), "tokens": atomic.sha256(tokens / SUMS)})
    with lock.writing(target, (0, 1)):
        atomic.clean(target, "decode")
        (target / "audio").mkdir(exist_ok=True)
        for name, found, num_samples in read_tokens(tokens):
            path = target / "audio" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.wav"
            if not path.exists():
                codes = codecs.as_codes(torch.from_numpy(found), quantizer)
                audio.write(path, codec.synthesize(codes, num_samples).numpy(), codec.sample_rate)
                made, samples = made + 1, samples + num_samples
            done.append(Utterance(name, str(path)))
            beat(len(done))
        with atomic.scratch(target, "decode") as scratch:
            write_kaldi(done, scratch / "tables", {}, {})
            atomic.commit(scratch / "tables", target)
    return Decoded(str(target), len(done), made, samples / codec.sample_rate, time.monotonic() - began)


def claim(target: Path, identity: dict[str, str], name: str = "decode") -> None:
    """Make `target`, or check by its NAME.json that it holds the same. DataError if not."""
    path = target / f"{name}.json"
    try:
        if files.read_json(path) == identity:
            return
        raise DataError(
            f"{target} holds recordings of other tokens or other input, or of another model: choose another folder"
        )
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: damaged: {error}") from error
    if target.exists() and (not target.is_dir() or any(not p.name.startswith((".tmp-", "lock"))
                                                       for p in target.iterdir())):  # fmt: skip
        raise DataError(f"{target}: is there and holds something else: choose another folder")
    target.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, json.dumps(identity, indent=2) + "\n", name)

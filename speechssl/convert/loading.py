"""One door for every encoder: a folder or file of any format, a known or hub name, an address, or "mfcc"."""

import dataclasses
import difflib
import re
from pathlib import Path
from typing import Any

from speechssl import encoders
from speechssl.convert import (
    download,
    fairseq,
    fairseq2,
    files,
    huggingface,
    known,
    pickle_reader,
    s2ut,
    soft_vc,
    torchaudio,
)
from speechssl.convert.normalization import Normalization
from speechssl.convert.weights import Loaded
from speechssl.encoders import pretrained as native
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import CheckpointError

_WITHOUT_WEIGHTS = {"mfcc"}
_WEIGHTS_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")  # a mistyped path must not reach the network
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def load_encoder(
    spec: str | Path, *, revision: str | None = None, offline: bool = False, normalize: bool | None = None
) -> Pretrained:
    """A trained encoder in eval mode with its card.

    spec: a folder (ours, Hugging Face, fairseq2), a file (fairseq, s3prl, torchaudio, fairseq2), a short name from
        `known.checkpoints()` (`NAME@url` for the authors' own file instead of the hub's), a hub repository, an https
        address, or a family without weights ("mfcc").
    revision: of a hub repository. offline: never use the network. normalize: overrules what the checkpoint says of the
        waveform's normalisation, or says it where nobody else does.
    Raises CheckpointError. Nothing in a file is executed.
    """
    return load(spec, revision=revision, offline=offline, normalize=normalize).pretrained


def load(
    spec: str | Path, *, revision: str | None = None, offline: bool = False, normalize: bool | None = None
) -> Loaded:
    """`load_encoder` with its report: the format, the tensors left out, what was decided."""
    text = str(spec)
    path = Path(spec).expanduser() if text.startswith("~/") else Path(spec)
    if isinstance(spec, Path) or path.exists():
        found = known.find_by_file(path.name)
        loaded = _load_path(path, found, Normalization(normalize, found.normalize if found else None))
    elif text in encoders.families():
        return _without_weights(text, normalize)
    else:
        return _load_named(text, revision, offline, normalize)
    if revision is not None:
        raise CheckpointError(f"{spec}: revision={revision!r} has no effect on a local path")
    return loaded if loaded.format == "speechssl" else _named(loaded, text, found)


def _load_named(text: str, revision: str | None, offline: bool, normalize: bool | None) -> Loaded:
    name, _, way = text.partition("@")
    found = known.find(name)
    by_url = "://" in text or bool(found and (way == "url" or not found.hub))
    if by_url and revision is not None:
        raise CheckpointError(f"{text}: revision={revision!r} has no effect on a file at an address")
    normalization = Normalization(normalize, found.normalize if found else None)
    if by_url:
        url, pin = (found.url, found.sha256) if found else (text, "")
        got = download.fetch_url(url, sha256=pin, offline=offline)
        by_file = found or known.find_by_file(got.path.name)
        normalization = Normalization(normalize, by_file.normalize if by_file else None)
        loaded = _load_path(got.path, by_file, normalization)
        loaded = _named(loaded, text, by_file)
        return loaded if pin else _with_note(loaded, f"not pinned: the file from {url} has sha256 {got.sha256}")
    if found or (_HUB_NAME.fullmatch(text) and Path(text).suffix not in _WEIGHTS_SUFFIXES):
        repository = found.hub if found else text
        folder = download.fetch_hub(repository, revision=revision, offline=offline)
        return _named(huggingface.load(folder, normalization=normalization, name=text), text, found)
    near = difflib.get_close_matches(text, [c.name for c in known.checkpoints()], n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `speechssl info --known` lists the known names"
    raise CheckpointError(f"{text!r}: no such file or folder, and no known checkpoint has this name{hint}")


def _load_path(path: Path, found: known.KnownCheckpoint | None, normalization: Normalization) -> Loaded:
    if path.is_dir():
        return _load_folder(path, normalization)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file or folder")
    tree = files.read_safetensors(path) if path.suffix == ".safetensors" else pickle_reader.read_pickle_file(path)
    return _load_tree(tree, path, found, normalization)


def _load_folder(folder: Path, normalization: Normalization) -> Loaded:
    if native.is_native(folder):
        return _load_native(folder, normalization.given)
    if huggingface.is_folder(folder):
        return huggingface.load(folder, normalization=normalization)
    if weights := fairseq2.find_weights(folder):
        return fairseq2.load(fairseq2.read(weights), weights, normalization=normalization)
    if (folder / "config.json").is_file():
        huggingface.to_our_config(files.read_json(folder / "config.json"), where=str(folder / "config.json"))
    raise CheckpointError(f"{folder}: no encoder here: neither config.json (speechssl, Hugging Face) nor a fairseq2 "
                          "card with weights. For a fairseq or torchaudio file name the file itself")  # fmt: skip


def _load_tree(tree: Any, path: Path, found: known.KnownCheckpoint | None, normalization: Normalization) -> Loaded:
    """By what is inside, never by suffix."""
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: holds a {type(tree).__name__}, not a checkpoint")
    if fairseq2.is_state_dict(tree):
        return fairseq2.load(tree, path, normalization=normalization)
    if s2ut.is_tree(tree):
        raise CheckpointError(f"{path}: a translator of speech, not an encoder: speechssl translate --model and "
                              "load_translator take it as it is, speechssl convert makes a folder of it")  # fmt: skip
    if fairseq.is_tree(tree):
        return fairseq.load(tree, where=str(path), normalization=normalization, name=path.name)
    if torchaudio.is_state_dict(tree):
        family = found.family if found else None
        tensors = files.as_tensors(tree, where=str(path))
        return torchaudio.load(tensors, path, normalization=normalization, family=family)
    if soft_vc.is_state_dict(tree):
        return soft_vc.load(files.as_tensors(tree, where=str(path)), path, normalization=normalization)
    if any(str(key).endswith("feature_projection.projection.weight") for key in tree):
        raise CheckpointError(f"{path}: the weights of a Hugging Face model; give its folder, with config.json")
    shown = ", ".join(str(key) for key in list(tree)[:8])
    raise CheckpointError(f"{path}: not a known kind of checkpoint; it holds {shown}")


def _load_native(folder: Path, normalize: bool | None) -> Loaded:
    pretrained = native.load(folder)
    if normalize is None or normalize == pretrained.card.normalize:
        return Loaded(pretrained, "speechssl")
    card = dataclasses.replace(pretrained.card, normalize=normalize)
    note = f"config.json says normalize={pretrained.card.normalize}; the caller says {normalize}, which is used"
    return Loaded(Pretrained(pretrained.encoder, card), "speechssl", notes=(note,))


def _without_weights(family: str, normalize: bool | None) -> Loaded:
    if family not in _WITHOUT_WEIGHTS:
        names = [c.name for c in known.checkpoints() if c.family == family]
        raise CheckpointError(f"{family!r} is a family of encoders, not a trained one; known: {', '.join(names)}")
    from speechssl import config

    model = encoders.build(family, {}).eval()
    card = EncoderCard(family, config.to_dict(model.config), bool(normalize), name=family, source="speechssl")
    return Loaded(Pretrained(model, card), "speechssl")


def _named(loaded: Loaded, name: str, found: known.KnownCheckpoint | None) -> Loaded:
    """With the name that was asked for on the card, so that the card can be used to ask again."""
    old = loaded.pretrained.card
    card = dataclasses.replace(old, name=name, licence=found.licence if found else old.licence)
    return dataclasses.replace(loaded, pretrained=Pretrained(loaded.pretrained.encoder, card))


def _with_note(loaded: Loaded, note: str) -> Loaded:
    return dataclasses.replace(loaded, notes=(*loaded.notes, note))

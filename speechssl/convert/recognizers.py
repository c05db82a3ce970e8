"""Fine-tuned recognisers from elsewhere: the encoder, its linear head and the symbols.

Hugging Face folders of any `...ForCTC` of our families with `vocab.json` (MMS: adapters of a language, too), and
fairseq's CTC checkpoints with the dictionary they were trained with (`dict.ltr.txt` in the same folder). Nothing in
them is executed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from speechssl.convert import files, loading
from speechssl.convert.weights import Loaded
from speechssl.data.lines import read_lines
from speechssl.decoders.vocabulary import Kind, Vocabulary
from speechssl.errors import CheckpointError, DataError

_ADAPTER = re.compile(r"(?:wav2vec2\.)?encoder\.layers\.(\d+)\.adapter_layer\.(norm|linear_1|linear_2)\.(weight|bias)")
_PARTS = {"norm": "norm", "linear_1": "down", "linear_2": "up"}
_LANGUAGE = re.compile(r"[\w-]{1,64}")
_FAIRSEQ_FIRST = ("<s>", "<pad>", "</s>", "<unk>")  # of every dictionary; <s> is CTC's blank


@dataclass(frozen=True)
class LoadedRecognizer:
    """What was found."""

    encoder: Loaded
    weight: Tensor  # [V, C]
    bias: Tensor  # [V]
    vocabulary: Vocabulary
    adapters: Mapping[str, Tensor]  # of blocks, under the names of `nn.adapters`: "0.down.weight"


def load(spec: str | Path, *, language: str | None = None) -> LoadedRecognizer:
    """A folder of Hugging Face or a file of fairseq. language: of MMS's adapters, such as "fra".

    Raises CheckpointError.
    """
    path = Path(spec)
    if not path.exists():
        raise CheckpointError(f"{spec}: no such folder or file (a recogniser from a hub: download its folder first)")
    loaded = loading.load(path)
    if loaded.format == "huggingface":
        return _huggingface(path, loaded, language)
    if language is not None:
        raise CheckpointError(f"{spec}: language={language!r} has no effect: no adapters of languages there")
    if loaded.format != "fairseq" or "w2v_encoder.proj.weight" not in loaded.outside:
        raise CheckpointError(f"{spec}: {loaded.format} encoder without a CTC head: fine-tune it with recipes.ctc")
    weight, bias = (loaded.outside[f"w2v_encoder.proj.{part}"] for part in ("weight", "bias"))
    return _checked(LoadedRecognizer(loaded, weight, bias, _fairseq_vocabulary(path), {}), path)


def _huggingface(folder: Path, loaded: Loaded, language: str | None) -> LoadedRecognizer:
    raw = files.read_json(folder / "config.json")
    if raw.get("add_adapter"):
        raise CheckpointError(f"{folder}: convolutional adapters behind the encoder (add_adapter) are not supported")
    outside = dict(loaded.outside)
    if language is not None:
        if not _LANGUAGE.fullmatch(language):  # becomes part of a file's name
            raise CheckpointError(f"language={language!r} is no code of a language")
        path = folder / f"adapter.{language}.safetensors"
        if not path.is_file():
            known = sorted(p.name.split(".")[1] for p in folder.glob("adapter.*.safetensors"))
            raise CheckpointError(f"{path}: no such file (languages here: {', '.join(known) or 'none'})")
        outside |= files.read_safetensors(path)
    try:
        weight, bias = outside["lm_head.weight"], outside["lm_head.bias"]
    except KeyError:
        raise CheckpointError(f"{folder}: an encoder without a CTC head (no lm_head): fine-tune it first") from None
    adapters = {
        f"{match[1]}.{_PARTS[match[2]]}.{match[3]}": tensor
        for key, tensor in outside.items() if (match := _ADAPTER.fullmatch(key))
    }  # fmt: skip
    vocabulary = _huggingface_vocabulary(folder, raw, language, len(weight))
    return _checked(LoadedRecognizer(loaded, weight, bias, vocabulary, adapters), folder)


def _checked(found: LoadedRecognizer, path: Path) -> LoadedRecognizer:
    shape = (len(found.vocabulary), found.encoder.pretrained.encoder.dim)
    if tuple(found.weight.shape) != shape or tuple(found.bias.shape) != shape[:1]:
        stated = tuple(found.weight.shape)
        raise CheckpointError(f"{path}: a head of shape {stated} does not fit {shape[0]} symbols, {shape[1]} channels")
    return found


def _huggingface_vocabulary(folder: Path, raw: Mapping[str, Any], language: str | None, size: int) -> Vocabulary:
    """vocab.json, with what tokenizer_config.json says of it. Numbers that no symbol has are silent."""
    table = files.read_json(folder / "vocab.json")
    path = folder / "tokenizer_config.json"
    settings = files.read_json(path) if path.is_file() else {}
    if table and all(isinstance(value, dict) for value in table.values()):  # MMS: a vocabulary for each language
        chosen = language or settings.get("target_lang") or "eng"
        if chosen not in table:
            raise CheckpointError(f"{folder / 'vocab.json'}: no language {chosen!r} (there: {', '.join(table)[:200]})")
        table = table[chosen]
    names: list[str | None] = [None] * size
    for symbol, number in table.items():
        if type(number) is not int or not 0 <= number < size or names[number] is not None:
            raise CheckpointError(f"{folder / 'vocab.json'}: {symbol!r} has number {number!r}, and there are {size}, "
                                  "each once")  # fmt: skip
        names[number] = symbol
    pad, boundary = (_token(settings, key, default) for key, default in (("pad_token", "<pad>"),
                                                                         ("word_delimiter_token", "|")))  # fmt: skip
    blank = names.index(pad) if pad in names else raw.get("pad_token_id", 0)
    special = {_token(settings, key, default) for key, default in (("bos_token", "<s>"), ("eos_token", "</s>"),
                                                                  ("unk_token", "<unk>"))}  # fmt: skip
    lower = settings.get("do_lower_case") is True  # transformers: symbols are capitals, what is written is not
    phones = settings.get("tokenizer_class") == "Wav2Vec2PhonemeCTCTokenizer"
    symbols = [f"<unused {i}>" if name is None else name for i, name in enumerate(names)]
    silent = [s for i, s in enumerate(symbols) if i != blank and (s in special or names[i] is None)]
    if lower:
        symbols = [s if i == blank or s in silent else s.lower() for i, s in enumerate(symbols)]
    kind: Kind = "phones" if phones else "characters"
    try:
        return Vocabulary(tuple(symbols), blank=blank, word_boundary=boundary if boundary in symbols else None,
                          kind=kind, case="lower" if lower else "keep", silent=tuple(silent))  # fmt: skip
    except (DataError, TypeError) as error:
        raise CheckpointError(f"{folder / 'vocab.json'}: {error}") from error


def _token(settings: Mapping[str, Any], key: str, default: str) -> str | None:
    value = settings.get(key, default)
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def _fairseq_vocabulary(path: Path) -> Vocabulary:
    """The dictionary beside the checkpoint: `symbol count` lines behind four symbols that every dictionary has."""
    found = sorted(path.parent.glob("dict.*.txt"))
    if len(found) != 1:
        raise CheckpointError(f"{path}: needs the dictionary it was trained with beside it (dict.ltr.txt), found "
                              f"{[p.name for p in found]}")  # fmt: skip
    symbols = [line.rpartition(" ")[0] for _, line in read_lines(found[0]) if line.strip()]
    boundary = "|" if "|" in symbols else None
    kind: Kind = "characters" if all(len(symbol) == 1 for symbol in symbols) or boundary else "phones"
    try:
        return Vocabulary((*_FAIRSEQ_FIRST, *symbols), blank=0, word_boundary=boundary, kind=kind,
                          silent=_FAIRSEQ_FIRST[1:])  # fmt: skip
    except DataError as error:
        raise CheckpointError(f"{found[0]}: {error}") from error

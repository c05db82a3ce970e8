"""Fine-tuned checkpoints of Hugging Face and fairseq: the logits and the transcripts of transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

import speechssl
from speechssl import convert
from speechssl.errors import CheckpointError
from speechssl.recognition.model import Recognizer
from tests.convert import fairseq_files, oracles
from tests.convert.test_fairseq import NAMES, checkpoint

SYMBOLS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGH'"]
HEADS: dict[str, Any] = {
    "wav2vec2-base": hf.Wav2Vec2ForCTC, "wav2vec2-lv60": hf.Wav2Vec2ForCTC, "hubert-base": hf.HubertForCTC,
    "hubert-large": hf.HubertForCTC, "wavlm-base": hf.WavLMForCTC, "wavlm-large": hf.WavLMForCTC,
    "data2vec": hf.Data2VecAudioForCTC, "sew": hf.SEWForCTC, "unispeech-sat": hf.UniSpeechSatForCTC,
}  # fmt: skip


def model_of(variant: str, *, size: int = len(SYMBOLS), seed: int = 0, **more: Any) -> nn.Module:
    _, config_class, _, values = oracles.VARIANTS[variant]
    model = HEADS[variant](config_class(**values, vocab_size=size, pad_token_id=0, **more)).eval()
    oracles.randomize(model, seed)
    with torch.no_grad():
        model.lm_head.weight.mul_(5)  # many symbols
    return model


def tokenizer(folder: Path, symbols: list[str], **more: Any) -> Any:
    folder.mkdir(exist_ok=True)
    path = folder / "vocab.json"
    path.write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}))
    made = hf.Wav2Vec2CTCTokenizer(str(path), **more)
    made.save_pretrained(folder)
    return made


def assert_same(
    ours: Recognizer, model: nn.Module, theirs: Any, silent: tuple[str, ...] = ("<s>", "</s>", "<unk>")
) -> str:
    """Logits up to a constant per frame, and what is written, but for symbols that are none of a text."""
    wav = oracles.wave(24000)
    with torch.no_grad():
        logits = model(wav).logits[0]
    mine = ours.log_probs(wav[0])
    frames = min(len(mine), len(logits))
    assert frames > 30
    torch.testing.assert_close(mine[:frames], logits[:frames].log_softmax(-1), rtol=1e-4, atol=1e-4)
    text = theirs.decode(logits[:frames].argmax(-1))
    for symbol in silent:
        text = text.replace(symbol, "")
    assert ours.text(mine[:frames]) == " ".join(text.split())
    return text


@pytest.mark.parametrize("variant", HEADS)
def test_hugging_face_folders_write_what_transformers_writes(variant: str, tmp_path: Path) -> None:
    model = model_of(variant)
    theirs = tokenizer(tmp_path, SYMBOLS)
    oracles.save(model, tmp_path)
    ours = speechssl.load_recognizer(tmp_path)
    text = assert_same(ours, model, theirs)
    assert len(text) > 1
    ours.save(tmp_path / "ours")
    again = speechssl.load_recognizer(tmp_path / "ours")
    assert again.sha256 == ours.sha256 and torch.equal(
        again.log_probs(oracles.wave()[0]), ours.log_probs(oracles.wave()[0])
    )


def test_lower_case_other_blanks_and_missing_symbols(tmp_path: Path) -> None:
    """do_lower_case writes small letters; the blank is pad_token; a head may have more outputs than symbols."""
    symbols = ["|", "A", "B", "C", "[PAD]", "D", "[UNK]"]
    model = model_of("hubert-base", size=9)
    theirs = tokenizer(tmp_path, symbols, pad_token="[PAD]", unk_token="[UNK]", do_lower_case=True)
    oracles.save(model, tmp_path)
    with torch.no_grad():
        model.lm_head.bias[7:] = -100.0  # transformers has no name for them
        model.lm_head.bias[4] += 1
    oracles.save(model, tmp_path)
    ours = speechssl.load_recognizer(tmp_path)
    assert ours.vocabulary.blank == 4 and ours.vocabulary.case == "lower" and len(ours.vocabulary) == 9
    text = assert_same(ours, model, theirs, ("[unk]", "<s>", "</s>"))
    assert set(text) <= set("abcd <s/>[unk]")


@pytest.mark.parametrize("language", [None, "fra"])
def test_adapters_of_a_language_are_read(language: str | None, tmp_path: Path) -> None:
    """MMS: one encoder, and for each language adapters behind the blocks, a head and a vocabulary."""
    model = model_of("wav2vec2-lv60", adapter_attn_dim=6)
    tables = {
        "eng": {s: i for i, s in enumerate(SYMBOLS)},
        "fra": {s: i for i, s in enumerate(SYMBOLS[:5] + list("éàbcdefgh"))},
    }
    oracles.save(model, tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps(tables))
    theirs = hf.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), target_lang=language or "eng")
    hf.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), target_lang="eng").save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps(tables))
    if language:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for tensor in model._get_adapters().values():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
        from safetensors.torch import save_file

        save_file(
            {k: v.contiguous() for k, v in model._get_adapters().items()}, tmp_path / f"adapter.{language}.safetensors"
        )
    ours = speechssl.load_recognizer(tmp_path, language=language)
    assert_same(ours, model, theirs)
    ours.save(tmp_path / "ours")
    again = speechssl.load_recognizer(tmp_path / "ours")
    assert torch.equal(again.log_probs(oracles.wave()[0]), ours.log_probs(oracles.wave()[0]))
    assert "éàbcdefgh"[0] in again.vocabulary.symbols if language else "A" in again.vocabulary.symbols
    encoder = convert.load(tmp_path)
    assert any("adapters of a language" in note for note in encoder.notes)


@pytest.mark.parametrize("variant", ["wav2vec2-base", "hubert-large", "wavlm-base"])
def test_fairseq_checkpoints_write_by_the_dictionary_beside_them(variant: str, tmp_path: Path) -> None:
    letters = ["|", *"EATOIN'"]
    model = model_of(variant, size=4 + len(letters))
    tree = checkpoint(variant, getattr(model, model.base_model_prefix), "dict", normalize=False)
    inner, name = tree["cfg"]["model"], NAMES[variant]
    state = {
        f"w2v_encoder.w2v_model.{k}": v
        for k, v in fairseq_files.state_dict(getattr(model, model.base_model_prefix)).items()
    }
    state |= {f"w2v_encoder.proj.{k}": v.detach().clone() for k, v in model.lm_head.state_dict().items()}
    tree["model"] = state
    tree["cfg"]["model"] = {"_name": f"{name}_ctc", "w2v_args": {"model": inner, "task": {"normalize": False}}}
    torch.save(tree, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"dict\.ltr\.txt"):
        speechssl.load_recognizer(tmp_path / "model.pt")
    (tmp_path / "dict.ltr.txt").write_text("".join(f"{letter} {100 - i}\n" for i, letter in enumerate(letters)))
    ours = speechssl.load_recognizer(tmp_path / "model.pt")
    theirs = tokenizer(tmp_path / "hf", ["<s>", "<pad>", "</s>", "<unk>", *letters], pad_token="<s>", bos_token="<pad>")
    assert_same(ours, model, theirs, ("<pad>", "</s>", "<unk>"))


@pytest.mark.parametrize(("change", "message"), [
    ("no head", "without a CTC head"), ("no vocabulary", "vocab.json"), ("twice", "number"),
    ("language", "no such file"), ("traversal", "no code"), ("conv adapter", "add_adapter"),
    ("nothing", "no such folder"),
])  # fmt: skip
def test_what_is_no_recogniser_is_said(change: str, message: str, tmp_path: Path) -> None:
    tokenizer(tmp_path, SYMBOLS)
    if change == "no head":
        oracles.save(oracles.make("hubert-base"), tmp_path)
    else:
        oracles.save(model_of("hubert-base"), tmp_path)
    if change == "no vocabulary":
        (tmp_path / "vocab.json").unlink()
    if change == "twice":
        (tmp_path / "vocab.json").write_text('{"<pad>": 0, "A": 1, "B": 1}')
    if change == "conv adapter":
        raw = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(raw | {"add_adapter": True}))
    language = {"language": "fra", "traversal": "../x"}.get(change)
    with pytest.raises(CheckpointError, match=message):
        speechssl.load_recognizer(tmp_path / "x" if change == "nothing" else tmp_path, language=language)

"""Codebooks of checkpoints as unit models: wav2vec 2.0's against transformers, vq-wav2vec's against the network's."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speechssl import convert, encoders
from speechssl.cli import main
from speechssl.convert import codebooks, export_fairseq2
from speechssl.encoders import pretrained as native
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import CheckpointError, DataError
from speechssl.quantizers import Quantizer
from speechssl.quantizers.gumbel import GumbelCodebooks, GumbelQuantizer
from speechssl.units.model import UnitModel
from tests.convert import fairseq_files, oracles
from tests.encoders.parity import randomize
from tests.encoders.tiny import TINY

SMALL = {"num_codevectors_per_group": 7, "num_codevector_groups": 2, "codevector_dim": 12, "proj_codevector_dim": 8}
FAIRSEQ = {"quantizer.codevectors": "quantizer.vars"}  # the other names are the same


def make(name: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> nn.Module:
    """A small Wav2Vec2ForPreTraining with random weights."""
    family, config_class, model_class, values = oracles.VARIANTS[name]
    monkeypatch.setitem(oracles.VARIANTS, name, (family, config_class, model_class, {**values, **SMALL, **more}))
    model = oracles.make(name, model_class=hf.Wav2Vec2ForPreTraining)
    with torch.no_grad():  # frames of unit variance would choose one entry only
        model.quantizer.weight_proj.weight.mul_(20)
    return model


@torch.no_grad()
def their_codes(model: nn.Module, wav: Tensor) -> Tensor:
    """The codes [T, G] that transformers chooses, found by looking its vectors up in its codebook."""
    frames = model.wav2vec2(wav).extract_features
    vectors, _ = model.quantizer(frames)
    groups, words = model.quantizer.num_groups, model.quantizer.codevectors[0]
    entries = len(words) // groups
    parts = vectors[0].unflatten(-1, (groups, -1))
    found = [[int((words[g * entries : (g + 1) * entries] == part).all(-1).nonzero()) for g, part in enumerate(frame)]
             for frame in parts]  # fmt: skip
    return torch.tensor(found)


@pytest.mark.parametrize("name", ["wav2vec2-base", "wav2vec2-lv60"])
@pytest.mark.parametrize("form", ["huggingface", "fairseq", "fairseq2"])
def test_units_are_the_codes_that_transformers_chooses(
    name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(name, monkeypatch)
    source = written(model, form, tmp_path)
    trained = codebooks.of_checkpoint(convert.load(source))
    unit_model = UnitModel(trained.pretrained, trained.layer, trained.quantizer)
    wav = 0.1 * oracles.wave(16000)
    units = unit_model(wav[0], 16000)
    codes = their_codes(model, wav)
    assert units.ids.tolist() == (codes[:, 0] * 7 + codes[:, 1]).tolist()
    assert (units.size, units.rate_hz) == (49, 50.0) and len(set(units.ids.tolist())) > 5
    vectors, _ = model.quantizer(model.wav2vec2(wav).extract_features)
    torch.testing.assert_close(unit_model.quantizer.decode(torch.from_numpy(units.ids)), vectors[0].detach())


def written(model: nn.Module, form: str, folder: Path) -> Path:
    """The model in a format; its normalisation is off in all."""
    if form == "huggingface":
        return oracles.save(model, folder / "hf")
    head = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("wav2vec2.")}
    if form == "fairseq":
        values = fairseq_files.settings(model.wav2vec2, "wav2vec2")
        state = fairseq_files.state_dict(model.wav2vec2) | {FAIRSEQ.get(key, key): t for key, t in head.items()}
        del state["project_hid.weight"], state["project_hid.bias"]
        torch.save({"cfg": {"task": {"normalize": False}, "model": values}, "model": state}, folder / "fs.pt")
        return folder / "fs.pt"
    export_fairseq2.write(folder / "fs2", convert.load_encoder(oracles.save(model, folder / "hf")))
    tensors = load_file(folder / "fs2" / "model.safetensors")
    renames = {"codevectors": "entries", "weight_proj": "entry_proj", "project_q": "final_target_proj"}
    for key, tensor in head.items():
        for theirs, other in renames.items():
            if theirs in key:
                tensors[key.replace(theirs, other)] = tensor
    save_file(tensors, folder / "fs2" / "model.safetensors")
    return folder / "fs2"


def test_the_command_writes_a_unit_model_of_the_front_end_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make("wav2vec2-base", monkeypatch)
    source = oracles.save(model, tmp_path / "hf", normalize=True)
    assert main(["convert", str(source), str(tmp_path / "m"), "--to", "unit-model", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    loaded = UnitModel.load(tmp_path / "m")
    assert (told["num_units"], told["family"], told["layer"]) == (49, "front_end", 0)
    assert told["sha256"] == loaded.hash and loaded.pretrained.card.normalize
    stored = set(load_file(tmp_path / "m" / "encoder" / "model.safetensors"))
    assert {name.split(".")[0] for name in stored} == {"conv", "norm"}
    wav = oracles.wave(16000)
    theirs = model.wav2vec2((wav - wav.mean()) / (wav.var(correction=0) + 1e-7).sqrt()).extract_features[0]
    torch.testing.assert_close(loaded.pretrained.features(wav[0], 0), theirs.detach(), rtol=1e-4, atol=1e-5)
    assert main(["info", str(tmp_path / "m")]) == 0
    assert "gumbel" in capsys.readouterr().out
    assert main(["convert", str(source), str(tmp_path / "m"), "--to", "unit-model"]) == 2
    for words in (["--to", "unit-model", "--layer", "1"], ["--layer", "1"]):
        assert main(["convert", str(source), str(tmp_path / "n"), *words]) == 2
        assert "--layer" in capsys.readouterr().err and not (tmp_path / "n").exists()


@pytest.mark.parametrize("case", range(len(TINY["vq_wav2vec"])))
def test_units_of_vq_wav2vec_are_the_codes_that_it_chooses_also_of_a_long_recording(case: int, tmp_path: Path) -> None:
    encoder = encoders.build("vq_wav2vec", TINY["vq_wav2vec"][case])
    randomize(encoder)
    if case == 0:  # logits that differ from frame to frame
        encoder.quantizer.logits.bias.data.zero_()
        encoder.quantizer.hidden[0][0].bias.data.zero_()
    pretrained = Pretrained(encoder.eval(), EncoderCard("vq_wav2vec", {}, name="tiny"))
    native.save(tmp_path / "encoder", Pretrained(encoder, EncoderCard("vq_wav2vec", TINY["vq_wav2vec"][case])))
    trained = codebooks.of_checkpoint(convert.load(tmp_path / "encoder"))
    wav = oracles.wave(40_000)
    codes, _ = encoder.codes(wav)
    expected = (codes[0, :, 0] * 5 + codes[0, :, 1]).tolist()
    assert len(set(expected)) > 3
    model = UnitModel(trained.pretrained, trained.layer, trained.quantizer)
    assert model.size == 25 and model(wav[0], 16000).ids.tolist() == expected
    parts = pretrained.features_long(wav[0], 0, window_s=1.0, overlap_s=0.2)
    assert float((model.quantize(parts).ids == torch.tensor(expected).numpy()).mean()) > 0.98


def test_checkpoints_without_a_codebook_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, model_class in (("wav2vec2-base", hf.Wav2Vec2ForCTC), ("hubert-base", hf.HubertForCTC)):
        loaded = convert.load(oracles.save(oracles.make(name, model_class=model_class), tmp_path / name))
        with pytest.raises(CheckpointError, match="speechssl kmeans"):
            codebooks.of_checkpoint(loaded)


@pytest.mark.parametrize("change", [
    {"codebook": None}, {"projection": torch.ones(8, 13)}, {"projection": torch.ones(())},
    {"weight": torch.ones(15, 4)},
    {"codebook": torch.ones(1, 15, 6)}, {"codebook": torch.ones(14, 6)}, {"codebook": torch.ones(1, 14, 0)},
    {"bias": torch.ones(13)}, {"weight": torch.full((14, 4), float("nan"))}, {"weight": torch.ones(())},
    {"projection": torch.ones(8, 600), "weight": torch.ones(14, 4)},
], ids=lambda change: "-".join(change))  # fmt: skip
def test_quantizers_whose_shapes_do_not_belong_together_are_refused(change: dict[str, Any]) -> None:
    tensors = {"weight": torch.ones(14, 4), "bias": torch.ones(14), "codebook": torch.ones(1, 14, 6),
               "projection": torch.ones(8, 12)}  # fmt: skip
    assert codebooks.gumbel(tensors, where="x").size == 49
    with pytest.raises(CheckpointError):
        codebooks.gumbel({key: t for key, t in (tensors | change).items() if t is not None}, where="x")


@pytest.mark.parametrize("shared", [True, False])
def test_gumbel_units_are_those_of_the_network_that_was_trained(shared: bool) -> None:
    torch.manual_seed(0)
    network = GumbelQuantizer(10, 12, entries=6, groups=3, shared=shared)
    network.codebook.data.normal_()
    quantizer = GumbelCodebooks(network.logits.weight, network.logits.bias, network.codebook)
    assert isinstance(quantizer, Quantizer) and (quantizer.size, quantizer.dim) == (216, 10)
    frames = torch.randn(7, 50, 10)
    units = quantizer.encode(frames)
    expected = network(frames.flatten(0, 1))
    assert torch.equal(quantizer.codes(units).flatten(0, 1), expected.codes)
    assert torch.equal(quantizer.decode(units).flatten(0, 1), expected.vectors.detach())
    assert torch.equal(units, (quantizer.codes(units) * torch.tensor([36, 6, 1])).sum(-1))
    copy = GumbelCodebooks.from_tensors(quantizer.tensors())
    assert torch.equal(copy.encode(frames), units) and copy.encode(frames[:, :0]).shape == (7, 0)
    for bad in (frames[..., :9], frames.masked_fill(frames > 2, torch.inf)):
        with pytest.raises(DataError):
            quantizer.encode(bad)
    for ids in ([-1], [216]):
        with pytest.raises(DataError, match=r"0\.\.215"):
            quantizer.decode(torch.tensor(ids))
    with pytest.raises(CheckpointError):
        GumbelCodebooks.from_tensors({"weight": network.logits.weight})


def test_of_equal_logits_the_lower_entry_is_taken() -> None:
    quantizer = GumbelCodebooks(torch.zeros(8, 3), torch.tensor([0.0, 1, 1, 0, 5, 5, 5, 5]), torch.ones(2, 4, 1))
    assert quantizer.encode(torch.randn(100, 3)).unique().tolist() == [4]

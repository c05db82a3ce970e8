"""Vocoders of mels: stacked frames, pieces, padding, what is learned, folders, and decoders of the same mels only."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import speechssl
from speechssl.data.batch import Batch
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.nn.mel_definition import MelDefinition
from speechssl.units import mel_decoder as decoders
from speechssl.units import mel_vocoder as folders
from speechssl.units.mel_decoder import TrainedMelDecoder
from speechssl.units.mel_vocoder import CopySynthesis
from speechssl.units.mel_voice import MelVoice
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.learning import Learning
from speechssl.vocoders.mel_decoder import Config as DecoderConfig
from speechssl.vocoders.mel_decoder import MelDecoder
from speechssl.vocoders.mel_vocoder import Config, MelVocoder
from tests.encoders.parity import randomize

MELS = MelDefinition(hop=20, window=64, num_mels=6)
WAVE = {"kind": "wave", "channels": 16, "strides": [5, 4], "up_kernels": [11, 8], "kernels": [3, 5],
        "dilations": [1, 3], "last_kernel": 0, "activation": "leaky_relu"}  # fmt: skip
SPECTRAL = {"kind": "spectral", "channels": 8, "num_blocks": 2, "hop": 60, "window": 180}
CONFIGS = {"wave": Config(MELS, generator=WAVE), "stacked": Config(MELS, stacked=3, generator=SPECTRAL)}


def make(kind: str = "wave") -> MelVocoder:
    torch.manual_seed(0)
    built = MelVocoder(CONFIGS[kind])
    randomize(built)
    built.scale.abs_()
    return built.eval()


def mels(frames: int, seed: int = 0) -> Tensor:
    return torch.randn(frames, 6, generator=torch.Generator().manual_seed(seed))


def test_mels_are_normalised_lie_side_by_side_and_the_last_one_is_held() -> None:
    vocoder, given = make("stacked"), mels(4)
    normal = (given - vocoder.mean) / vocoder.scale
    expected = torch.stack([normal[:3].flatten(), normal[3].repeat(3)])
    torch.testing.assert_close(vocoder.frames(given[None])[0], expected)
    assert vocoder(given[None]).shape == (1, 80)


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_made_in_pieces_a_waveform_is_that_of_one_pass(kind: str) -> None:
    vocoder, given = make(kind).double(), mels(50).double()
    with torch.no_grad():
        whole = vocoder(given[None])[0]
    torch.testing.assert_close(torch.cat(list(vocoder.pieces(given, size=7)))[: len(whole)], whole, atol=1e-12, rtol=0)
    torch.testing.assert_close(vocoder.synthesize(given), whole, atol=1e-12, rtol=0)


def batch(wav: Tensor, lengths: list[int]) -> Batch:
    return Batch(wav, torch.tensor(lengths), torch.zeros(len(wav)), tuple("ab"[: len(wav)]))


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_what_is_learned_is_what_the_plain_vocoder_says_of_the_mels(kind: str) -> None:
    learning = Learning(make(kind))
    wav = 0.1 * torch.randn(2, 600, generator=torch.Generator().manual_seed(0))
    made = learning.train().reconstruct(batch(wav, [600, 600])).made
    plain = learning.trained()
    for row in range(2):
        spoken = plain(plain.mels_of(wav[row : row + 1], torch.tensor([600]), 30))
        torch.testing.assert_close(made[row], spoken[0], atol=1e-5, rtol=0)
    made.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in learning.parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_in_evaluation_an_utterance_is_spoken_as_if_it_were_alone(kind: str) -> None:
    learning = Learning(make(kind)).eval()
    wav = 0.1 * torch.randn(2, 605, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = learning.reconstruct(batch(wav, [605, 290])).made
        alone = learning.reconstruct(batch(wav[1:, :290], [290])).made
    torch.testing.assert_close(together[1, :290], alone[0], atol=1e-5, rtol=0)
    assert not together[1, 290:].any()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocoder") / "mels"
    folders.save(folder, make(), name="of noise", licence="CC0-1.0", training={"updates": 3})
    return folder


def test_a_stored_vocoder_says_the_same_of_its_mels(stored: Path) -> None:
    loaded, vocoder = speechssl.load_mel_vocoder(stored), make()
    wav = 0.1 * np.random.default_rng(0).normal(size=450).astype(np.float32)
    found = loaded.mels(wav)
    assert found.shape == (22, 6) and loaded.card.training == {"updates": 3}
    torch.testing.assert_close(found, MELS.log_mels(torch.from_numpy(wav)[None], torch.tensor([450]), 22)[0])
    torch.testing.assert_close(loaded(found), vocoder.synthesize(found), atol=1e-5, rtol=0)
    assert loaded.mels(wav[:0]).shape == (0, 6)
    copy = CopySynthesis(loaded)
    assert torch.equal(copy(copy.hear(None, wav)), loaded(found))
    with pytest.raises(DataError, match="as it is"):
        copy(found, "anna")


@pytest.mark.parametrize("damage", ["weights", "card", "config", "missing", "huge"])
def test_a_damaged_folder_is_refused(damage: str, stored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mels"
    shutil.copytree(stored, folder)
    card = json.loads((folder / "card.json").read_text())
    if damage == "weights":
        raw = bytearray((folder / "model.safetensors").read_bytes())
        raw[-3] ^= 64
        (folder / "model.safetensors").write_bytes(raw)
    elif damage == "missing":
        (folder / "model.safetensors").unlink()
    elif damage == "card":
        card["format"] = "speechssl-vocoder-1"
    elif damage == "huge":
        card["config"]["generator"]["channels"] = 1 << 40
    else:
        card["config"]["mels"]["floor"] = 1e-5
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"mel vocoder|sha256"):
        folders.load(folder)
    with pytest.raises(CheckpointError, match=r"recipes\.mel_vocoder"):
        folders.load(tmp_path)


@pytest.mark.parametrize("given", [mels(0), mels(3)[:, :5], torch.full((3, 6), float("nan")), mels(3)[None]])
def test_what_are_no_mels_is_refused(given: Tensor, stored: Path) -> None:
    with pytest.raises(DataError, match="mels"):
        folders.load(stored)(given)


def test_a_generator_of_another_hop_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"20 samples of a frame, for 2 mel"):
        MelVocoder(Config(MELS, stacked=2, generator=WAVE))
    with pytest.raises(ConfigError, match=r"1\.\.64"):
        Config(stacked=0)
    with pytest.raises(ConfigError, match="last_slope"):
        MelVocoder(Config(MELS, stacked=3, generator=SPECTRAL, last_slope=0.01))


def trained_decoder(folder: Path, **others: object) -> TrainedMelDecoder:
    torch.manual_seed(0)
    small = DecoderConfig(num_units=7, num_mels=6, hop=20, window=64, dim=8, ffn_dim=8, num_layers=1, num_heads=2,
                          **others)  # fmt: skip
    decoders.save(folder, MelDecoder(small), SpokenUnits(7, 16000 / (20 * small.frames_per_unit)), name="a decoder")
    return decoders.load(folder)


def test_a_decoders_mels_are_spoken_by_a_vocoder_of_the_same_and_by_no_other(stored: Path, tmp_path: Path) -> None:
    decoder, vocoder = trained_decoder(tmp_path / "decoder"), folders.load(stored)
    voice, ids = MelVoice(decoder, vocoder=vocoder), torch.tensor([1, 2, 3])
    assert torch.equal(voice(ids), vocoder(decoder(ids))) and voice(ids).shape == (120,)
    assert voice.identity != MelVoice(decoder).identity and vocoder.identity in voice.identity
    other = folders.load(stored)
    folders.save(tmp_path / "other", MelVocoder(Config(MelDefinition(hop=20, window=128, num_mels=6), 1, WAVE)))
    other = folders.load(tmp_path / "other")
    with pytest.raises(DataError, match=r"mel vocoder 'mel vocoder' speaks .* 'a decoder' makes: window 128, not 64"):
        MelVoice(decoder, vocoder=other)


def test_the_decoders_definition_is_of_the_mels_that_it_learns(tmp_path: Path) -> None:
    module = trained_decoder(tmp_path / "decoder").module
    wav = 0.1 * torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    found = module.mels(module.patches(wav, torch.tensor([400]), 10))
    torch.testing.assert_close(found, MELS.log_mels(wav, torch.tensor([400]), 20))

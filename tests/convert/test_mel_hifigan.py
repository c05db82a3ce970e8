"""Released HiFi-GANs of mels: random weights of transformers' SpeechT5HifiGan, and in the original's layout."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechssl.cli import main
from speechssl.errors import CheckpointError
from speechssl.units import mel_vocoder as folders
from tests.encoders.parity import randomize

transformers = pytest.importorskip("transformers")
SHAPE: dict[str, Any] = {
    "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8], "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3], [1, 3]],
}  # fmt: skip
ORIGINAL: dict[str, Any] = {**SHAPE, "resblock": "1", "num_mels": 10, "n_fft": 1024, "hop_size": 256, "win_size": 1024,
                            "sampling_rate": 22050, "fmin": 0, "fmax": 8000}  # fmt: skip


def oracle(**others: Any) -> Any:
    """transformers' module with random weights."""
    torch.manual_seed(0)
    made = transformers.SpeechT5HifiGan(transformers.SpeechT5HifiGanConfig(model_in_dim=10, **SHAPE, **others))
    randomize(made)
    made.scale.abs_()
    return made.eval()


def released(folder: Path, module: Any, **changed: Any) -> Path:
    """The same weights as the original's files have them: weight norm as length and direction."""
    tensors = {}
    for name, tensor in module.state_dict().items():
        if name in ("mean", "scale"):
            continue
        name = name.replace("upsampler", "ups")
        if name.endswith(".weight"):
            length = tensor.square().sum((1, 2), keepdim=True).sqrt()
            tensors |= {f"{name}_g": length, f"{name}_v": 3 * tensor}
        else:
            tensors[name] = tensor
    folder.mkdir()
    torch.save({"generator": tensors}, folder / "generator_v1")
    (folder / "config.json").write_text(json.dumps({**ORIGINAL, **changed}))
    return folder


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("form", ["safetensors", "bin", "weight norm"])
def test_a_speecht5_folder_has_transformers_samples_and_gradients(form: str, normalize: bool, tmp_path: Path) -> None:
    theirs = oracle(normalize_before=normalize)
    if form == "weight norm":
        theirs.apply_weight_norm()
    theirs.save_pretrained(tmp_path, safe_serialization=form != "bin")
    ours = folders.load(tmp_path).module.requires_grad_(True)
    mels = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    pair = [mels.clone().requires_grad_(), mels.clone().requires_grad_()]
    expected, found = theirs(pair[0]), ours(pair[1])
    assert expected.shape == (2, 6 * 256) and float(expected.detach().std()) > 0.01
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for made in (expected, found):
        made.square().sum().backward()
    torch.testing.assert_close(pair[1].grad, pair[0].grad, atol=1e-4, rtol=1e-4)
    layers = theirs.conv_pre.bias, theirs.resblocks[3].convs2[1].bias, theirs.conv_post.bias
    own = ours.generator.first.bias, ours.generator.blocks[1][2].branches[1][1].last.bias, ours.generator.last.bias
    for one, other in zip(own, layers, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)


def test_an_original_checkpoint_says_the_same_and_has_the_mels_of_its_config(tmp_path: Path) -> None:
    theirs = oracle(normalize_before=False)
    loaded = folders.load(released(tmp_path / "v1", theirs))
    mels = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(loaded(mels), theirs(mels), atol=1e-5, rtol=1e-5)
    own = loaded.module.config.mels
    assert (loaded.sample_rate, own.hop, own.fft_length, own.low_hz, own.top_hz) == (22050, 256, 1024, 0, 8000)
    fast = folders.load(tmp_path / "v1").accelerate()
    torch.testing.assert_close(fast(mels), loaded(mels), atol=1e-5, rtol=0)
    lower = folders.load(released(tmp_path / "lower", theirs, fmax=None)).module.config.mels
    assert lower.top_hz == 11025


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"resblock": "2"}, "resblock '2'"),
        ({"resblock_dilation_sizes": [[1, 3], [1, 2]]}, "different dilations"),
        ({"hop_size": 200}, "200 samples"),
        ({"fmax": 20000}, "20000"),
        ({"resblock_kernel_sizes": [3, 7]}, "shapes disagree"),
        ({"upsample_initial_channel": 1 << 40}, "not a model|shapes disagree|usable"),
        ({"num_embeddings": 9, "embedding_dim": 4}, "--vocoder"),
        ({"upsample_rates": "x"}, "usable"),
        ({"model_in_dim": 10, "sampling_rate": 24000}, "16 ms"),
        ({"model_in_dim": 10, "sampling_rate": 16000, "leaky_relu_slope": 0.2}, "leaky_relu_slope"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = released(tmp_path / "v1", oracle(), **changed)
    with pytest.raises(CheckpointError, match=said):
        folders.load(folder)


def test_weights_that_are_missing_strange_or_several_are_refused(tmp_path: Path) -> None:
    folder = released(tmp_path / "v1", oracle())
    torch.save({"generator": {"conv_pre.weight": torch.zeros(1)}}, folder / "generator_v1")
    with pytest.raises(CheckpointError, match="missing"):
        folders.load(folder)
    torch.save({"generator": {"mel.weight": torch.zeros(1)}}, folder / "generator_v1")
    with pytest.raises(CheckpointError, match=r"'mel\.weight' is no weight"):
        folders.load(folder)
    torch.save({"mpd": {}}, folder / "generator_v1")
    with pytest.raises(CheckpointError, match="no 'generator'"):
        folders.load(folder)
    (folder / "do_0").write_bytes(b"")
    with pytest.raises(CheckpointError, match="one checkpoint of a generator, found do_0, generator_v1"):
        folders.load(folder)


def test_copy_synthesis_is_at_the_vocoders_own_rate_with_its_own_mels(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    folder = released(tmp_path / "v1", oracle(normalize_before=False))
    (tmp_path / "in").mkdir()
    wav = np.random.default_rng(0).normal(0, 0.1, 3000).astype(np.float32)
    soundfile.write(tmp_path / "in" / "a.wav", wav, 22050, subtype="FLOAT")
    command = ["resynth", str(tmp_path / "in"), "--mel-vocoder", str(folder), "-o", str(tmp_path / "out"), "--quiet"]
    assert main(command) == 0
    found, rate = soundfile.read((tmp_path / "out" / "wav.scp").read_text().split(" ", 1)[1].strip())
    loaded = folders.load(folder)
    assert rate == 22050 and len(found) == 11 * 256
    np.testing.assert_allclose(found, loaded(loaded.mels(wav)).numpy(), atol=2 / 32768)

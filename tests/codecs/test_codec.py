"""What every codec owes its users: an utterance's codes and waveform are its own, lengths are exact, files whole."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from speechssl.codecs.model import Codec, Config
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.quantizers.fsq import FSQ
from speechssl.units import codec as files
from speechssl.units.model import UnitModel
from tests.codecs import helpers
from tests.codecs.helpers import CONFIGS, make

LENGTHS = (811, 400, 0, 1, 79)


@pytest.fixture(params=sorted(CONFIGS))
def codec(request: pytest.FixtureRequest) -> Codec:
    return make(request.param)


def waves(padding: float) -> Tensor:
    wav = torch.full((len(LENGTHS), max(LENGTHS) + 50), padding)
    for row, length in enumerate(LENGTHS):
        wav[row, :length] = 0.3 * torch.randn(length, generator=torch.Generator().manual_seed(row))
    return wav


@pytest.mark.parametrize("padding", [float("nan"), 0.0, 1e4])
def test_codes_and_waveforms_of_a_batch_are_those_of_each_alone(codec: Codec, padding: float) -> None:
    wav, lengths = waves(padding), torch.tensor(LENGTHS)
    codes, counts = codec.encode(wav, lengths)
    made = codec.decode(codes, counts)
    assert counts.tolist() == [-(-length // 40) for length in LENGTHS]
    assert codes.shape == (len(LENGTHS), 22, len(codec.sizes)) and made.shape == (len(LENGTHS), 22 * 40)
    for row, length in enumerate(LENGTHS):
        alone, _ = codec.encode(wav[row : row + 1, :length])
        frames = alone.shape[1]
        assert torch.equal(codes[row, :frames], alone[0]) and not codes[row, frames:].any()
        torch.testing.assert_close(made[row, : 40 * frames], codec.decode(alone)[0], atol=1e-4, rtol=1e-4)
        assert not made[row, 40 * frames :].any()


def test_codes_differ_and_lie_within_their_codebooks(codec: Codec) -> None:
    codes, _ = codec.encode(waves(0.0))
    for book, size in zip(codes.unbind(-1), codec.sizes, strict=True):
        assert int(book.min()) >= 0 and int(book.max()) < size and len(book.unique()) > 2


def test_rvq_codes_are_the_greedy_ones_and_decoding_adds_their_entries() -> None:
    codec = make("wave-rvq").double()
    wav = waves(0.0)[:2].double()
    frames, _ = codec.encoder(wav)
    codes, _ = codec.encode(wav)
    expected = torch.zeros_like(frames)
    for book in range(3):
        distances = ((frames - expected).unsqueeze(2) - codec.codebooks[book]).square().sum(-1)
        assert torch.equal(distances.argmin(-1), codes[..., book])
        expected = expected + codec.codebooks[book][distances.argmin(-1)]
        torch.testing.assert_close(codec.vectors(codes[..., : book + 1]).double(), expected, atol=1e-6, rtol=1e-6)


def test_a_recording_comes_back_with_its_length_whatever_it_is(codec: Codec) -> None:
    for samples in (0, 1, 39, 40, 41, 811):
        codes, _ = codec.encode(torch.randn(1, samples))
        assert codec.synthesize(codes[0], samples).shape == (samples,)
        assert codec.synthesize(codes[0]).shape == (-(-samples // 40) * 40,)
    with pytest.raises(DataError, match=r"41\.\.80 samples, not of 40"):
        codec.synthesize(torch.zeros(2, len(codec.sizes), dtype=torch.int64), 40)


def test_a_long_recording_in_pieces_is_the_one_decoded_whole(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.randint(size, (500,), generator=generator) for size in codec.sizes], -1)
    monkeypatch.setattr("speechssl.codecs.model._PIECE", 110)
    torch.testing.assert_close(codec.synthesize(codes), codec.decode(codes[None])[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["wave-rvq", "mel-rvq"])
def test_a_long_recording_encoded_in_windows_is_the_one_encoded_whole(name: str) -> None:
    pretrained = files.pretrained_encoder(make(name))
    wav = 0.3 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    windows = pretrained.features_long(wav[:15_999], 0, window_s=0.3, overlap_s=0.1)
    torch.testing.assert_close(windows, pretrained.features(wav[:15_999], 0), atol=1e-4, rtol=1e-4)


def test_the_bit_rate_is_frames_times_bits(codec: Codec) -> None:
    bits = 3 * 4 if not isinstance(codec.fsq, FSQ) else math.log2(60)
    assert codec.rate_hz == 400 and codec.bitrate == pytest.approx(400 * bits)


def test_saved_and_loaded_it_is_the_same_codec_and_a_unit_model(codec: Codec, tmp_path: Path) -> None:
    files.save(tmp_path / "codec", codec)
    again = files.load(tmp_path / "codec")
    assert again.config == codec.config and files.sha256(again) == files.sha256(codec)
    wav = waves(0.0)[:1, :811]
    codes, _ = codec.encode(wav)
    assert torch.equal(again.encode(wav)[0], codes)
    assert torch.equal(again.decode(codes), codec.decode(codes))
    model = UnitModel.load(tmp_path / "codec")
    units = torch.from_numpy(model(wav[0], 16_000).ids)
    assert model.size == math.prod(codec.sizes) and model.rate_hz == 400
    split = units.unsqueeze(1) if codec.fsq is not None else model.quantizer.codes(units)
    assert torch.equal(split, codes[0])
    frames = model.quantizer.decode(units)
    torch.testing.assert_close(frames, codec.vectors(codes)[0], atol=1e-6, rtol=1e-6)


def test_a_unit_model_has_as_many_codebooks_as_24_bits_hold() -> None:
    wide = Codec(Config(helpers.WAVE, helpers.UP, num_codebooks=5, codebook_size=1024))
    wide.codebooks.normal_()
    assert files.unit_model(wide).size == 1024**2 and files.unit_model(wide, num_codebooks=1).size == 1024
    fits = Codec(Config(helpers.WAVE, helpers.UP, num_codebooks=4, codebook_size=64))
    fits.codebooks.normal_()
    assert files.unit_model(fits).size == 1 << 24


@pytest.mark.parametrize("name", ["codec.json", "codec.safetensors", "encoder/model.safetensors"])
def test_changed_or_missing_files_are_refused(name: str, tmp_path: Path) -> None:
    files.save(tmp_path, make())
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"codec|encoder"):
        files.load(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError):
        files.load(tmp_path)


def test_a_card_that_claims_a_huge_codec_is_refused_without_building_it(tmp_path: Path) -> None:
    files.save(tmp_path, make())
    raw = json.loads((tmp_path / "codec.json").read_text())
    raw["config"]["decoder"]["channels"] = 1 << 30
    (tmp_path / "codec.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match="not a usable codec"):
        files.load(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"num_codebooks": 2},
        {"num_codebooks": 65, "codebook_size": 4},
        {"num_codebooks": 2, "codebook_size": 4, "levels": (3,)},
        {"quantizer": "fsq"},
        {"quantizer": "fsq", "levels": (3,), "num_codebooks": 1},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Config(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        Config(helpers.WAVE, {**helpers.UP, "strides": (10, 8)}, **helpers.RVQ),
        Config({**helpers.WAVE, "dim": 4}, helpers.UP, **helpers.FSQ),
        Config({"family": "mfcc"}, helpers.UP, **helpers.RVQ),
        Config(helpers.WAVE, {**helpers.UP, "kind": "flow"}, **helpers.RVQ),
        Config(helpers.WAVE, {**helpers.UP, "hop": 40}, **helpers.RVQ),
    ],
)
def test_parts_that_do_not_fit_are_refused(config: Config) -> None:
    with pytest.raises(ConfigError):
        Codec(config)


def test_codes_that_do_not_exist_and_samples_that_are_no_numbers_are_refused() -> None:
    codec = make()
    with pytest.raises(DataError, match=r"0\.\.15"):
        codec.decode(torch.full((1, 3, 3), 16))
    with pytest.raises(DataError, match="1 to 3"):
        codec.decode(torch.zeros(1, 3, 4, dtype=torch.int64))
    with pytest.raises(DataError, match="finite"):
        codec.encode(torch.full((1, 100), float("nan")))

"""Long recordings in windows against one pass over the whole: what is exact, what is bounded, what memory it takes."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from speechssl import encoders
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import ConfigError
from tests.encoders.parity import randomize
from tests.encoders.tiny import TINY

CASES = [(family, i) for family in TINY for i in range(len(TINY[family]))]
SECONDS = 13
WINDOWS = {"window_s": 4.0, "overlap_s": 1.0}  # the tiny positional convolutions see 0.32 s at most


def pretrained(
    family: str, case: int = 0, *, normalize: bool = False, dtype: torch.dtype = torch.float64
) -> Pretrained:
    values = TINY[family][case]
    model = encoders.build(family, values)
    randomize(model)
    return Pretrained(model.eval().to(dtype), EncoderCard(family, values, normalize=normalize))


def recording(seconds: float = SECONDS, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Noise whose level and offset drift, so that statistics of a part are not those of the whole."""
    time = torch.linspace(0, 1, round(seconds * 16000) + 123, dtype=torch.float64)
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return ((0.05 + time) * noise + 0.3 * time).to(dtype)


def relative_error(ours: Tensor, whole: Tensor) -> float:
    assert ours.shape == whole.shape
    return float((ours - whole).abs().max() / whole.abs().max())


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("family", "case"), CASES)
def test_layer_0_equals_that_of_one_pass(family: str, case: int, normalize: bool) -> None:
    model = pretrained(family, case, normalize=normalize)
    wav = recording()
    assert relative_error(model.features_long(wav, 0, **WINDOWS), model.features(wav, 0)) <= 1e-9


@pytest.mark.parametrize("family", ["hubert", "mfcc"])
def test_layer_0_equals_that_of_one_pass_in_float32(family: str) -> None:
    model = pretrained(family, normalize=True, dtype=torch.float32)
    wav = recording(dtype=torch.float32)
    assert relative_error(model.features_long(wav, 0, **WINDOWS), model.features(wav, 0)) <= 1e-5


def test_statistics_of_the_window_would_be_wrong() -> None:
    """The global statistics matter: windows normalised by themselves differ grossly on this recording."""
    model = pretrained("hubert")
    wav = recording()
    alone = model.features(wav[: 4 * 16000], 0)
    assert relative_error(alone[:100], model.features(wav, 0)[:100]) > 0.1


@pytest.mark.parametrize("samples", [0, 399, 400, 5000, 64000, 64319, 64320, 64400, 64720, 70000])
@pytest.mark.parametrize("family", ["hubert", "sew", "mfcc"])
def test_there_are_as_many_frames_as_in_one_pass(family: str, samples: int) -> None:
    model = pretrained(family)
    wav = recording()[:samples]
    pieces = list(model.features_stream(lambda: [wav], 0, **WINDOWS))
    first, hop = model.encoder.receptive_field, model.encoder.hop
    assert sum(map(len, pieces)) == max(0, (samples - first) // hop + 1)


@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "mfcc"])
def test_what_fits_into_one_window_is_done_whole(family: str) -> None:
    model = pretrained(family, normalize=True)
    wav = recording(3.9)
    layer = model.encoder.num_layers
    (piece,) = model.features_stream(lambda: wav.split(1000), layer, **WINDOWS)
    assert torch.equal(piece, model.features(wav, layer))


@pytest.mark.parametrize(("family", "case"), [("wav2vec2", 1), ("hubert", 0), ("mfcc", 1), ("sew", 0)])
def test_the_sizes_of_the_blocks_do_not_matter(family: str, case: int) -> None:
    model = pretrained(family, case, normalize=True)
    wav = recording()
    layer = model.encoder.num_layers
    expected = model.features_long(wav, layer, **WINDOWS)
    for size in (777, 30000):
        pieces = model.features_stream(lambda size=size: wav.split(size), layer, **WINDOWS)
        torch.testing.assert_close(torch.cat([*pieces]), expected, rtol=0, atol=1e-9)


def test_the_recording_is_read_from_the_start_at_most_four_times() -> None:
    calls = []

    def make_blocks() -> Iterator[Tensor]:
        calls.append(1)
        return iter(recording().split(5000))

    list(pretrained("hubert", normalize=True).features_stream(make_blocks, 1, **WINDOWS))
    assert len(calls) == 4
    calls.clear()
    list(pretrained("wav2vec2", 1).features_stream(make_blocks, 1, **WINDOWS))
    assert len(calls) == 2


def test_nothing_beyond_a_window_reaches_a_frame() -> None:
    """Without global statistics (layer norm, no normalisation) context ends with the window."""
    model = pretrained("wav2vec2", 1)
    wav = recording()
    changed = wav.clone()
    changed[8 * 16000 :] = 0
    before, after = (model.features_long(x, 3, **WINDOWS) for x in (wav, changed))
    assert torch.equal(before[: 4 * 50], after[: 4 * 50])  # 4 s away
    assert not torch.equal(before[7 * 50 : 8 * 50], after[7 * 50 : 8 * 50])


def joins(num_frames: int, window: int, overlap: int) -> Tensor:
    """Frames that stand first in a piece, as many pieces as the recording gives."""
    firsts = list(range(window - overlap, num_frames - overlap, window - 2 * overlap))
    return torch.tensor(firsts)


def seam_ratio(model: Pretrained, overlap_s: float) -> float:
    """Difference to one pass within 0.1 s of a join, over that elsewhere; means over frames, last layer."""
    wav = recording(40)
    layer = model.encoder.num_layers
    error = (model.features_long(wav, layer, window_s=4.0, overlap_s=overlap_s) - model.features(wav, layer)).norm(
        dim=1
    )
    size, overlap = (4 * 16000 - 400) // 320 + 1, -(-round(overlap_s * 16000) // 320)
    distance = (torch.arange(len(error)).unsqueeze(1) - joins(len(error), size, overlap)).abs().min(1).values
    return float(error[distance <= 5].mean() / error[distance > 5].mean())


@pytest.mark.parametrize(("family", "case"), [("wav2vec2", 0), ("wav2vec2", 1), ("data2vec_audio", 0), ("wavlm", 1)])
def test_frames_at_a_join_are_no_worse_than_others(family: str, case: int) -> None:
    model = pretrained(family, case)
    assert seam_ratio(model, 1.0) <= 1.15


def test_without_overlap_the_joins_would_show() -> None:
    assert seam_ratio(pretrained("wav2vec2", 1), 0.0) > 1.5


def test_windows_that_keep_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="overlap_s"):
        list(pretrained("mfcc").features_stream(lambda: [recording()], 0, window_s=4.0, overlap_s=2.0))


PEAK = """
import resource, sys, torch
from speechssl.encoders import build
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from tests.encoders.tiny import TINY
family, case, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
model = Pretrained(build(family, TINY[family][case]).eval(), EncoderCard(family, {}, normalize=family != "mfcc"))
block = 0.1 * torch.randn(16000)
frames = sum(len(piece) for piece in model.features_stream(lambda: (block for _ in range(seconds)), 0))
assert frames == (16000 * seconds - 400) // 320 + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mb(family: str, case: int, seconds: int) -> int:
    command = [sys.executable, "-c", PEAK, family, str(case), str(seconds)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(("family", "case", "short", "long"), [("mfcc", 0, 300, 3600), ("hubert", 0, 120, 360)])
def test_memory_does_not_grow_with_the_recording(family: str, case: int, short: int, long: int) -> None:
    assert peak_mb(family, case, long) - peak_mb(family, case, short) <= 25

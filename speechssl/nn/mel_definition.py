"""What log mels are, in full: two programs mean the same numbers where these are equal, and nowhere else.

The defaults are this project's own. HiFi-GAN's and SpeechT5's differ in the scale, the logarithm, the window, the edges
and in where a frame is; see `convert.mel_hifigan`.

B utterances, S samples, T frames, M mel bins, F bins of the spectrum.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from speechssl.errors import ConfigError, DataError
from speechssl.nn.lengths import zero_padding
from speechssl.nn.mel import mel_filters, slaney_filters, windowed_power

_MOST = 1 << 16  # samples and bins


@dataclass(frozen=True)
class MelDefinition:
    """How waveforms become log mels."""

    sample_rate: int = 16000  # Hz
    hop: int = 160  # samples
    window: int = 1024  # samples under the Hann window
    fft: int = 0  # length of the transform; 0: the power of two from the window on
    num_mels: int = 80
    filters: Literal["htk", "slaney"] = "htk"  # height 1, on HTK's scale; or area 1, on Slaney's (librosa's default)
    low_hz: float = 0.0  # where the filters begin, and
    high_hz: float = 0.0  # end; 0: half the sample rate
    of: Literal["power", "magnitude"] = "power"
    logarithm: Literal["natural", "base 10"] = "natural"
    floor: float = 1e-4  # under the logarithm
    added: float = 0.0  # to the power of every bin, before mels
    centre: Literal["hop", "start"] = "hop"  # frame t is around the middle of its hop, or around its first sample
    edges: Literal["silence", "mirror"] = "silence"  # what is thought to be beyond the ends
    periodic: bool = False  # the window, as spectra have it

    def __post_init__(self) -> None:
        """Refuse what nobody computes."""
        sizes = (self.hop, self.window, self.num_mels)
        if min(sizes) < 1 or max(*sizes, self.fft) > _MOST or self.fft < 0 or 0 < self.fft < self.window:
            raise ConfigError(f"mels need hop, window and num_mels of 1..{_MOST}, and fft of at least the window or 0, "
                              f"got {self}")  # fmt: skip
        if not 4000 <= self.sample_rate <= 192_000:
            raise ConfigError(f"sample_rate must be 4000..192000 Hz, got {self.sample_rate}")
        if self.floor <= 0 or self.added < 0 or not 0 <= self.low_hz < self.top_hz <= self.sample_rate / 2:
            raise ConfigError(
                f"mels need a floor above 0, and low_hz < high_hz <= {self.sample_rate / 2:g}, got {self}"
            )
        if self.filters == "htk" and (self.low_hz or self.top_hz != self.sample_rate / 2):
            raise ConfigError("filters on HTK's scale are of all frequencies here: leave low_hz and high_hz out")
        if self.centre == "hop" and (self.window < self.hop or (self.window - self.hop) % 2):
            raise ConfigError(f"window={self.window} must be at least hop={self.hop} and even with it, for frames that "
                              "are around the middle of their hops")  # fmt: skip

    @property
    def top_hz(self) -> float:
        """Where the filters end."""
        return self.high_hz or self.sample_rate / 2

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    @property
    def fft_length(self) -> int:
        """Of the transform."""
        return self.fft or 1 << (self.window - 1).bit_length()

    def num_frames(self, samples: int) -> int:
        """Frames of so many samples: as HiFi-GAN counts them (whole hops), or librosa and SpeechT5 (one more)."""
        return samples // self.hop + (self.centre == "start")

    def log_mels(self, wav: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
        """[B, num_frames, M] float32 or wider of wav [B, S] with lengths [B] of at least one sample.

        What is behind `num_frames(length)` is of silence, or of what a mirror makes of the utterance.
        """
        wav = wav.to(torch.promote_types(wav.dtype, torch.float32))
        first = -((self.window - self.hop) // 2 if self.centre == "hop" else self.window // 2)
        seen = torch.arange(first, first + max(0, num_frames - 1) * self.hop + self.window, device=wav.device)
        last = lengths.to(wav.device).unsqueeze(1) - 1
        if self.edges == "mirror":
            there = seen % (2 * last).clamp_min(1)  # numpy's "reflect", of any length
            samples = wav.gather(1, torch.minimum(there, 2 * last - there).clamp_min(0))
        else:
            inside = (seen >= 0) & (seen <= last)
            samples = zero_padding(wav.gather(1, seen.clamp(0, wav.shape[1] - 1).expand(len(wav), -1)), inside)
        power = windowed_power(samples.unfold(1, self.window, self.hop), self.fft_length, periodic=self.periodic)
        spectrum = power + self.added if self.added else power
        if self.of == "magnitude":
            spectrum = spectrum.sqrt()
        mels = (spectrum @ self.matrix().to(spectrum)).clamp_min(self.floor)
        return (mels.log10() if self.logarithm == "base 10" else mels.log())[:, :num_frames]

    def matrix(self) -> Tensor:
        """The filters [F, M]."""
        if self.filters == "htk":
            return mel_filters(self.num_mels, self.fft_length, self.sample_rate)
        return slaney_filters(self.num_mels, self.fft_length, self.sample_rate, self.low_hz, self.top_hz)

    def check(self, other: "MelDefinition", own: str, others: str) -> None:
        """DataError that names both, `own` and `others`, and how their mels differ, unless they are the same."""
        mine, theirs = (asdict(one) | {"fft": one.fft_length, "high_hz": one.top_hz} for one in (self, other))
        if found := [f"{name} {mine[name]!r}, not {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]:
            raise DataError(f"{own} speaks other mels than {others} makes: {', '.join(found)}")

"""One utterance to frames or ids, in the process that holds the model."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl.data.corpus import stream_utterance
from speechssl.data.utterance import Utterance
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import AudioError
from speechssl.extract.job import Job
from speechssl.quantizers import Quantizer, SequenceQuantizer, SoftQuantizer

_BLOCK_S = 10.0  # of audio decoded at once


@dataclass(frozen=True)
class Encoded:
    """What one utterance gave: ids [T] int64, or features [T, C] float32 (mapped from a file where long).

    Of a quantizer of sequences: units [N] int64 in place of ids.
    """

    frames: np.ndarray
    num_samples: int  # at the encoder's rate
    notes: tuple[str, ...]


class Encoder:
    """The model of a job, ready to encode utterances one at a time, whatever their length."""

    def __init__(
        self,
        job: Job,
        pretrained: Pretrained,
        layer: int,
        quantizer: Quantizer | None,
        *,
        allow_pipes: bool = False,
        allow_remote: bool = False,
    ) -> None:
        self.job = job
        self._pretrained = pretrained
        self._layer = layer
        self._quantizer = quantizer
        self._discrete = job.kind == "units" or job.store == "codes"
        self._allowed = allow_pipes, allow_remote
        self._rate = int(pretrained.encoder.sample_rate)

    def encode(self, utterance: Utterance, spool: Path, beat: Callable[[], None]) -> Encoded:
        """Encode one utterance. `spool` is a file to use for long features; `beat` is called as work goes on.

        Raises AudioError: what audio reading raises, "too-short" for less than one frame, "non-finite-features",
        "no-units" and "out-of-memory".
        """
        try:
            recording = Recording(utterance, self._rate, self._allowed, beat)
            frames = self._collect(self._features(recording), utterance, spool)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            raise AudioError("out-of-memory", f"{utterance.shown}: {error}") from None
        return self._encoded(frames, recording, utterance)

    def read(self, utterance: Utterance, beat: Callable[[], None]) -> "Recording | None":
        """A recording with its samples in memory, for `encode_batch`; None for a long one. Raises AudioError."""
        recording = Recording(utterance, self._rate, self._allowed, beat)
        recording.samples = recording.up_to(round(self.job.long_audio.window_s * self._rate))
        return None if recording.samples is None else recording

    def encode_batch(self, recordings: Sequence["Recording"]) -> list[Encoded | AudioError]:
        """Encode recordings as one padded batch; what a failing one raised stands in its place."""
        waves = [torch.from_numpy(r.samples).to(self.job.device) for r in recordings]
        lengths = torch.tensor([len(wave) for wave in waves], device=self.job.device)
        padded = pad_sequence([self._pretrained.normalize(wave) for wave in waves], batch_first=True)
        with torch.inference_mode():
            layers, num_frames = self._pretrained.encoder.layers(padded, lengths, upto=self._layer)
        found: list[Encoded | AudioError] = []
        for recording, frames, count in zip(recordings, layers[self._layer], num_frames.tolist(), strict=True):
            try:
                kept = list(self._checked(iter([frames[:count]]), recording.utterance))
                found.append(self._encoded(kept[0] if kept else np.zeros((0, 0)), recording, recording.utterance))
            except AudioError as error:
                found.append(error)
        return found

    def _encoded(self, frames: np.ndarray, recording: "Recording", utterance: Utterance) -> Encoded:
        if not len(frames):
            needed = int(self._pretrained.encoder.receptive_field)
            message = f"{utterance.shown}: {recording.num_samples} samples, one frame needs {needed}"
            raise AudioError("too-short", message)
        if isinstance(self._quantizer, SequenceQuantizer):
            frames = self._quantizer.sequence(frames)
            if not len(frames):
                raise AudioError("no-units", f"{utterance.shown}: the normaliser writes no unit of it")
        return Encoded(frames, recording.num_samples, recording.notes)

    def _features(self, recording: "Recording") -> Iterator[Tensor]:
        """Features [T, C] in one piece, or in several where the recording is long."""
        limits = self.job.long_audio
        whole = recording.up_to(round(limits.window_s * self._rate))
        if whole is not None:
            yield self._pretrained.features(torch.from_numpy(whole).to(self.job.device), self._layer)
            return
        yield from self._pretrained.features_stream(
            recording.blocks, self._layer, window_s=limits.window_s, overlap_s=limits.overlap_s
        )

    def _collect(self, features: Iterator[Tensor], utterance: Utterance, spool: Path) -> np.ndarray:
        """All frames as one array: in memory, or in `spool` where features come in several blocks."""
        blocks = self._checked(features, utterance)
        first = next(blocks, None)
        second = next(blocks, None)
        if first is None or second is None:
            return np.zeros((0, 0), np.float32) if first is None else first
        if self._discrete:
            return np.concatenate([first, second, *blocks])
        shape = (0, first.shape[1])
        with spool.open("wb") as file:
            for block in chain([first, second], blocks):
                file.write(np.ascontiguousarray(block).data)
                shape = (shape[0] + len(block), shape[1])
        return np.memmap(spool, np.float32, "r", shape=shape)

    def _checked(self, features: Iterator[Tensor], utterance: Utterance) -> Iterator[np.ndarray]:
        with torch.inference_mode():
            for block in features:
                if not len(block):
                    continue
                if not bool(torch.isfinite(block).all()):
                    raise AudioError("non-finite-features", f"{utterance.shown}: the encoder gave NaN or infinity")
                if self._quantizer is None:
                    yield block.float().cpu().numpy()
                elif self._discrete:
                    yield self._quantizer.encode(block).cpu().numpy()
                else:
                    assert isinstance(self._quantizer, SoftQuantizer)
                    yield self._quantizer.soft(block).cpu().numpy()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not get memory; on the CPU it says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


class Recording:
    """The samples of an utterance, as often as they are asked for."""

    def __init__(self, utterance: Utterance, rate: int, allowed: tuple[bool, bool], beat: Callable[[], None]) -> None:
        self.utterance, self._rate, self._beat = utterance, rate, beat
        self._allow_pipes, self._allow_remote = allowed
        self.num_samples = 0
        self.notes: tuple[str, ...] = ()
        self.samples: np.ndarray | None = None  # where all of them were asked for and kept

    def up_to(self, limit: int) -> np.ndarray | None:
        """All samples, or None where there are more than `limit`."""
        parts: list[np.ndarray] = []
        blocks = self._arrays()
        for block in blocks:
            parts.append(block)
            if self.num_samples > limit:
                blocks.close()
                return None
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def blocks(self) -> Iterator[Tensor]:
        """All samples in blocks."""
        return map(torch.from_numpy, self._arrays())

    def _arrays(self) -> Generator[np.ndarray, None, None]:
        self.num_samples = 0
        try:
            stream = stream_utterance(self.utterance, sample_rate=self._rate, allow_pipes=self._allow_pipes,
                                      allow_remote=self._allow_remote, block_s=_BLOCK_S)  # fmt: skip
            with closing(stream):
                for block in stream:
                    self._beat()
                    self.num_samples += len(block)
                    yield block
                self.notes = stream.notes
        except OSError as error:
            raise AudioError("unreadable", f"{self.utterance.shown}: {error.strerror or error}") from None

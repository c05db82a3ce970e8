"""Rows to outcomes: one by one on the CPU, in batches of like lengths on a GPU.

On the CPU a batch brings nothing and padding costs; a GPU needs batches to be busy. Rows are read ahead by threads (the
decoders release the interpreter's lock), sorted by length so that little is padded, and given back in their order. How
rows are batched follows from the shard alone, so a shard gives the same bytes again on the same kind of GPU.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError
from speechssl.extract.encode import Encoded, Encoder, Recording, is_out_of_memory

READ_AHEAD_S = 1800.0  # of audio held in memory, 64 kB each second
BATCH_S = 240.0  # padded audio in one batch
_READERS = 4

Outcome = Encoded | AudioError
Beat = Callable[[int], None]  # called with the row in hand


def one_by_one(
    encoder: Encoder, rows: Sequence[Utterance], skip: Mapping[int, AudioError], spool: Path, beat: Beat
) -> Iterator[Outcome]:
    """Encode every row alone."""
    for row, utterance in enumerate(rows):
        beat(row)
        yield skip.get(row) or _alone(encoder, utterance, spool, row, beat)


def in_batches(
    encoder: Encoder, rows: Sequence[Utterance], spool: Path, beat: Beat, *, batch_s: float = BATCH_S,
    read_ahead_s: float = READ_AHEAD_S,
) -> Iterator[Outcome]:  # fmt: skip
    """Encode rows in batches of like lengths; long recordings alone."""
    rate = encoder.job.model.sample_rate
    with ThreadPoolExecutor(_READERS) as readers:
        start = 0
        while start < len(rows):
            held = list(_read_ahead(readers, encoder, rows, start, round(read_ahead_s * rate)))
            short = {start + i: found for i, found in enumerate(held) if isinstance(found, Recording)}
            done: dict[int, Outcome] = {}
            for batch in batches({row: found.num_samples for row, found in short.items()}, round(batch_s * rate)):
                beat(batch[0])
                done |= zip(
                    batch, _together(encoder, [short[row] for row in batch], rows, batch, spool, beat), strict=True
                )
            for row, found in enumerate(held, start):
                beat(row)
                if isinstance(found, AudioError):
                    yield found
                else:
                    yield _alone(encoder, rows[row], spool, row, beat) if found is None else done.pop(row)
            start += len(held)


def batches(num_samples: Mapping[int, int], limit: int) -> Iterator[list[int]]:
    """Rows in groups of like length, longest first, each at most `limit` samples with its padding (or one row)."""
    group: list[int] = []
    for row in sorted(num_samples, key=lambda row: (-num_samples[row], row)):
        if group and (len(group) + 1) * num_samples[group[0]] > limit:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _read_ahead(
    readers: ThreadPoolExecutor, encoder: Encoder, rows: Sequence[Utterance], start: int, limit: int
) -> Iterator[Recording | AudioError | None]:
    """What reading the next rows gave, until `limit` samples are held."""
    total = 0
    for begin in range(start, len(rows), 4 * _READERS):
        for found in readers.map(lambda u: _read(encoder, u), rows[begin : begin + 4 * _READERS]):
            total += found.num_samples if isinstance(found, Recording) else 0
            yield found
        if total >= limit:
            return


def _read(encoder: Encoder, utterance: Utterance) -> Recording | AudioError | None:
    try:
        return encoder.read(utterance, lambda: None)
    except AudioError as error:
        return error


def _together(
    encoder: Encoder, recordings: list[Recording], rows: Sequence[Utterance], batch: list[int], spool: Path, beat: Beat
) -> list[Outcome]:
    try:
        return encoder.encode_batch(recordings)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return [_alone(encoder, rows[row], spool, row, beat) for row in batch]


def _alone(encoder: Encoder, utterance: Utterance, spool: Path, row: int, beat: Beat) -> Outcome:
    try:
        return encoder.encode(utterance, spool, lambda: beat(row))
    except AudioError as error:
        return error

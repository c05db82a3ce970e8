"""Large Kaldi data directories without holding their tables: all files are read side by side.

This works where every table names the utterances in the order of `segments` (or wav.scp), as sorted tables do; ids that
it leaves out are no hindrance. The result, and what is refused, is that of `kaldi.read_dir`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from speechssl.data.kaldi import STRUCTURAL, iter_scp, parse_segment, read_scp
from speechssl.data.lines import read_table
from speechssl.data.twice import IdCheck
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

LARGE = 8 << 20  # bytes of wav.scp and segments together
_HELD = 32 << 20  # bytes of a wav.scp whose recordings are held, so that segments may name them in any order

_Find = Callable[[str, str], Utterance]  # recording id, where -> its recording


class NotInOrder(Exception):
    """A table does not have the order of the others; only a reader that holds it can use it."""


def is_large(folder: Path) -> bool:
    """Whether to try this reader first."""
    sizes = (path.stat().st_size for path in (folder / "wav.scp", folder / "segments") if path.is_file())
    return sum(sizes) > LARGE


def stream_dir(folder: str | Path, *, allow_pipes: bool = False, allow_remote: bool = False) -> Iterator[Utterance]:
    """The utterances of a data directory, which may come twice. Raises DataError as `read_dir` does, and NotInOrder."""
    folder = Path(folder)
    scp, segments = folder / "wav.scp", folder / "segments"
    columns = [_Column(folder / name, required=True) for name in ("text", "utt2spk") if (folder / name).exists()]
    columns += [
        _Column(path)
        for path in sorted(folder.iterdir())
        if path.name not in STRUCTURAL and not path.name.startswith(".") and path.is_file()
    ]
    rows = iter_scp(scp, allow_pipes=allow_pipes, allow_remote=allow_remote)
    if segments.exists():
        rows = _segments(segments, scp, allow_pipes, allow_remote)
    in_order, previous = True, b""
    for row in rows:
        values = {column.name: value for column in columns if (value := column.take(row.id)) is not None}
        text, speaker = values.pop("text", None), values.pop("utt2spk", None)
        yield Utterance(
            row.id, row.audio, row.start_s, row.end_s, row.pipe, speaker, text, values or None, row.recording
        )
        key = row.id.encode()
        in_order, previous = in_order and previous <= key, key
    for column in columns:
        column.finish(in_order)


class _Column:
    """A table read forwards, a line each time its id comes by."""

    def __init__(self, path: Path, *, required: bool = False) -> None:
        self.name = path.name
        self._path, self._required = path, required
        self._rows = read_table(path, empty_ok=path.name != "utt2spk")
        self._matched = 0
        self._before: str | None = None
        self._next: tuple[int, str, str] | None = None
        self._advance()

    def take(self, key: str) -> str | None:
        """The value of an id, where the table has it next."""
        if self._next is None or self._next[1] != key:
            return None
        value = self._next[2]
        self._matched += 1
        self._before = key
        self._advance()
        return value

    def finish(self, in_order: bool) -> None:
        """After the last utterance: what is left has no utterance, or stands in another order."""
        if self._next is None or not (self._required or self._matched):
            return  # a file whose first line has no utterance's id is no table of utterances
        number, key, _ = self._next
        if key == self._before:
            raise DataError(f"{self._path}:{number}: {key!r} was given before, in line {number - 1}")
        if self._required and in_order and (self._before is None or self._before.encode() < key.encode()):
            raise DataError(f"{self._path}: {key!r} is no utterance of this directory; see `speechssl data check`")
        raise NotInOrder(self.name)

    def _advance(self) -> None:
        try:
            self._next = next(self._rows, None)
        except DataError:
            if self._required:
                raise
            if self._matched:
                raise NotInOrder(self.name) from None
            self._next = None  # not even a table


def _segments(path: Path, scp: Path, allow_pipes: bool, allow_remote: bool) -> Iterator[Utterance]:
    find: _Find
    if scp.stat().st_size <= _HELD:
        recordings = {row.id: row for row in read_scp(scp, allow_pipes=allow_pipes, allow_remote=allow_remote)}

        def find(key: str, where: str) -> Utterance:
            if key not in recordings:
                raise DataError(f"{where}: recording {key!r} is not in wav.scp")
            return recordings[key]

        finish = None
    else:
        forwards = _Forwards(scp, allow_pipes, allow_remote)
        find, finish = forwards.find, forwards.finish
    empty = True
    for number, key, value in read_table(path):
        empty = False
        name, start, end = parse_segment(value, f"{path}:{number}")
        of = find(name, f"{path}:{number}")
        yield Utterance(key, of.audio, start, end, of.pipe, recording=name)
    if empty:
        raise DataError(f"{path}: empty")
    if finish:
        finish()


class _Forwards:
    """The recordings of a large wav.scp, which segments must name in its order."""

    def __init__(self, scp: Path, allow_pipes: bool, allow_remote: bool) -> None:
        self._open = lambda: iter_scp(scp, allow_pipes=allow_pipes, allow_remote=allow_remote)
        self._scp = scp
        self._rows = self._open()
        self._check = IdCheck()
        self._now: Utterance | None = None

    def find(self, key: str, where: str) -> Utterance:
        """The recording, not before the one found last."""
        while self._now is None or self._now.id != key:
            self._now = next(self._rows, None)
            if self._now is None:
                raise NotInOrder("segments")
            self._check.add(self._now.id)
        return self._now

    def finish(self) -> None:
        """Read what no segment uses, and see that no recording comes twice."""
        for row in self._rows:
            self._check.add(row.id)
        twice = self._check.clash(lambda: (row.id for row in self._open()))
        if twice:
            raise DataError(f"{self._scp}:{twice[1]}: the recording of line {twice[0]} was given before")

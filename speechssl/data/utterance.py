"""One row of a corpus: an id and where its audio is."""

from collections.abc import Mapping
from dataclasses import dataclass

from speechssl.data import remote


@dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance. `id` is an opaque string: never a path, never to be taken apart."""

    id: str
    audio: str  # path or address; `path:offset` for a member of a Kaldi archive, `path:offset:size` for one of a tar;
    # the command's text where `pipe`
    start_s: float | None = None  # in the recording; None = its start
    end_s: float | None = None  # None = its end
    pipe: bool = False
    speaker: str | None = None
    text: str | None = None
    extra: Mapping[str, str] | None = None  # any other per-utterance value, by the name of its file or key
    recording: str | None = None  # id of the recording, where the source names recordings apart from utterances

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickled as its fields: a dataclass with slots takes three times as long by itself."""
        return Utterance, (self.id, self.audio, self.start_s, self.end_s, self.pipe, self.speaker, self.text,
                           self.extra, self.recording)  # fmt: skip

    @property
    def shown(self) -> str:
        """`audio` for messages: an address without what it holds of credentials."""
        return remote.shown(self.audio) if not self.pipe and remote.is_address(self.audio) else self.audio

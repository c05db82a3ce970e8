"""The toolkit's own errors: bad input from outside, each with a message that names the value and the next step."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class SpeechSSLError(ValueError):
    """Bad input. Base of every error that a user can cause; anything else that is raised is a bug."""


class AudioError(SpeechSSLError):
    """A recording that cannot be used. `code` is the short reason recorded for a skipped utterance."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type["AudioError"], tuple[str, str]]:
        """Travel between processes with both arguments."""
        return type(self), (self.code, str(self))


class DataError(SpeechSSLError):
    """A data directory, manifest or table that breaks its format; the message names file and line."""


class CheckpointError(SpeechSSLError):
    """A model file that is damaged, unknown, unsafe, or does not fit the architecture it claims."""


class TrainingError(SpeechSSLError):
    """A training that cannot go on, such as one whose loss is no number any more."""


class GaveUpError(TrainingError):
    """A training that has come to nothing by the update that `training.give_up` names."""


class ConfigError(SpeechSSLError):
    """An unknown key, a wrong type, or a setting without effect; the message names the key."""


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """An OSError in the block that names no file, as one of a full disk does, names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise

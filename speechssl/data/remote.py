"""Recordings and tars behind addresses (`s3://…`, `gs://…`, `https://…`), through fsspec and only where allowed.

An address in a manifest is data, and opening it reaches out of this machine: so it takes `--allow-remote`. Files are
read into memory (large ones into a temporary file), whole or a range of bytes, with a limit on size and on time. Names
and messages never show what an address may hold of credentials: user, password, query.

Needs fsspec (`pip install 'speechssl[remote]'`) and the package of the store: s3fs, gcsfs, adlfs, aiohttp for https.
"""

import io
import re
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

from speechssl.errors import AudioError, ConfigError, DataError, SpeechSSLError

# Stores of bytes. Not fsspec's others: some of them (`::` chains, reference, zip, cached …) lead on to other addresses.
PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss", "hf", "memory")
MAX_BYTES = 4 << 30
TIMEOUT_S = 120.0  # for one file or range
TRIES = 3
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")
_IN_MEMORY = 32 << 20  # bytes; larger files go to a temporary file
_BLOCK = 1 << 20
_FOREIGN = ("aiohttp", "botocore", "aiobotocore", "s3fs", "gcsfs", "google", "azure", "adlfs", "huggingface_hub",
            "requests", "httpx")  # fmt: skip  # packages whose errors mean that a store did not answer as it should

T = TypeVar("T")


def is_address(entry: str) -> bool:
    """Whether a path is an address: `protocol://…`."""
    return "://" in entry[:40] and _ADDRESS.match(entry) is not None


def check(entry: str, where: str, *, allow_remote: bool) -> None:
    """Raise DataError, beginning with `where` (file:line), for an address that is not allowed."""
    if not allow_remote:
        raise DataError(f"{where}: {shown(entry)} is an address; add --allow-remote to read from other machines")
    try:
        _check_form(entry)
    except AudioError as error:
        raise DataError(f"{where}: {error}") from None


def shown(address: str) -> str:
    """An address for people: without user, password, query and fragment."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address.partition("://")[0] + "://…"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", "")) + ("?…" if parts.query else "")


def fetch(address: str, start: int = 0, size: int | None = None, *, timeout_s: float = TIMEOUT_S) -> BinaryIO:
    """The bytes of a file, or `size` of them from `start`. Raises AudioError.

    Codes: "missing"; "unreadable" (no permission); "remote-refused" (no address of a known store); "remote-failed"
    (no answer in time or an error after three tries, fewer bytes than there should be, more than MAX_BYTES).
    """
    return in_time(address, lambda: _read(address, start, size), timeout_s=timeout_s)


def open_file(address: str) -> BinaryIO:
    """An open file that can seek and reads ahead, for a pass over an archive's headers. Raises AudioError."""
    return in_time(address, lambda: cast(BinaryIO, _open(address, cache_type="readahead", block_size=_BLOCK)))


def in_time(address: str, action: Callable[[], T], *, timeout_s: float = TIMEOUT_S) -> T:
    """What `action` gives, tried again where the store fails. Raises AudioError as `fetch`."""
    _check_form(address)
    failure = AudioError("remote-failed", f"{shown(address)}: not tried")
    for attempt in range(TRIES):
        if attempt:
            time.sleep(0.2 * 4**attempt)
        result: list[T] = []
        errors: list[BaseException] = []
        thread = threading.Thread(target=_attempt, args=(action, result, errors), daemon=True)
        thread.start()
        thread.join(timeout_s)  # a store that hangs is left behind: not all of them know a time limit
        if result:
            return result[0]
        if not errors:
            raise AudioError("remote-failed", f"{shown(address)}: not read within {timeout_s:g} s")
        failure = _as_audio_error(errors[0], address)
        if failure.code != "remote-failed":
            break
    raise failure


def _attempt(action: Callable[[], T], result: list[T], errors: list[BaseException]) -> None:
    try:
        result.append(action())
    except BaseException as error:  # handed to the caller, who raises what is no failure of the store
        errors.append(error)


def _check_form(address: str) -> None:
    protocol = address.partition("://")[0].lower()
    if protocol not in PROTOCOLS or "::" in address:
        known = ", ".join(f"{name}://" for name in PROTOCOLS)
        raise AudioError("remote-refused", f"{shown(address)}: no address of a known store ({known})")


def filesystem(address: str, **options: Any) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it. ConfigError where a package is missing."""
    try:
        import fsspec
    except ImportError:
        raise ConfigError("addresses need fsspec: pip install 'speechssl[remote]'") from None
    try:
        found, path = fsspec.core.url_to_fs(address, **options)
        return found, str(path)
    except ImportError as error:
        raise ConfigError(f"{address.partition('://')[0]}:// needs another package: {error}") from None


def _open(address: str, **options: Any) -> Any:
    found, path = filesystem(address)
    return found.open(path, "rb", **options)


def _read(address: str, start: int, size: int | None) -> BinaryIO:
    kind = "readahead" if size is None else "none"
    with _open(address, cache_type=kind) as file:
        if start:
            file.seek(start)
        data = bytearray()
        copy: BinaryIO | None = None
        done = 0
        while size is None or done < size:
            block = file.read(_BLOCK if size is None else min(_BLOCK * 8, size - done))
            if not block:
                break
            done += len(block)
            if done > MAX_BYTES:
                raise AudioError("remote-failed", f"{shown(address)}: more than {MAX_BYTES} bytes")
            data += block
            if len(data) > _IN_MEMORY:
                copy = copy or cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
                copy.write(data)
                data.clear()
        expected = size if size is not None else getattr(file, "size", None)
    if expected is not None and done != expected:
        raise EOFError(f"{done} of {expected} bytes came")
    if copy is None:
        return io.BytesIO(bytes(data))
    copy.write(data)
    copy.seek(0)
    return copy


def _as_audio_error(error: BaseException, address: str) -> AudioError:
    """An error of a store by its kind. Its own text may hold the whole address, so it is not repeated."""
    if isinstance(error, AudioError):
        return error
    if isinstance(error, SpeechSSLError):
        raise error
    name = shown(address)
    if isinstance(error, NotImplementedError):
        return AudioError("remote-refused", f"{name}: this kind of store cannot do that (write, for instance)")
    status, unheard = _answer(error)
    if status in (404, 410) or (status is None and isinstance(error, FileNotFoundError) and not unheard):
        return AudioError("missing", f"{name}: no such file")
    if isinstance(error, PermissionError) or status in (401, 403):
        return AudioError("unreadable", f"{name}: permission denied")
    foreign = type(error).__module__.partition(".")[0] in _FOREIGN
    if not (foreign or isinstance(error, OSError | EOFError | ValueError | TimeoutError)):
        raise error
    detail = f"{error}" if isinstance(error, EOFError) else type(error).__name__ + (f" {status}" if status else "")
    return AudioError("remote-failed", f"{name}: {detail}")


def _answer(error: BaseException | None) -> tuple[int | None, bool]:
    """The number of a store's answer, and whether there was none for want of a connection.

    fsspec says "not found" of every question that fails and keeps what happened as the cause.
    """
    unheard = False
    while error is not None:
        response = getattr(error, "response", None)  # botocore's
        metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
        for status in (getattr(error, "status", None), metadata.get("HTTPStatusCode")):
            if isinstance(status, int):
                return status, False
        of_transport = type(error).__module__.startswith("aiohttp") or isinstance(error, ConnectionError | TimeoutError)
        unheard = unheard or of_transport
        error = error.__cause__
    return None, unheard

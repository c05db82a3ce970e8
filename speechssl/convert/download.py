"""Released checkpoints from the network: the Hugging Face hub, or plain HTTPS with resume and sha256.

Only what was asked for by name is fetched. Plain HTTP is refused except from this machine. Downloads live below
`$SPEECHSSL_CACHE` (default `~/.cache/speechssl`); hub files in the hub's own cache unless the variable is set.
"""

import contextlib
import fcntl
import hashlib
import http.client
import ipaddress
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from speechssl.convert.files import shard_names
from speechssl.errors import CheckpointError

_BLOCK = 1 << 20
_TIMEOUT_S = 30.0
_ATTEMPTS = 4
_MOST_BYTES = 64 << 30


@dataclass(frozen=True)
class Downloaded:
    """A file in the cache. `fresh` is False where it was there already."""

    path: Path
    sha256: str
    fresh: bool


def cache_folder() -> Path:
    """Where downloads go."""
    return Path(os.environ.get("SPEECHSSL_CACHE") or Path("~/.cache/speechssl")).expanduser()


def fetch_url(url: str, *, sha256: str = "", offline: bool = False,
              progress: Callable[[int, int | None], None] | None = None) -> Downloaded:  # fmt: skip
    """The file at `url`, from the cache or the network; an interrupted download goes on where it stopped.

    sha256: what the file must have; empty accepts any, and the result says what it has.
    progress: called with bytes so far and bytes in all (None where the server does not say).
    Raises CheckpointError: refused address, offline and not in the cache, not reachable, or another file than pinned.
    """
    _check_address(url)
    path = _place(url)
    if not path.is_file() and offline:
        raise CheckpointError(f"{url} is not in the cache ({path}) and offline was asked for; download it once, or "
                              "copy the file there")  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name("lock")):
        fresh = not path.is_file()
        if fresh:
            _download(url, path.with_name(path.name + ".part"), progress)
        part = path.with_name(path.name + ".part") if fresh else path
        found = _sha256(part)
        if sha256 and found != sha256.lower():
            part.unlink()
            part.with_suffix(".etag").unlink(missing_ok=True)
            raise CheckpointError(f"{url}: sha256 {found} instead of {sha256}; the file was discarded")
        if fresh:
            part.replace(path)
            part.with_suffix(".etag").unlink(missing_ok=True)
        return Downloaded(path, found, fresh)


def fetch_hub(repository: str, *, revision: str | None = None, offline: bool = False) -> Path:
    """The snapshot folder of a hub repository with config, preprocessor config and one set of weights.

    What is in the local cache is taken without asking the hub again; name a `revision` to get another state. Raises
    CheckpointError with the reason: no such repository, no access, not reachable, offline and not in the cache.
    """
    from huggingface_hub import errors as hub

    try:
        return _hub_snapshot(repository, revision, offline)
    except hub.GatedRepoError as error:
        raise CheckpointError(f"{repository} is gated: accept its terms on the hub and log in there") from error
    except hub.RevisionNotFoundError as error:
        raise CheckpointError(f"{repository} has no revision {revision!r}") from error
    except hub.RepositoryNotFoundError as error:
        raise CheckpointError(f"{repository}: the hub has no such public repository") from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled) as error:
        why = "offline was asked for" if offline else "the hub cannot be reached"
        raise CheckpointError(f"{repository} is not in the local cache, and {why}") from error
    except (hub.HfHubHTTPError, hub.HFValidationError, OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{repository}: cannot be fetched from the hub: {error}") from error


def _hub_snapshot(repository: str, revision: str | None, offline: bool) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cache = cache_folder() / "hub" if os.environ.get("SPEECHSSL_CACHE") else None

    def get(name: str, commit: str | None) -> Path:
        found = try_to_load_from_cache(repository, name, cache_dir=cache, revision=commit)
        if isinstance(found, str):
            return Path(found)
        if found is not None:
            raise hub.EntryNotFoundError(f"{repository} has no {name}")  # asked before
        return Path(hf_hub_download(repository, name, revision=commit, cache_dir=cache, local_files_only=offline))

    def get_if_there(name: str, commit: str) -> Path | None:
        try:
            return get(name, commit)
        except hub.EntryNotFoundError as error:
            if isinstance(error, hub.LocalEntryNotFoundError) and not offline:
                raise  # not absent: not reachable
            return None

    folder = get("config.json", revision).parent
    commit = folder.name  # everything else from the same state of the repository
    get_if_there("preprocessor_config.json", commit)
    for name in ("model.safetensors", "pytorch_model.bin"):
        if get_if_there(name, commit):
            return folder
        if index := get_if_there(f"{name}.index.json", commit):
            for shard in shard_names(index):
                get(shard, commit)
            return folder
    raise CheckpointError(f"{repository}: holds neither model.safetensors nor pytorch_model.bin")


def _place(url: str) -> Path:
    """One folder per address, so that equal file names of different models do not meet."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    safe = re.sub(r"[^\w.+-]", "_", name).lstrip(".") or "download"
    safe = f"{safe[:200]}_" if safe == "lock" or len(safe) > 200 else safe  # our lock lies beside it
    return cache_folder() / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:16] / safe


def _check_address(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        parts.port  # noqa: B018 (raises where it is no number)
    except ValueError as error:
        raise CheckpointError(f"{url!r}: no address: {error}") from None
    if parts.hostname and any(c.isspace() or not c.isprintable() for c in url):
        raise CheckpointError(f"{url!r}: an address holds no white space and no control characters")
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))):
        return
    raise CheckpointError(f"{url}: only https addresses are fetched (http from this machine only)")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that could have been asked for directly."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise CheckpointError(f"{req.full_url} redirects to {newurl}, which is not https")
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            if _download_more(url, part, progress):
                return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file: it is another file's
                part.unlink(missing_ok=True)
                continue
            raise CheckpointError(f"{url}: the server says {error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if attempt + 1 == _ATTEMPTS or (not part.exists() and not isinstance(error, ConnectionError)):
                raise CheckpointError(f"{url}: cannot be fetched: {error}. Without network, copy the file to "
                                      f"{part.with_suffix('')}") from error  # fmt: skip
    raise CheckpointError(f"{url}: the connection ended early {_ATTEMPTS} times; run again to go on from there")


def _download_more(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> bool:
    """Append what is missing; True when the file is whole."""
    tag, have = part.with_suffix(".etag"), part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "speechssl"})
    if have and tag.exists():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag.read_text(encoding="utf-8"))
    opener = urllib.request.build_opener(_CheckedRedirects)
    with opener.open(request, timeout=_TIMEOUT_S) as response:
        goes_on = response.status == 206 and str(response.headers.get("Content-Range")).startswith(f"bytes {have}-")
        have = have if goes_on else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        if total is not None and total > _MOST_BYTES:
            raise CheckpointError(f"{url}: {total} bytes are more than any checkpoint")
        etag = response.headers.get("ETag")
        if etag and not etag.startswith("W/"):
            tag.write_text(etag, encoding="utf-8")
        else:
            tag.unlink(missing_ok=True)  # without one, nobody knows whether a later part fits
        with part.open("ab" if goes_on else "wb") as file:
            have = _copy(response, file, have, total, progress)
    return total is None or have == total


def _copy(response: http.client.HTTPResponse, file: IO[bytes], have: int, total: int | None,
          progress: Callable[[int, int | None], None] | None) -> int:  # fmt: skip
    while have < _MOST_BYTES:
        try:
            block = response.read(_BLOCK)
        except http.client.IncompleteRead as error:
            block = error.partial
        file.write(block)
        have += len(block)
        if progress:
            progress(have, total)
        if not block:
            break
    file.flush()
    os.fsync(file.fileno())
    return have


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One download of a file at a time; the lock goes with the process that holds it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""Downloads against a server on loopback: resume, pins, refusals, offline; and a stand-in for the hub."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechssl.convert import download
from speechssl.errors import CheckpointError
from tests.convert import oracles
from tests.convert.server import FileServer, serving

DATA = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("SPEECHSSL_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files["/a/model.pt"] = DATA
        yield server


def parts(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.rglob("*") if p.is_file() and p.name != "lock")


def test_file_arrives_once_and_is_kept(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    url = f"{server.url}/a/model.pt"
    first = download.fetch_url(url, sha256=SHA256, progress=lambda have, total: seen.append((have, total)))
    assert first.path.read_bytes() == DATA
    assert (first.path.name, first.sha256, first.fresh) == ("model.pt", SHA256, True)
    assert seen[-1] == (len(DATA), len(DATA))
    again = download.fetch_url(url, offline=True)
    assert (again.path, again.fresh, again.sha256) == (first.path, False, SHA256)
    assert len(server.asked) == 1
    assert parts(tmp_path / "cache") == ["model.pt"]


def test_equal_names_at_two_addresses_do_not_meet(server: FileServer) -> None:
    server.files["/b/model.pt"] = b"other"
    a, b = (download.fetch_url(f"{server.url}/{x}/model.pt") for x in "ab")
    assert (a.path.read_bytes(), b.path.read_bytes()) == (DATA, b"other")


def test_cut_connection_goes_on_where_it_stopped(server: FileServer) -> None:
    server.cuts, server.cut_after = 2, 1_200_000
    got = download.fetch_url(f"{server.url}/a/model.pt", sha256=SHA256)
    assert got.path.read_bytes() == DATA
    assert [asked for _, asked in server.asked] == [None, "bytes=1200000-", "bytes=2400000-"]


def test_interrupted_download_goes_on_in_the_next_run(server: FileServer, tmp_path: Path) -> None:
    server.cuts, server.cut_after = 99, 100_000
    with pytest.raises(CheckpointError, match="run again"):
        download.fetch_url(f"{server.url}/a/model.pt")
    assert "model.pt" not in parts(tmp_path / "cache"), "half a file never stands under its name"
    server.cuts = 0
    assert download.fetch_url(f"{server.url}/a/model.pt").path.read_bytes() == DATA
    assert server.asked[-1] == ("/a/model.pt", "bytes=400000-")


def test_a_file_that_changed_meanwhile_starts_anew(server: FileServer) -> None:
    server.cuts, server.cut_after = 99, 100_000
    with pytest.raises(CheckpointError):
        download.fetch_url(f"{server.url}/a/model.pt")
    server.cuts, server.files["/a/model.pt"] = 0, DATA[::-1]
    assert download.fetch_url(f"{server.url}/a/model.pt").path.read_bytes() == DATA[::-1]


def test_without_a_tag_nothing_is_appended(server: FileServer) -> None:
    server.etags, server.cuts, server.cut_after = False, 1, 100_000
    assert download.fetch_url(f"{server.url}/a/model.pt").path.read_bytes() == DATA
    assert [asked for _, asked in server.asked] == [None, None]


def test_part_longer_than_the_file_starts_anew(server: FileServer, tmp_path: Path) -> None:
    server.cuts, server.cut_after = 99, 1000
    with pytest.raises(CheckpointError):
        download.fetch_url(f"{server.url}/a/model.pt")
    (part,) = (tmp_path / "cache").rglob("*.part")
    part.write_bytes(DATA * 2)
    server.cuts = 0
    assert download.fetch_url(f"{server.url}/a/model.pt").path.read_bytes() == DATA


def test_another_file_than_pinned_is_discarded(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"sha256 {SHA256} instead of {'0' * 64}"):
        download.fetch_url(f"{server.url}/a/model.pt", sha256="0" * 64)
    assert not [name for name in parts(tmp_path / "cache") if name.startswith("model.pt")]
    cached = download.fetch_url(f"{server.url}/a/model.pt", sha256=SHA256)
    cached.path.write_bytes(b"tampered")
    with pytest.raises(CheckpointError, match="instead of"):
        download.fetch_url(f"{server.url}/a/model.pt", sha256=SHA256, offline=True)


def test_offline_and_absent_is_an_error_that_says_where_the_file_goes(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="offline") as caught:
        download.fetch_url(f"{server.url}/a/model.pt", offline=True)
    assert str(tmp_path / "cache") in str(caught.value)
    assert server.asked == []


def test_unreachable_and_absent_files_are_errors(server: FileServer) -> None:
    with pytest.raises(CheckpointError, match="404"):
        download.fetch_url(f"{server.url}/nothing.pt")
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        download.fetch_url("http://127.0.0.1:1/model.pt")


@pytest.mark.parametrize("url", ["http://example.org/model.pt", "ftp://127.0.0.1/model.pt", "file:///etc/passwd",
                                 "http://127.0.0.1.example.org/x", "http://user@example.org/x"])  # fmt: skip
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(CheckpointError, match="only https"):
        download.fetch_url(url)


@pytest.mark.parametrize("target", ["http://example.org/model.pt", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_lead_to_allowed_addresses_only(server: FileServer, target: str) -> None:
    server.redirects["/moved"] = target
    with pytest.raises(CheckpointError):
        download.fetch_url(f"{server.url}/moved")
    server.redirects["/moved"] = f"{server.url}/a/model.pt"
    assert download.fetch_url(f"{server.url}/moved").path.read_bytes() == DATA


@pytest.mark.parametrize("name", ["%2e%2e%2f%2e%2e%2fevil.pt", "..", "", "a%00b", ".hidden", "ä ö.pt"])
def test_names_from_addresses_stay_inside_the_cache(server: FileServer, name: str, tmp_path: Path) -> None:
    server.files[f"/x/{name}"] = b"data"
    try:
        path = download.fetch_url(f"{server.url}/x/{name}").path
    except CheckpointError:
        return
    assert path.resolve().is_relative_to((tmp_path / "cache" / "downloads").resolve())
    assert not path.name.startswith(".")


def test_two_at_once_download_once(server: FileServer) -> None:
    results: list[download.Downloaded] = []
    fetch = lambda: results.append(download.fetch_url(f"{server.url}/a/model.pt", sha256=SHA256))  # noqa: E731
    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.fresh for r in results) == [False, False, True]
    assert len(server.asked) == 1


HUB_PROGRAM = """
import json, sys
from speechssl import convert
from speechssl.errors import CheckpointError
for spec, options in json.loads(sys.argv[1]):
    try:
        loaded = convert.load(spec, **options)
        print("ok", loaded.pretrained.card.name, loaded.pretrained.card.normalize, loaded.pretrained.sha256)
    except CheckpointError as error:
        print("error", str(error).replace(chr(10), " "))
"""


def ask_hub(server: FileServer, cache: Path, asks: list[tuple[str, dict[str, object]]]) -> list[str]:
    """Another process, since the hub's library reads its address when it is imported."""
    env = {**os.environ, "HF_ENDPOINT": server.url, "SPEECHSSL_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1",
           "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-c", HUB_PROGRAM, json.dumps(asks)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_hub_names_and_known_names(server: FileServer, tmp_path: Path) -> None:
    folder = oracles.save(oracles.make("hubert-base"), tmp_path / "model", normalize=True)
    commit = "a" * 40
    server.headers = {"X-Repo-Commit": commit}
    for repository in ("some-one/model", "facebook/hubert-base-ls960"):
        for file in folder.iterdir():
            for revision in ("main", commit):
                server.files[f"/{repository}/resolve/{revision}/{file.name}"] = file.read_bytes()
    lines = ask_hub(server, tmp_path / "hub", [
        ("some-one/model", {"offline": True}), ("some-one/model", {}), ("some-one/model", {"offline": True}),
        ("hubert-base-ls960", {}), ("facebook/hubert-base-ls960", {"normalize": True}), ("some-one/absent", {}),
    ])  # fmt: skip
    assert lines[0].startswith("error some-one/model is not in the local cache, and offline was asked for")
    assert lines[1].startswith("ok some-one/model True")
    assert lines[2] == lines[1]
    assert lines[3].startswith("ok hubert-base-ls960 False"), "the table knows better than preprocessor_config.json"
    assert lines[4].startswith("ok facebook/hubert-base-ls960 True")
    assert lines[5].startswith("error some-one/absent")
    server.asked.clear()
    again = ask_hub(server, tmp_path / "hub", [("some-one/model", {})])
    assert again == lines[1:2]
    assert server.asked == [], "what is in the cache is not asked for again"


def test_unreachable_hub_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(*args: object, **options: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setenv("SPEECHSSL_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(CheckpointError, match="not in the local cache, and the hub cannot be reached"):
        download.fetch_hub("some-one/model")

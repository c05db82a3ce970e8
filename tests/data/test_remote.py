"""Addresses in place of files: refused unless allowed; read whole or by range; failures say nothing of credentials."""

import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pytest

from speechssl.data import remote
from speechssl.data.corpus import open_corpus, probe_utterance, read_utterance
from speechssl.data.export import write_corpus
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, ConfigError, DataError
from speechssl.extract import plan
from tests.data.test_tar import recording, tar


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


class Handler(http.server.BaseHTTPRequestHandler):
    """Files of a dict; single ranges; some paths misbehave."""

    files: ClassVar[dict[str, bytes]] = {}
    seen: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.seen.append(f"{self.command} {path} {self.headers.get('Range', '')}")
        if path == "/secret.wav":
            self.send_response(403)
            self.end_headers()
            return
        if path == "/flaky.wav" and sum("flaky" in line for line in self.seen) <= 2:
            self.send_response(503)
            self.end_headers()
            return
        if path == "/broken.wav":
            self.send_response(500)
            self.end_headers()
            return
        data = self.files.get(path)
        if data is None:
            self.send_response(404)
            self.end_headers()
            return
        wanted = self.headers.get("Range")
        total, start = len(data), 0
        if wanted and path != "/noranges.tar":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or total - 1) + 1, total)
            data = data[start:stop]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
        else:
            self.send_response(200)
        if path != "/noranges.tar":
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if path == "/half.wav" else data)

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.files.clear()
    Handler.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


def manifests(folder: Path, address: str) -> list[Path]:
    """One utterance by every way to write it down."""
    root, _, name = address.rpartition("/")
    texts = {
        "x.tsv": f"{root}\n{name}\t1600\n", "y.tsv": f"/data\n{address}\t1600\n",
        "x.jsonl": f'{{"id": "a", "audio": "{address}"}}\n', "n.jsonl": f'{{"audio_filepath": "{address}"}}\n',
        "x.scp": f"a {address}\n", "x.lst": f"{address}\n", "kaldi/wav.scp": f"a {address}\n",
    }  # fmt: skip
    for path, text in texts.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    return [folder / path for path in texts if path != "kaldi/wav.scp"] + [folder / "kaldi"]


def test_addresses_are_refused_unless_allowed_wherever_they_stand(
    tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    memory.pipe("/b/a.wav", recording(1))
    for path in [
        *manifests(tmp_path, "memory://b/a.wav"),
        "memory://b/a.wav",
        ["memory://b/a.wav", "memory://b/c.wav"],
    ]:
        with pytest.raises(DataError, match=r"memory://b/[ac].wav is an address; add --allow-remote"):
            open_corpus(path)
    with pytest.raises(DataError, match="--allow-remote"):
        open_corpus("memory://b/a.tar")
    with pytest.raises(AudioError) as caught:
        read_utterance(Utterance("a", "memory://b/a.wav"), sample_rate=16000)
    assert caught.value.code == "remote-refused"


def test_every_kind_of_manifest_may_name_addresses(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/b/a.wav", recording(1))
    for path in [*manifests(tmp_path, "memory://b/a.wav"), "memory://b/a.wav"]:
        (utterance,) = open_corpus(path, allow_remote=True).utterances
        assert utterance.audio == "memory://b/a.wav", path
        assert len(read_utterance(utterance, sample_rate=16000, allow_remote=True).samples) == 1601
        assert probe_utterance(utterance, allow_remote=True).num_frames == 1601
    write_corpus([utterance], tmp_path / "again.jsonl", "jsonl")
    assert open_corpus(tmp_path / "again.jsonl", allow_remote=True).utterances[0].audio == utterance.audio


def test_the_sum_of_an_address_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = [Utterance("a", "s3://b/../a//x.wav")]
    first = plan.check_manifest(row, [])
    monkeypatch.chdir(tmp_path)
    assert plan.check_manifest(row, []) == first
    assert plan.check_manifest([Utterance("a", "s3://b/a/x.wav")], []) != first


def test_tars_behind_addresses_are_read_by_range(tmp_path: Path, server: str) -> None:
    path = tar(tmp_path / "x.tar", [("a.wav", recording(1)), ("b.wav", recording(2)), ("b.txt", b"zwei")])
    Handler.files.update({"/x.tar": path.read_bytes()})
    corpus = open_corpus(f"{server}/x.tar", allow_remote=True)
    local = open_corpus(path)
    assert [(u.id, u.text) for u in corpus.utterances] == [("a", None), ("b", "zwei")]
    Handler.seen.clear()
    for far, near in zip(corpus.utterances, local.utterances, strict=True):
        assert far.audio == near.audio.replace(str(path), f"{server}/x.tar")
        samples = read_utterance(far, sample_rate=16000, allow_remote=True).samples
        np.testing.assert_array_equal(samples, read_utterance(near, sample_rate=16000).samples)
    ranges = [line for line in Handler.seen if line.startswith("GET")]
    assert len(ranges) == 2
    assert all("bytes=" in line for line in ranges)


@pytest.mark.parametrize(
    ("path", "code"),
    [("/gone.wav", "missing"), ("/secret.wav", "unreadable"), ("/broken.wav", "remote-failed"),
     ("/half.wav", "remote-failed"), ("/noranges.tar:512:3244", "remote-failed")],
)  # fmt: skip
def test_failures_have_codes_and_show_no_credentials(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, path: str, code: str
) -> None:
    monkeypatch.setattr(remote.time, "sleep", lambda s: None)
    Handler.files.update({"/half.wav": recording(), "/noranges.tar": bytes(100_000)})
    name, colon, part = path.partition(":")
    address = f"{server.replace('//', '//user:pass-word@')}{name}?X-Signature=hush{colon}{part}"
    with pytest.raises(AudioError) as caught:
        read_utterance(Utterance("a", address), sample_rate=16000, allow_remote=True)
    assert caught.value.code == code
    assert "hush" not in str(caught.value)
    assert "pass-word" not in str(caught.value)
    assert name in str(caught.value)


def test_a_store_that_stumbles_is_asked_again(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.time, "sleep", lambda s: None)
    Handler.files.update({"/flaky.wav": recording(3)})
    utterance = Utterance("a", f"{server}/flaky.wav")
    assert len(read_utterance(utterance, sample_rate=16000, allow_remote=True).samples) == 1603


def test_a_machine_that_is_not_there_is_no_missing_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec raises FileNotFoundError for it."""
    monkeypatch.setattr(remote.time, "sleep", lambda s: None)
    with pytest.raises(AudioError) as caught:
        remote.fetch("http://127.0.0.1:9/x.wav")
    assert caught.value.code == "remote-failed"


def test_a_store_that_hangs_is_left_behind() -> None:
    never = threading.Event()
    with pytest.raises(AudioError) as caught:
        remote.in_time("https://h/x.wav", never.wait, timeout_s=0.05)
    never.set()
    assert caught.value.code == "remote-failed"
    assert "not read within 0.05 s" in str(caught.value)


def test_too_large_a_file_is_not_read_to_its_end(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/b/a.wav", bytes(5 << 20))
    monkeypatch.setattr(remote, "MAX_BYTES", 2 << 20)
    with pytest.raises(AudioError, match="more than 2097152 bytes"):
        remote.fetch("memory://b/a.wav")


@pytest.mark.parametrize("limit", [10, 1 << 30])
def test_files_come_whole_and_by_range_in_memory_or_not(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(remote, "_IN_MEMORY", limit)
    data = np.random.default_rng(0).bytes(3 << 20)
    memory.pipe("/b/x", data)
    with remote.fetch("memory://b/x") as whole, remote.fetch("memory://b/x", 17, 2_000_000) as part:
        assert isinstance(whole, io.BytesIO) == (limit > 10)
        assert whole.read() == data
        assert part.read() == data[17:2_000_017]
    with pytest.raises(AudioError, match=r"x: 5 of 10 bytes came"):
        remote.fetch("memory://b/x", len(data) - 5, 10)


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "zip://a.wav::https://h/x.zip", "simplecache::s3://b/x.wav", "reference://x", "ssh://h/x",
     "github://o:r@main/x.wav", "local:///etc/passwd", "S3X://b/x", "memory://a::file://b"],
)  # fmt: skip
def test_only_plain_stores_are_addresses(tmp_path: Path, address: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"id": "a", "audio": "{address}"}}\n')
    with pytest.raises(DataError):
        for utterance in open_corpus(tmp_path / "x.jsonl", allow_remote=True).utterances:
            read_utterance(utterance, sample_rate=16000, allow_remote=True)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the package is no fault of the recording."""
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(ConfigError, match="gs:// needs another package"):
        remote.fetch("gs://b/x.wav")


@pytest.mark.parametrize("name", ["m.jsonl", "m.tsv", "wav.scp", "l.txt", "c.jsonl.gz"])
def test_manifests_themselves_are_read_from_here_only(name: str) -> None:
    with pytest.raises(DataError, match="copy it here first"):
        open_corpus(f"memory://b/{name}", allow_remote=True)


def test_ids_of_addresses_are_paths_below_what_they_share() -> None:
    names = ["s3://b/x/1.wav", "s3://b/x/y/2.wav"]
    assert [u.id for u in open_corpus(names, allow_remote=True).utterances] == ["1", "y/2"]
    others = ["s3://b/1.wav", "s3://c/1.wav?versionId=3"]
    assert [u.id for u in open_corpus(others, allow_remote=True).utterances] == ["b/1", "c/1"]
    with pytest.raises(DataError, match="give them apart"):
        open_corpus([*names, "/x/y.wav"], allow_remote=True)

"""A released k-means by name: from a server on loopback, checked, with its layer."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from speechssl.convert import kmeans_by_name, known
from speechssl.convert.known import KnownCheckpoint, KnownKMeans
from speechssl.errors import CheckpointError, ConfigError
from speechssl.extract.job import ModelSpec
from tests.convert.server import FileServer, serving

CENTROIDS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    monkeypatch.setenv("SPEECHSSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    buffer = io.BytesIO()
    np.save(buffer, CENTROIDS)
    with serving() as server:
        server.files["/km.npy"] = buffer.getvalue()
        good = hashlib.sha256(buffer.getvalue()).hexdigest()
        entries = (
            KnownKMeans("toy-L2-km3", 2, 3, f"{server.url}/km.npy", "a paper", good),
            KnownKMeans("toy-L2-changed", 2, 3, f"{server.url}/km.npy", "a paper", "0" * 64),
            KnownKMeans("toy-L2-none", 2, 3, "", "an index that is no plain k-means"),
        )
        monkeypatch.setattr(known, "checkpoints", lambda: (KnownCheckpoint("toy", "hubert", kmeans=entries),))
        yield server  # type: ignore[misc]


def test_name_is_downloaded_once_and_then_found_offline(released: FileServer) -> None:
    for offline in (False, True):
        kmeans = kmeans_by_name.open_kmeans("toy-L2-km3", offline=offline)
        assert np.array_equal(kmeans.centroids.numpy(), CENTROIDS)
    assert len(released.asked) == 1


def test_another_file_than_the_pinned_one_is_refused(released: FileServer) -> None:
    with pytest.raises(CheckpointError, match="sha256"):
        kmeans_by_name.open_kmeans("toy-L2-changed")


@pytest.mark.parametrize(("spec", "said"), [("toy-L2-none", "no plain k-means"), ("nowhere.bin", "--known")])
def test_what_cannot_be_had_is_said(released: FileServer, spec: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        kmeans_by_name.open_kmeans(spec)


def test_a_name_brings_its_layer_and_refuses_another(released: FileServer, tmp_path: Path) -> None:
    assert kmeans_by_name.layer_of("toy-L2-km3", None) == 2
    assert kmeans_by_name.layer_of("toy-L2-km3", 2) == 2
    with pytest.raises(ConfigError, match="layer 2, not for layer 9"):
        kmeans_by_name.layer_of("toy-L2-km3", 9)
    assert kmeans_by_name.layer_of(tmp_path, 7) == 7
    assert kmeans_by_name.layer_of(None, None) is None


def test_the_engine_uses_the_layer_of_the_name(released: FileServer) -> None:
    with pytest.raises(ConfigError, match="layer 2: mfcc has layers"):  # MFCC has layer 0 only
        ModelSpec(encoder="mfcc", kmeans="toy-L2-km3").load("units")

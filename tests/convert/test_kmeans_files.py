"""Codebooks of every format give the centroids that the library which wrote them holds; damaged ones are refused."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import faiss
import joblib
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from sklearn.cluster import KMeans, MiniBatchKMeans

from speechssl.convert.kmeans_files import load_kmeans
from speechssl.errors import CheckpointError

RNG = np.random.default_rng(0)
CENTROIDS = RNG.standard_normal((12, 8)).astype(np.float32)
FRAMES = RNG.standard_normal((400, 8)).astype(np.float32)


def sklearn_model(kind: type) -> KMeans:
    return kind(12, n_init=1, random_state=0).fit(FRAMES)


def flat(index: faiss.Index, vectors: np.ndarray = CENTROIDS) -> faiss.Index:
    index.add(vectors)
    return index


def ivf(kind: type, *args: int) -> faiss.Index:
    index = kind(flat(faiss.IndexFlatL2(8)), 8, 12, *args)
    index.train(FRAMES)
    index.add(FRAMES)
    return index


UNIT = CENTROIDS / np.linalg.norm(CENTROIDS, axis=1, keepdims=True)
WRITERS: dict[str, Callable[[Path], object]] = {
    "plain.npy": lambda path: np.save(path, CENTROIDS),
    "double.npy": lambda path: np.save(path, CENTROIDS.astype(np.float64)),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(CENTROIDS)),
    "big-endian.npy": lambda path: np.save(path, CENTROIDS.astype(">f4")),
    "one.npz": lambda path: np.savez(path, anything=CENTROIDS),
    "named.npz": lambda path: np.savez_compressed(path, centroids=CENTROIDS, counts=np.ones(12), other=np.ones((2, 2))),
    "x.safetensors": lambda path: save_file({"centroids": CENTROIDS}, path),
    "tensor.pt": lambda path: torch.save(torch.from_numpy(CENTROIDS), path),
    "dict.pt": lambda path: torch.save({"cluster_centers_": torch.from_numpy(CENTROIDS), "n_features_in_": 8}, path),
    "old.pt": lambda path: torch.save(
        {"centroids": torch.from_numpy(CENTROIDS)}, path, _use_new_zipfile_serialization=False
    ),
    "array.pkl": lambda path: path.write_bytes(pickle.dumps(CENTROIDS)),
    "array.joblib": lambda path: joblib.dump(CENTROIDS, path),
    "l2.index": lambda path: faiss.write_index(flat(faiss.IndexFlatL2(8)), str(path)),
    "generic.index": lambda path: faiss.write_index(flat(faiss.IndexFlat(8, faiss.METRIC_L2)), str(path)),
    "ivf.index": lambda path: faiss.write_index(ivf(faiss.IndexIVFFlat), str(path)),
    "ivf-pq.index": lambda path: faiss.write_index(ivf(faiss.IndexIVFPQ, 4, 4), str(path)),
    "ivf-sq.index": lambda path: faiss.write_index(
        ivf(faiss.IndexIVFScalarQuantizer, faiss.ScalarQuantizer.QT_8bit), str(path)
    ),
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_centroids_are_read_exactly(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert np.array_equal(load_kmeans(tmp_path / name).centroids.numpy(), CENTROIDS)


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_scikit_learn_ids_are_reproduced(tmp_path: Path, kind: type) -> None:
    """What fairseq's and textlesslib's scripts compute with joblib.load(...).predict, without either."""
    model = sklearn_model(kind)
    joblib.dump(model, tmp_path / "km.bin")
    ids = load_kmeans(tmp_path / "km.bin").encode(torch.from_numpy(FRAMES))
    assert np.array_equal(ids.numpy(), model.predict(FRAMES))


def test_faiss_inner_product_needs_vectors_of_one_length(tmp_path: Path) -> None:
    path = tmp_path / "ip.index"
    faiss.write_index(flat(faiss.IndexFlatIP(8), UNIT), str(path))
    ids = load_kmeans(path).encode(torch.from_numpy(FRAMES)).numpy()
    assert np.array_equal(ids, flat(faiss.IndexFlatIP(8), UNIT).search(FRAMES, 1)[1][:, 0])
    faiss.write_index(flat(faiss.IndexFlatIP(8)), str(path))
    with pytest.raises(CheckpointError, match="inner products"):
        load_kmeans(path)
    faiss.write_index(flat(faiss.IndexFlat(8, faiss.METRIC_L1)), str(path))
    with pytest.raises(CheckpointError, match="metric"):
        load_kmeans(path)
    faiss.write_index(flat(faiss.IndexHNSWFlat(8, 4)), str(path))
    with pytest.raises(CheckpointError):
        load_kmeans(path)


def test_files_without_a_codebook_say_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for value, message in [
        ({"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}, "no single matrix.*'a', 'b'"),
        ({"centroids": torch.zeros(5)}, "no single matrix"),
        ([1, 2], "holds a list"),
        (torch.nn.Linear(2, 2), "Linear without cluster_centers_"),
        (torch.full((2, 2), float("nan")), "NaN"),
        (np.array([["a", "b"]]), "dtype"),
    ]:
        torch.save(value, path)
        with pytest.raises(CheckpointError, match=message):
            load_kmeans(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_kmeans(tmp_path / "absent.npy")


def test_objects_in_numpy_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([[1, "x"]], dtype=object))
    np.savez(tmp_path / "o.npz", centroids=np.array([[1, "x"]], dtype=object))
    for name in ("o.npy", "o.npz"):
        with pytest.raises(CheckpointError):
            load_kmeans(tmp_path / name)


def test_headers_that_claim_more_than_the_file_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 10)})
    (tmp_path / "x.npy").write_bytes(buffer.getvalue())
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("centroids.npy", buffer.getvalue())
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(11):
            archive.writestr(f"{number}.npy", bytes(100 << 20))
    WRITERS["l2.index"](tmp_path / "x.index")
    data = bytearray((tmp_path / "x.index").read_bytes())
    data[8:16] = (1 << 30).to_bytes(8, "little")
    (tmp_path / "x.index").write_bytes(data)
    for name in ("x.npy", "x.npz", "bomb.npz", "x.index"):
        with pytest.raises(CheckpointError):
            load_kmeans(tmp_path / name)

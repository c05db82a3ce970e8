"""Released k-means codebooks in any of the field's formats, none of which may run code.

scikit-learn KMeans and MiniBatchKMeans in joblib or pickle (fairseq, textlesslib), torch files with centroids (those
of soft-VC are dicts of scikit-learn's attributes), faiss flat indexes and the coarse quantizer of IVF indexes, `.npy`,
`.npz`, `.safetensors`. Faiss and numpy headers are parsed here: faiss's own reader trusts the sizes in the file, and
numpy's runs a Python tokenizer over text from outside. Centroids become float32.
"""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl import files
from speechssl.convert.files import read_safetensors
from speechssl.convert.pickle_reader import Stub, read_pickle_file
from speechssl.errors import CheckpointError
from speechssl.npy import read_npy
from speechssl.quantizers.kmeans import KMeans

_NAMES = ("centroids", "cluster_centers_", "cluster_centers", "centers", "codebook")
_MOST_BYTES = 1 << 30  # of a codebook: 100 000 units of 2 560 channels
_FAISS_FLAT = (b"IxF2", b"IxFI", b"IxFl")
_FAISS_IVF = (b"IwFl", b"IwSq", b"IwPQ", b"IvFl", b"IvSQ", b"IvPQ")
_NUMPY_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_INNER_PRODUCT, _L2 = 0, 1


def load_kmeans(path: str | Path) -> KMeans:
    """The codebook in a file, recognised by its first bytes. Raises CheckpointError.

    A matrix without a name is taken as [units, channels].
    """
    path = Path(path)
    try:
        files.check_regular(path)
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None
    if path.suffix == ".safetensors":
        centroids = _pick(read_safetensors(path), path)
    elif head.startswith(b"\x93NUMPY"):
        centroids = read_npy(_bytes(path), str(path))
    elif head[:4] in (*_FAISS_FLAT, *_FAISS_IVF):
        centroids = _read_faiss(_bytes(path), path)
    elif head.startswith(b"PK") and path.suffix == ".npz":
        centroids = _pick(_read_npz(path), path)
    else:
        centroids = _pick(read_pickle_file(path), path)
    try:
        return KMeans(centroids if isinstance(centroids, Tensor) else torch.tensor(_floats(centroids, path)))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _bytes(path: Path) -> bytes:
    try:
        return files.read_bytes(path, most=_MOST_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read as a codebook: {error.strerror}") from None


def _floats(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise CheckpointError(f"{path}: its centroids are of dtype {array.dtype}")
    return array.astype(np.float32)


def _pick(tree: Any, path: Path) -> Any:
    """The one matrix of centroids in what a file holds: by name, or because there is no other."""
    if isinstance(tree, Stub):
        if "cluster_centers_" not in tree.attributes:
            raise CheckpointError(f"{path}: holds a {tree.module}.{tree.name} without cluster_centers_, not a k-means")
        tree = {"cluster_centers_": tree.attributes["cluster_centers_"]}
    if _is_matrix(tree):
        return tree
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: holds a {type(tree).__name__}, not a k-means")
    named = [name for name in _NAMES if _is_matrix(tree.get(name))]
    matrices = named or [name for name, value in tree.items() if _is_matrix(value)]
    if len(matrices) != 1:
        found = ", ".join(map(repr, list(tree)[:8]))
        raise CheckpointError(f"{path}: no single matrix of centroids (named {' or '.join(_NAMES)}) among {found}")
    return tree[matrices[0]]


def _is_matrix(value: Any) -> bool:
    return isinstance(value, np.ndarray | Tensor) and value.ndim == 2


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type not in _NUMPY_COMPRESSION for entry in entries):
                raise CheckpointError(f"{path}: compressed in a way that numpy never does")
            if sum(entry.file_size for entry in entries) > min(_MOST_BYTES, files.most_unpacked(path.stat().st_size)):
                raise CheckpointError(f"{path}: unpacks to far more than its size; no codebook does")
            members = {entry.filename.removesuffix(".npy"): archive.read(entry) for entry in entries}
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError, zlib.error, struct.error) as error:
        raise CheckpointError(f"{path}: not a usable .npz file: {error}") from error
    return {name: read_npy(data, f"{path} ({name})") for name, data in members.items()}


def _read_faiss(data: bytes, path: Path) -> np.ndarray:
    """Vectors of a flat index, or of the flat coarse quantizer of an IVF index (faiss/impl/index_write.cpp)."""
    try:
        at, units = 0, None
        if data[:4] in _FAISS_IVF:
            at, _, _, _ = _faiss_header(data, 0)
            units, _ = struct.unpack_from("<QQ", data, at)  # nlist, nprobe
            at += 16
        if data[at : at + 4] not in _FAISS_FLAT:
            raise CheckpointError(f"{path}: a faiss index whose centroids are not stored flat ({data[at : at + 4]!r})")
        at, dim, count, metric = _faiss_header(data, at)
        (floats,) = struct.unpack_from("<Q", data, at)
    except struct.error as error:
        raise CheckpointError(f"{path}: a faiss index cut short: {error}") from error
    if not (0 < dim < 1 << 20 and 0 < count < 1 << 31) or floats != dim * count or len(data) - at - 8 < 4 * floats:
        raise CheckpointError(
            f"{path}: a faiss index of {count} x {dim} numbers, but it holds {floats}, or is cut short"
        )
    if units not in (None, count):
        raise CheckpointError(f"{path}: a faiss IVF index of {units} lists with {count} centroids")
    vectors = np.frombuffer(data, "<f4", count=floats, offset=at + 8).reshape(count, dim)
    if metric == _INNER_PRODUCT and not _same_length(vectors):
        raise CheckpointError(f"{path}: a faiss index for inner products of vectors of different lengths is no k-means")
    if metric not in (_INNER_PRODUCT, _L2):
        raise CheckpointError(f"{path}: a faiss index of metric {metric}; k-means needs L2")
    return vectors


def _same_length(vectors: np.ndarray) -> bool:
    """Whether the largest inner product belongs to the nearest vector."""
    norms = np.sqrt(np.square(vectors.astype(np.float64)).sum(1))
    return bool(np.allclose(norms, norms[0], rtol=1e-4))


def _faiss_header(data: bytes, at: int) -> tuple[int, int, int, int]:
    """(position behind it, dim, count, metric) of an index header at `at`."""
    dim, count, _, _, _, metric = struct.unpack_from("<iqqq?i", data, at + 4)
    return at + 4 + 33 + (4 if metric > 1 else 0), dim, count, metric

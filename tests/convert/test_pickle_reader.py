"""The inert pickle reader: real files read exactly, malicious ones run nothing, damaged ones are refused."""

import argparse
import collections
import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans

from speechssl.convert.pickle_reader import Global, Stub, read_pickle_file
from speechssl.errors import CheckpointError
from tests.convert import pickle_attacks as attacks
from tests.convert import torch_attacks

CANARY = "canary"


def read_bytes(data: bytes, folder: Path) -> Any:
    path = folder / "file.pt"
    path.write_bytes(data)
    return read_pickle_file(path)


# Real files


def state_dict() -> "collections.OrderedDict[str, torch.Tensor]":
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(8, 6, generator=generator)
    tensors = collections.OrderedDict(
        matrix=base,
        transposed=base.T,
        row=base[3],
        parameter=torch.nn.Parameter(torch.randn(5, generator=generator)),
        buffer=torch.nn.Buffer(torch.arange(4)),
        truth=torch.tensor([True, False, True]),
        scalar=torch.tensor(3),
        empty=torch.zeros(0, 4),
        expanded=torch.arange(4).expand(1, -1),
        complex=torch.tensor([1 + 2j]),
        **{str(d): base.to(d) for d in (torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8)},
    )
    tensors._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    return tensors


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "stream"])
def test_torch_files_read_exactly(tmp_path: Path, new: bool, protocol: int) -> None:
    stored = {
        "model": state_dict(),
        "args": argparse.Namespace(arch="hubert", dropout=0.1),
        "module": torch.nn.Linear(2, 3),
        "plain": [1, 2**70, -1.5, None, True, "ü", b"\x00\xff", (1,), {2, 3}, frozenset({4}), 1 + 2j, range(3)],
        "sizes": torch.Size([2, 3]),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "class": collections.Counter,
        "numbers": collections.defaultdict(list, a=[1]),
    }
    torch.save(stored, tmp_path / "x.pt", _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    read = read_pickle_file(tmp_path / "x.pt")
    assert list(read["model"]) == list(stored["model"])
    for key, expected in stored["model"].items():
        found = read["model"][key]
        assert type(found) is torch.Tensor and found.dtype == expected.dtype and found.stride() == expected.stride()
        assert torch.equal(found, expected.detach())
    assert isinstance(read["args"], Stub) and read["args"].attributes == {"arch": "hubert", "dropout": 0.1}
    assert read["plain"][:10] == stored["plain"][:10]
    assert (read["plain"][10].name, read["plain"][10].args) == ("complex", (1.0, 2.0))
    assert read["sizes"] == (2, 3) and read["dtype"] is torch.float16 and read["numbers"] == {"a": [1]}
    assert read["class"] == Global("collections", "Counter")
    weight = read["module"].attributes["_parameters"]["weight"]
    assert torch.equal(weight, stored["module"].weight) and not weight.requires_grad


def test_tensors_share_storage_and_writing_leaves_the_file_alone(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    torch.save({"a": base, "b": base[2:]}, tmp_path / "x.pt")
    before = (tmp_path / "x.pt").read_bytes()
    read = read_pickle_file(tmp_path / "x.pt")
    read["b"][0] = 70
    assert read["a"].tolist() == [0, 1, 70, 3, 4, 5]
    assert (tmp_path / "x.pt").read_bytes() == before


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_scikit_learn_models_read_exactly(tmp_path: Path, kind: type, compress: Any) -> None:
    frames = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    model = kind(7, n_init=1, random_state=0).fit(frames)
    for protocol in range(6):
        joblib.dump(model, tmp_path / "km.bin", compress=compress, protocol=protocol)
        stub = read_pickle_file(tmp_path / "km.bin")
        assert (stub.module, stub.name) == ("sklearn.cluster._kmeans", kind.__name__)
        found = stub.attributes["cluster_centers_"]
        assert found.dtype == np.float32 and np.array_equal(found, model.cluster_centers_)
        assert np.array_equal(stub.attributes["labels_"], model.labels_)


ARRAYS = {
    "big-endian": np.arange(12, dtype=">i4").reshape(3, 4),
    "fortran": np.asfortranarray(np.random.default_rng(0).standard_normal((3, 4))),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "empty": np.zeros((0, 3)),
    "scalar-array": np.array(3.0),
    "scalar": np.float32(2.5),
    "half": np.ones(3, np.float16),
    "complex": np.array([1 + 2j]),
    "truth": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_numpy_arrays_read_exactly(tmp_path: Path, name: str, protocol: int) -> None:
    for dump in (lambda value, path: path.write_bytes(pickle.dumps(value, protocol)), joblib.dump):
        dump({"a": ARRAYS[name]}, tmp_path / "a.pkl")
        found = read_pickle_file(tmp_path / "a.pkl")["a"]
        assert found.dtype == ARRAYS[name].dtype.newbyteorder("=") and found.shape == ARRAYS[name].shape
        assert np.array_equal(found, ARRAYS[name])


def test_object_arrays_and_pickled_tensors_are_read(tmp_path: Path) -> None:
    objects = np.array([1, "x", None, [1, 2]], dtype=object)
    for protocol in range(6):
        for dump in (lambda value, path, p=protocol: path.write_bytes(pickle.dumps(value, p)), joblib.dump):
            dump({"o": objects, "t": torch.arange(3), "after": 5}, tmp_path / "a.pkl")
            read = read_pickle_file(tmp_path / "a.pkl")
            assert list(read["o"]) == list(objects) and read["after"] == 5
            assert torch.equal(read["t"], torch.arange(3))


def test_odd_dtypes_become_stubs_and_the_rest_is_read(tmp_path: Path) -> None:
    records = np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
    dates = np.array(["2020-01-01"], dtype="datetime64[D]")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"r": records, "d": dates, "x": np.ones(2)}))
    read = read_pickle_file(tmp_path / "a.pkl")
    assert isinstance(read["r"], Stub) and isinstance(read["d"], Stub) and read["x"].tolist() == [1, 1]


class Node:
    def __init__(self) -> None:
        self.parent = self


def test_stubs_may_be_cyclic_and_their_state_is_data(tmp_path: Path) -> None:
    node = read_bytes(pickle.dumps(Node()), tmp_path)
    assert node.attributes["parent"] is node and "Node" in repr(node)


# Malicious files: nearly all of them are in tests/battery/test_attacks.py, damaged ones in test_mutations.py


def test_the_payloads_are_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A battery of duds would prove nothing: the standard library does run these."""
    monkeypatch.chdir(tmp_path)
    for payload in ("protocol-0-reduce", "inst", "obj", "stack-global", "eval", "dotted-name", "in-object-array"):
        pickle.loads(attacks.executing(CANARY)[payload])
        Path(CANARY).unlink()


def test_a_call_inside_an_object_array_stays_a_stub(tmp_path: Path) -> None:
    inner = np.array([attacks.Call(os.system, f"touch {tmp_path / CANARY}")], dtype=object)
    for dump in (lambda value, path: path.write_bytes(pickle.dumps(value)), joblib.dump):
        dump(inner, tmp_path / "a.pkl")
        stub = read_pickle_file(tmp_path / "a.pkl")[0]
        assert isinstance(stub, Stub) and stub.name == "system" and stub.args[0].startswith("touch")
    assert not (tmp_path / CANARY).exists()


def test_deep_nesting_of_stubs_and_numbers_that_nothing_is_allocated_by_are_read(tmp_path: Path) -> None:
    for name in ("frame-count", "memo-index"):
        assert read_bytes(attacks.bombs()[name], tmp_path) is None
    assert isinstance(read_bytes(attacks.bombs()["deep-stubs"], tmp_path), Stub)


LIES = {**torch_attacks.broken_zips(), **torch_attacks.tars(), **torch_attacks.streams()}


@pytest.mark.parametrize("name", sorted(LIES))
def test_torch_files_that_lie_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError):
        read_bytes(LIES[name], tmp_path)


def test_the_unbroken_zip_reads(tmp_path: Path) -> None:
    assert read_bytes(attacks.torch_zip(torch_attacks.tensor()), tmp_path).shape == (4, 4)


def test_files_that_are_no_pickles_are_refused(tmp_path: Path) -> None:
    for data in (
        b"",
        b"hello",
        b"\x93NUMPY\x01\x00",
        b"RIFF....WAVE",
        bytes(1000),
        b"\x80\x02N.trailing",
        b"\x80\x09N.",
    ):
        with pytest.raises(CheckpointError, match=r"file\.pt"):
            read_bytes(data, tmp_path)
    with pytest.raises(CheckpointError, match="expected 1 to 10"):
        (tmp_path / "big.pt").write_bytes(bytes(100))
        read_pickle_file(tmp_path / "big.pt", max_bytes=10)
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    for name in ("pipe.pt", "folder.pt", "loop.pt", "absent.pt", "nul\0.pt"):
        with pytest.raises(CheckpointError):
            read_pickle_file(tmp_path / name)

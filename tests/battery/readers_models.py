"""Readers of model files, and small files of each kind."""

import argparse
import io
import json
import lzma
import pickle
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import joblib
import numpy as np
import safetensors.torch
import torch
from sklearn.cluster import MiniBatchKMeans

from speechssl import config, convert, encoders
from speechssl.convert import export, tables
from speechssl.convert.kmeans_files import load_kmeans
from speechssl.convert.pickle_reader import Stub, read_pickle_file
from speechssl.encoders import feed_forward, front_end
from speechssl.encoders import pretrained as native
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.quantizers.fsq_fit import fit_fsq
from speechssl.quantizers.gumbel import GumbelCodebooks
from speechssl.quantizers.kmeans import KMeans
from speechssl.units.model import UnitModel
from tests.battery.mutations import Case, Reader
from tests.units.test_model import mfcc_model

CENTROIDS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
TINY: dict[str, Any] = {
    "conv_layers": [[4, 10, 5], *[[4, 3, 2]] * 4, *[[4, 2, 2]] * 2], "dim": 8, "ffn_dim": 8, "num_layers": 1,
    "num_heads": 2, "pos_conv_kernel": 4, "pos_conv_groups": 2,
}  # fmt: skip


def touch(value: Any) -> None:
    """Use every array and tensor, so that one reaching beyond its memory would show."""
    pending, seen = [value], set()
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            value.clone()
        elif isinstance(value, np.ndarray):
            pending += value.ravel().tolist() if value.dtype.hasobject else [value.copy()]
        elif isinstance(value, Stub):
            pending += [value.args, value.kwargs, value.state, value.items, value.entries]
        elif isinstance(value, dict):
            pending += [*value, *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            pending += value


def read_tree(home: Path) -> None:
    touch(read_pickle_file(home / "x"))


def read_codebook(home: Path) -> None:
    load_kmeans(next(home.iterdir()))


def read_encoder(home: Path) -> None:
    """The one file of `home` that is no card and no hints, or else the folder."""
    files = [path for path in home.iterdir() if path.suffix in (".pt", ".pth")]
    convert.load(files[0] if len(files) == 1 and not list(home.glob("*.yaml")) else home, offline=True)


def read_unit_model(home: Path) -> None:
    UnitModel.load(home, offline=True)


def saved(save: Callable[[Path], object], path: Path) -> bytes:
    save(path)
    return path.read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def member_of(data: bytes, ending: str) -> tuple[bytes, Callable[[bytes], bytes]]:
    """A member of a zip file, and how the zip is made again with another one in its place, CRCs and all."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = next(member for member in members if member.endswith(ending))

    def pack(changed: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for member, content in members.items():
                archive.writestr(zipfile.ZipInfo(member), changed if member == name else content)
        return buffer.getvalue()

    return members[name], pack


def inside(file: str, data: bytes, ending: str) -> Case:
    """A case of one zip file, whose member is damaged."""
    return Case({file: data}, (file,), {file: member_of(data, ending)})


def tree() -> dict[str, Any]:
    base = torch.arange(12.0).reshape(3, 4)
    return {
        "model": {"a": base, "t": base.T, "row": base[1], "p": torch.nn.Parameter(base), "b": torch.tensor([True]),
                  "h": base.half(), "e": torch.zeros(0, 4)},
        "args": argparse.Namespace(x=1, y="text"), "n": np.arange(4.0), "o": np.array([1, "x"], object),
        "l": [1, "a", (2, b"c"), None, {3}, 1.5, 2**70],
    }  # fmt: skip


def torch_zips(folder: Path) -> Sequence[Case]:
    data = saved(lambda path: torch.save(tree(), path), folder / "x")
    return [Case({"x": data}), inside("x", data, "data.pkl"), inside("x", data, "data.pkl")]


def torch_streams(folder: Path) -> Sequence[Case]:
    return [
        Case({"x": saved(lambda path: torch.save(tree(), path, _use_new_zipfile_serialization=False), folder / "x")})
    ]


def pickles(folder: Path) -> Sequence[Case]:
    plain = {key: value for key, value in tree().items() if key != "model"}
    return [Case({"x": pickle.dumps(plain, protocol)}) for protocol in range(6)]


def joblibs(folder: Path) -> Sequence[Case]:
    model = MiniBatchKMeans(3, n_init=1).fit(np.random.default_rng(0).standard_normal((20, 2)))
    data = saved(lambda path: joblib.dump({"m": model, "o": np.array([1, "x"], dtype=object)}, path), folder / "x")
    packers = (zlib.compress, lzma.compress)
    return [
        Case({"x": data}), Case({"x": data}),
        *(Case({"x": pack(data)}) for pack in packers),
        *(Case({"x": pack(data)}, ("x",), {"x": (data, pack)}) for pack in packers),
    ]  # fmt: skip


def npys(folder: Path) -> Sequence[Case]:
    arrays = (CENTROIDS, CENTROIDS.astype(">f8"), np.asfortranarray(CENTROIDS))
    return [Case({"x.npy": saved(lambda path, a=a: np.save(path, a), folder / "x.npy")}) for a in arrays]  # type: ignore[misc]


def npzs(folder: Path) -> Sequence[Case]:
    plain = saved(lambda path: np.savez(path, centroids=CENTROIDS), folder / "x.npz")
    small = saved(lambda path: np.savez_compressed(path, centroids=CENTROIDS, n=np.ones(2)), folder / "y.npz")
    return [Case({"x.npz": plain}), Case({"x.npz": small}), inside("x.npz", plain, ".npy")]


def codebook_safetensors(folder: Path) -> Sequence[Case]:
    return [Case({"x.safetensors": safetensors.torch.save({"centroids": torch.from_numpy(CENTROIDS)}, {"a": "b"})})]


def faiss_indexes(folder: Path) -> Sequence[Case]:
    flat = faiss.IndexFlatL2(3)
    flat.add(CENTROIDS)
    coarse = faiss.IndexFlatL2(3)
    lists = faiss.IndexIVFFlat(coarse, 3, 2)
    lists.train(np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32))
    return [
        Case({"x.index": saved(lambda path, i=i: faiss.write_index(i, str(path)), folder / "x")})  # type: ignore[misc]
        for i in (flat, lists)
    ]


def tiny() -> Pretrained:
    torch.manual_seed(0)
    return Pretrained(encoders.build("hubert", TINY).eval(), EncoderCard("hubert", TINY, name="tiny"))


def fairseq_files(folder: Path) -> Sequence[Case]:
    state = tables.fairseq("hubert").to_theirs(tiny().encoder.state_dict(), where="x")
    model = {
        "_name": "hubert", "extractor_mode": "default", "encoder_layers": 1, "encoder_embed_dim": 8,
        "encoder_ffn_embed_dim": 8, "encoder_attention_heads": 2, "activation_fn": "gelu", "layer_norm_first": False,
        "conv_feature_layers": "[(4, 10, 5)] + [(4, 3, 2)] * 4 + [(4, 2, 2)] * 2", "conv_bias": False, "conv_pos": 4,
        "conv_pos_groups": 2, "dropout": 0.1, "latent_temp": (2, 0.5, 0.999995),
    }  # fmt: skip
    old = argparse.Namespace(**model, arch="hubert", normalize=False)
    config = {"task": {"normalize": False}, "model": model}
    made = [{"model": state, "cfg": config}, {"model": state, "args": old, "cfg": None}]
    data = [saved(lambda path, m=m: torch.save(m, path), folder / "x.pt") for m in made]  # type: ignore[misc]
    stream = saved(lambda path: torch.save(made[0], path, _use_new_zipfile_serialization=False), folder / "y.pt")
    return [*(inside("x.pt", d, "data.pkl") for d in data), Case({"x.pt": stream})]


def huggingface_folders(folder: Path) -> Sequence[Case]:
    export.write(folder / "hf", tiny(), "huggingface")
    files = contents(folder / "hf")
    tensors = safetensors.torch.load(files.pop("model.safetensors"))
    names = sorted(tensors)
    halves = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    shards = {file: safetensors.torch.save({n: tensors[n] for n in part}) for file, part in halves.items()}
    index = json.dumps({"weight_map": {n: file for file, part in halves.items() for n in part}}).encode()
    pickled = saved(lambda path: torch.save(tensors, path), folder / "x.bin")
    configs = tuple(files)
    return [
        Case({**files, "model.safetensors": safetensors.torch.save(tensors)}, configs),
        Case({**files, "model.safetensors": safetensors.torch.save(tensors)}, ("model.safetensors",)),
        Case({**files, **shards, "model.safetensors.index.json": index}, ("model.safetensors.index.json",)),
        Case({**files, "pytorch_model.bin": pickled}, ("pytorch_model.bin",),
             {"pytorch_model.bin": member_of(pickled, "data.pkl")}),
    ]  # fmt: skip


def fairseq2_folders(folder: Path) -> Sequence[Case]:
    export.write(folder / "fs2", tiny(), "fairseq2")
    files = contents(folder / "fs2")
    return [Case(files, [name for name in files if name.endswith(".yaml")]), Case(files)]


def torchaudio_files(folder: Path) -> Sequence[Case]:
    theirs = tables.torchaudio().to_theirs(tiny().encoder.state_dict(), where="x")
    data = saved(lambda path: torch.save(theirs, path), folder / "x.pth")
    hints = b'normalize = false\nnum_heads = 2\nfamily = "hubert"\n'
    files = {"x.pth": data, "x.toml": hints}
    return [Case(files, ("x.toml",)), Case(files, ("x.pth",), {"x.pth": member_of(data, "data.pkl")})]


def native_folders(folder: Path) -> Sequence[Case]:
    native.save(folder / "own", tiny())
    return [Case(contents(folder / "own"), (name,)) for name in ("config.json", "model.safetensors")]


def unit_models(folder: Path) -> Sequence[Case]:
    mfcc_model(4).save(folder / "mfcc")
    UnitModel(tiny(), 1, KMeans(torch.randn(4, 8))).save(folder / "tiny")
    front, blocks = front_end.part_of(tiny().encoder), feed_forward.view_of("hubert", tiny().encoder)
    gumbel = GumbelCodebooks(torch.randn(6, 4), torch.randn(6), torch.randn(2, 3, 2))
    grid, _ = fit_fsq(lambda: [("a", torch.randn(50, 8))], levels=(3, 4))
    for name, model, quantizer in (("front_end", front, gumbel), ("feed_forward", blocks, grid)):
        card = EncoderCard(name, config.to_dict(model.config))
        UnitModel(Pretrained(model, card), model.num_layers, quantizer).save(folder / name)
    plain, embedded = contents(folder / "mfcc"), contents(folder / "tiny")
    others = [contents(folder / name) for name in ("front_end", "feed_forward")]
    return [Case(plain, ("card.json",)), Case(plain), Case(embedded), *map(Case, others)]


READERS = {
    "torch files": Reader(torch_zips, read_tree),
    "torch files of before 1.6": Reader(torch_streams, read_tree),
    "pickles": Reader(pickles, read_tree),
    "joblib": Reader(joblibs, read_tree),
    ".npy codebook": Reader(npys, read_codebook),
    ".npz codebook": Reader(npzs, read_codebook),
    "safetensors codebook": Reader(codebook_safetensors, read_codebook),
    "faiss index": Reader(faiss_indexes, read_codebook),
    "fairseq checkpoint": Reader(fairseq_files, read_encoder),
    "Hugging Face folder": Reader(huggingface_folders, read_encoder),
    "fairseq2 folder": Reader(fairseq2_folders, read_encoder),
    "torchaudio file": Reader(torchaudio_files, read_encoder),
    "encoder folder": Reader(native_folders, read_encoder),
    "unit model": Reader(unit_models, read_unit_model),
}

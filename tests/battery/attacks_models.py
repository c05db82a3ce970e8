"""Malicious model files: checkpoints, codebooks, folders of other toolkits, unit models."""
# ruff: noqa: E501 (a table: one attack, one entry)

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechssl import convert
from speechssl.convert import export
from speechssl.convert.fairseq import parse_conv_layers
from speechssl.convert.kmeans_files import load_kmeans
from speechssl.convert.pickle_reader import read_pickle_file
from speechssl.errors import CheckpointError
from speechssl.units.model import UnitModel
from tests.battery.attack import Attack, file, files
from tests.battery.readers_models import CENTROIDS, tiny, touch
from tests.convert import pickle_attacks, torch_attacks
from tests.units.test_model import mfcc_model

CANARY = "canary"
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".joblib", ".pkl")
EVIL_CODE = f"open({CANARY!r}, 'w').close()"


def pickled() -> Iterator[Attack]:
    """Every payload in every container, with one suffix after the other, through every reader that takes it."""
    payloads = pickle_attacks.executing(CANARY)
    for number, (payload, data) in enumerate(payloads.items()):
        for shift, (container, pack) in enumerate(pickle_attacks.CONTAINERS.items()):
            name = "evil" + SUFFIXES[(number + shift) % len(SUFFIXES)]
            yield Attack("pickles that run code", f"{payload} in {container}", file(name, pack(data)), read_any(name))


def read_any(name: str) -> Callable[[Path], None]:
    """As a tree, a codebook and an encoder: all must refuse, or read it inert."""

    def use(home: Path) -> None:
        refused = None
        for action in (lambda: touch(read_pickle_file(home / name)), lambda: load_kmeans(home / name),
                       lambda: convert.load(home / name, offline=True)):  # fmt: skip
            try:
                action()
            except CheckpointError as error:
                refused = error
        if refused:
            raise refused

    return use


def torch_files() -> Iterator[Attack]:
    lies = {**torch_attacks.broken_zips(), **torch_attacks.tars(), **torch_attacks.streams()}
    for name, data in lies.items():
        yield Attack("torch files that lie", name, file("evil.pt", data), read_any("evil.pt"))
    for name, data in pickle_attacks.bombs().items():
        yield Attack("bombs in pickles", name, file("evil.bin", data), lambda home: read_pickle_file(home / "evil.bin"))


def npy(header: bytes, data: bytes = bytes(48)) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def safetensors(header: Any, data: bytes = bytes(48), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def faiss(kind: bytes = b"IxF2", *, dim: int = 3, count: int = 4, floats: int = 12, metric: int = 1) -> bytes:
    return (
        kind
        + struct.pack("<iqqq?i", dim, count, 1 << 20, 1 << 20, True, metric)
        + struct.pack("<Q", floats)
        + bytes(48)
    )


def codebooks() -> Iterator[Attack]:
    def attack(name: str, ending: str, data: bytes | Callable[[], bytes]) -> Attack:
        return Attack("codebooks", name, file(f"evil{ending}", data), lambda home: load_kmeans(home / f"evil{ending}"))

    objects = io.BytesIO()
    np.save(objects, np.array([[pickle_attacks.Call(os.system, f"touch {CANARY}")]], dtype=object), allow_pickle=True)
    good = io.BytesIO()
    np.save(good, CENTROIDS)
    field = "{'descr': %s, 'fortran_order': False, 'shape': %s, }\n"
    for name, header in {
        "code as descr": field % ("__import__('os').system('touch canary')", "(4, 3)"),
        "object dtype": field % ("'|O'", "(4, 3)"),
        "structured dtype": field % ("[('a', '<f4')]", "(4,)"),
        "code as shape": field % ("'<f4'", "(exec('1'), 3)"),
        "huge shape": field % ("'<f4'", "(1099511627776, 1099511627776)"),
        "overflowing shape": field % ("'<f4'", "(4294967296, 4294967296, 4294967296)"),
        "negative shape": field % ("'<f4'", "(-4, 3)"),
        "many axes": field % ("'<f4'", "(" + "1, " * 200 + ")"),
        "deep parentheses": field % ("'<f4'", "(" * 9000 + ")" * 9000)[:60000],
        "no width": field % ("'|S0'", "(4294967296, 3)"),
        "wide strings": field % ("'<U999999'", "(4, 3)"),
        "endless digits": field % ("'<f4'", "(" + "9" * 9000 + ",)"),
    }.items():
        yield attack(f".npy, {name}", ".npy", npy(header.encode()))
    yield attack(".npy, pickled object", ".npy", objects.getvalue())
    yield attack(".npy, header of 4 GB", ".npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"{" * 100)
    yield attack(".npz, pickled object", ".npz", npz({"centroids.npy": objects.getvalue()}))
    yield attack(".npz, name leaves the folder", ".npz", npz({"../../outside/precious.npy": good.getvalue()}))
    yield attack(".npz, absolute name", ".npz", npz({"/etc/evil.npy": good.getvalue()}))
    yield attack(".npz, bomb", ".npz", lambda: npz({"a.npy": bytes(120 << 20)}, zipfile.ZIP_DEFLATED))
    yield attack(
        ".npz, ten bombs", ".npz", lambda: npz({f"{i}.npy": bytes(20 << 20) for i in range(10)}, zipfile.ZIP_DEFLATED)
    )
    yield attack(".npz, bz2 bomb", ".npz", lambda: npz({"a.npy": bytes(80 << 20)}, zipfile.ZIP_BZIP2))
    yield attack(".npz, lzma bomb", ".npz", lambda: npz({"a.npy": bytes(80 << 20)}, zipfile.ZIP_LZMA))
    yield attack(".npz, zip in a zip", ".npz", npz({"a.npy": npz({"a.npy": good.getvalue()})}))
    whole = {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}
    for name, data in {
        "header of 2^63 bytes": safetensors(b"{}", length=1 << 63),
        "header of 90 MB": safetensors(b"{" + b" " * (90 << 20) + b"}"),
        "deep header": safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        "offsets beyond": safetensors({"centroids": {**whole, "data_offsets": [0, 1 << 40]}}),
        "offsets backwards": safetensors({"centroids": {**whole, "data_offsets": [48, 0]}}),
        "overlapping": safetensors({"centroids": whole, "b": {**whole, "shape": [12]}}),
        "shape overflows": safetensors({"centroids": {**whole, "shape": [1 << 62, 1 << 62]}}),
        "negative shape": safetensors({"centroids": {**whole, "shape": [-4, -3]}}),
        "unknown dtype": safetensors({"centroids": {**whole, "dtype": "os.system"}}),
        "duplicate": safetensors(b'{"centroids":' + json.dumps(whole).encode() + b',"centroids":' + b'{"a":1}}'),
        "a hole": safetensors({"centroids": {**whole, "data_offsets": [16, 64]}}, bytes(64)),
        "metadata of code": safetensors({"__metadata__": {"format": "pt", "x": EVIL_CODE}, "centroids": whole}),
        "pickle as metadata": safetensors({"__metadata__": {"__reduce__": "cos\nsystem\n"}, "centroids": whole}),
    }.items():
        yield attack(f"safetensors, {name}", ".safetensors", data)
    for name, data in {
        "huge count": faiss(count=1 << 62, floats=3 << 62 & (1 << 64) - 1), "negative dim": faiss(dim=-3),
        "huge dim": faiss(dim=(1 << 31) - 1), "floats beyond": faiss(floats=1 << 61), "negative count": faiss(count=-4),
        "none": faiss(count=0, floats=0), "metric of none": faiss(metric=-7), "foreign index": faiss(b"IxPT"),
        "IVF within IVF": faiss(b"IwFl") + faiss(b"IwFl"), "pre-transform": faiss(b"IxPT") * 3,
        "lists that lie": b"IwFl" + faiss()[4:41] + struct.pack("<QQ", 1 << 60, 1) + faiss(),
    }.items():  # fmt: skip
        yield attack(f"faiss index, {name}", ".index", data)


def special_files() -> Iterator[Attack]:
    """What is no file, in the place of every kind of model file."""
    kinds: dict[str, Callable[[Path], object]] = {
        "FIFO": os.mkfifo,
        "endless device": lambda path: path.symlink_to("/dev/zero"),
        "link to itself": lambda path: path.symlink_to(path.name),
        "folder": Path.mkdir,
        "link to /proc": lambda path: path.symlink_to("/proc/self/mem"),
    }
    places: dict[str, tuple[str, Callable[[Path], object]]] = {
        "codebook": ("x.npy", lambda home: load_kmeans(home / "x.npy")),
        "npz codebook": ("x.npz", lambda home: load_kmeans(home / "x.npz")),
        "safetensors codebook": ("x.safetensors", lambda home: load_kmeans(home / "x.safetensors")),
        "checkpoint": ("x.pt", lambda home: convert.load(home / "x.pt")),
        "config.json": ("config.json", convert.load),
        "fairseq2 card": ("x.yaml", convert.load),
        "unit model card": ("card.json", UnitModel.load),
    }
    for kind, make in kinds.items():
        for place, (name, use) in places.items():
            yield Attack("special files as models", f"{kind} as {place}", lambda home, n=name, m=make: m(home / n), use)  # type: ignore[misc]


def huggingface() -> Iterator[Attack]:
    """A good folder with something changed or added."""

    def attack(
        name: str, change: dict[str, Any], more: dict[str, bytes] | None = None, *, drop: bool = False
    ) -> Attack:
        def make(home: Path) -> None:
            export.write(home, tiny(), "huggingface")
            config = json.loads((home / "config.json").read_text())
            (home / "config.json").write_text(json.dumps({**config, **change}))
            if drop:
                (home / "model.safetensors").unlink()
            files(more or {})(home)

        return Attack("Hugging Face folders", name, make, lambda home: convert.load(home, offline=True))

    code = f"open({CANARY!r}, 'w').close()\n".encode()
    modules = {"modeling_evil.py": code, "configuration_evil.py": code, "__init__.py": code, "pipeline.py": code}
    yield attack("auto_map to a module beside it", {"auto_map": {"AutoModel": "modeling_evil.Evil"}}, modules)
    yield attack("trust_remote_code", {"trust_remote_code": True, "auto_map": {"AutoConfig": "x/y--evil.E"}}, modules)
    yield attack("custom_pipelines", {"custom_pipelines": {"x": {"impl": "pipeline.Evil", "pt": ["Evil"]}}}, modules)
    yield attack("model_type as a path", {"model_type": "../../evil"}, modules)
    yield attack("model_type as code", {"model_type": f"__import__('os').system('touch {CANARY}')"}, modules)
    yield attack("code as activation", {"hidden_act": "os.system", "feat_extract_activation": "eval"})
    yield attack("_name_or_path as an address", {"_name_or_path": "http://127.0.0.1:9/x", "base_model": "s3://x/y"})
    for key, value in {
        "hidden_size": 1 << 40, "num_hidden_layers": 1 << 30, "intermediate_size": 1 << 50, "num_attention_heads": 0,
        "num_conv_pos_embeddings": 1 << 40, "num_conv_pos_embedding_groups": 0, "conv_dim": [1 << 40] * 7,
        "conv_stride": [0] * 7, "conv_kernel": [-1] * 7, "layer_norm_eps": float("nan"),
    }.items():  # fmt: skip
        yield attack(f"{key} of {str(value)[:20]}", {key: value})
    yield attack("a million convolutions", {key: [1] * 1_000_000 for key in ("conv_dim", "conv_kernel", "conv_stride")})
    yield attack("negative layers", {"num_hidden_layers": -1})
    for place in (
        "../outside/precious",
        "/etc/passwd",
        "..",
        ".",
        "",
        "sub/model.bin",
        "x\0y",
        "~/x",
        "http://127.0.0.1:9/x",
    ):
        index = json.dumps({"weight_map": {"a": place}}).encode()
        for name in ("model.safetensors", "pytorch_model.bin"):
            yield attack(f"{name} in {place!r}", {}, {f"{name}.index.json": index}, drop=True)
    yield attack("index that is a list", {}, {"pytorch_model.bin.index.json": b'{"weight_map": ["a"]}'}, drop=True)
    yield attack(
        "index of objects", {}, {"pytorch_model.bin.index.json": b'{"weight_map": {"a": {"b": 1}}}'}, drop=True
    )
    evil = pickle_attacks.torch_zip(pickle_attacks.executing(CANARY)["stack-global"])
    yield attack("pickle as weights", {}, {"pytorch_model.bin": evil}, drop=True)
    yield attack(
        "code in the processor's config",
        {},
        {"preprocessor_config.json": b'{"feature_extractor_type": "os.system", "do_normalize": "exec"}'},
    )
    yield attack("deep config", {"x": 1}, {"preprocessor_config.json": b"[" * 100_000})


def fairseq() -> Iterator[Attack]:
    """Settings that fairseq itself would evaluate."""
    for text in (
        "__import__('os').system('touch canary')", "[(512, 10, 5)] * 10**9", "[(1, 1, 1)] * 9**9**9", "(" * 5000 + ")" * 5000,
        "[(512,10,5)] + eval('[]')", "exec('x')", "lambda: 0", "[x for x in [1]]", "[(1,1,1)]*64*64*64*64", "[[]]*64",
        "1" * 9000, "open('canary','w')", "[(512,10,5)].__class__", "f'{1}'", "[(1,1,1)] if 1 else 0", "*[1]", "[" + "[]," * 3000,
        "-1", "[(1.5, 2, 3)]", "[('a','b','c')]", "[(True, 1, 1)]", "[]*64", "10**10**10", "",
    ):  # fmt: skip
        yield Attack("fairseq settings", f"conv_feature_layers {text[:40]}", lambda home: None,
                     lambda home, t=text: parse_conv_layers(t, where="x.pt"))  # type: ignore[misc]  # fmt: skip
    weights = {"mask_emb": torch.zeros(2)}
    for name, config in {
        "a plug-in's folder": {"model": {"_name": "hubert", "encoder_layers": 1}, "common": {"user_dir": "/tmp/evil"}},
        "architecture as a path": {"model": {"_name": "../../evil", "arch": "os.system", "encoder_layers": 1}},
        "layers without end": {"model": {"_name": "hubert", "encoder_layers": 1 << 40, "encoder_embed_dim": 8}},
        "objects as settings": {
            "model": {"_name": pickle_attacks.Call(os.system, "touch canary"), "encoder_layers": 1}
        },
    }.items():

        def make(home: Path, config: object = config) -> None:
            torch.save({"model": weights, "cfg": config}, home / "x.pt")

        yield Attack("fairseq settings", name, make, lambda home: convert.load(home / "x.pt"))


def fairseq2() -> Iterator[Attack]:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
    )
    merged = "a: &a {x: 1}\n" + "".join(
        f"b{i}: &b{i} {{<<: [{','.join([f'*b{i - 1}' if i else '*a'] * 9)}]}}\n" for i in range(9)
    )
    for name, card in {
        "object": "!!python/object/apply:os.system ['touch canary']", "name": "x: !!python/name:os.system",
        "module": "x: !!python/module:evil", "new": "x: !!python/object/new:subprocess.Popen [[touch, canary]]",
        "aliases without end": bomb, "aliases as the architecture": bomb + "model_family: wav2vec2\nmodel_arch: *i\n",
        "aliases as the name": bomb + "model_family: wav2vec2\nname: *i\n", "merges without end": merged,
        "deep": "[" * 20_000, "an alias of itself": "a: &a [*a]\nmodel_family: wav2vec2\nname: *a",
        "checkpoint at an address": "model_family: wav2vec2\ncheckpoint: http://127.0.0.1:9/x.pt\nnormalize_audio: true",
        "checkpoint elsewhere": "model_family: wav2vec2\ncheckpoint: ../outside/precious\n",
        "sizes": "model_family: wav2vec2\nmodel_config: {encoder_config: {model_dim: 99999999999, "
        "num_encoder_layers: 999999999}}\nnormalize_audio: false",
        "descriptions": "model_family: wav2vec2\nmodel_config: {encoder_config: {feature_extractor_layer_descs: "
        f"[{'[1,1,1],' * 9999}]}}}}\nnormalize_audio: false",
        "class as architecture": "model_family: wav2vec2\nmodel_arch: !!python/name:os.system",
        "tag of ours": "x: !evil 1", "include": "x: !include /etc/passwd", "endless number": f"x: {'9' * 9000}",
        "sexagesimal": f"x: {':'.join(['59'] * 5000)}", "binary": "x: !!binary " + "A" * 10_000, "nul": "x: \0",
    }.items():  # fmt: skip

        def make(home: Path, card: str = card) -> None:
            export.write(home, tiny(), "fairseq2")
            next(home.glob("*.yaml")).write_text(card)

        yield Attack("fairseq2 cards", name, make, lambda home: convert.load(home, offline=True, normalize=False))


def unit_models() -> Iterator[Attack]:
    """The card of a good unit model with something changed."""

    def attack(name: str, path: str, value: Any, *, embedded: bool = False) -> Attack:
        def make(home: Path) -> None:
            (UnitModel(tiny(), 1, _codebook(8)) if embedded else mfcc_model(4)).save(home)
            card = json.loads((home / "card.json").read_text())
            inner, *last = card, *path.split(".")
            for key in last[:-1]:
                inner = inner[key]
            inner[last[-1]] = value
            (home / "card.json").write_text(json.dumps(card))
            (home / "evil.py").write_text(EVIL_CODE)

        return Attack("unit model cards", name, make, lambda home: UnitModel.load(home))  # online: it must not be used

    for kind in ("../kmeans", "os", "evil", "speechssl.quantizers.kmeans", "__init__", "", "kmeans.KMeans", "kmeans_fit",
                 "torch.nn", "../../evil"):  # fmt: skip
        yield attack(f"quantizer {kind!r}", "quantizer.kind", kind)
    for family in ("os", "../mfcc", "evil", "pretrained", "__init__", "torch.nn.Linear", "mfcc.Model", "hubert"):
        yield attack(f"encoder family {family!r}", "encoder.family", family)
    for place in ("http://127.0.0.1:9/x.pt", "https://127.0.0.1:9/x.pt", "file:///etc/passwd", "ftp://127.0.0.1/x",
                  "../outside/precious", "/etc/passwd", "~/.bashrc", "/dev/zero", "s3://bucket/x", "\\\\host\\share"):  # fmt: skip

        def external(home: Path, place: str = place) -> None:
            UnitModel(tiny(), 1, _codebook(8)).save(home, embed_encoder=False)
            card = json.loads((home / "card.json").read_text())
            card["encoder"]["id"] = place
            (home / "card.json").write_text(json.dumps(card))

        yield Attack("unit model cards", f"encoder at {place}", external, lambda home: UnitModel.load(home))
    for path, value in {
        "num_units": 1 << 60, "layer": 1 << 60, "rate_hz": 1e300, "sample_rate": -1, "sha256": "0" * 64,
        "quantizer.sha256": "0" * 64, "encoder.sha256": "0" * 64, "encoder.normalize": True, "encoder.weights": "embedded",
        "encoder.config.num_mels": 1 << 40, "encoder.config.sample_rate": 1 << 60, "encoder.config.window_ms": 1e300,
        "encoder.config.deltas": 1 << 40, "encoder.config.hop_ms": float("nan"), "frame_rule": "__import__('os')",
        "encoder.config.__class__": "os.system", "training": {"x": [[[[]]]] * 1000}, "format": "speechssl-unit-model-2",
        "encoder.config": {"extends": "/etc/passwd"}, "licence": "\x1b]0;evil\x07", "layer ": 1,
    }.items():  # fmt: skip
        yield attack(f"{path} = {str(value)[:30]!r}", path, value)
    for key, size in {"dim": 1 << 40, "num_layers": 1 << 30, "ffn_dim": 1 << 50, "pos_conv_kernel": 1 << 40,
                      "conv_layers": [[1 << 40, 10, 5]] * 7}.items():  # fmt: skip

        def embedded(home: Path, key: str = key, size: object = size) -> None:
            UnitModel(tiny(), 1, _codebook(8)).save(home)
            config = json.loads((home / "encoder" / "config.json").read_text())
            config["config"][key] = size
            (home / "encoder" / "config.json").write_text(json.dumps(config))

        yield Attack("unit model cards", f"embedded encoder's {key}", embedded, lambda home: UnitModel.load(home))

    def built(home: Path) -> None:
        UnitModel(tiny(), 1, _codebook(8)).save(home)
        card = json.loads((home / "card.json").read_text())
        card["encoder"] |= {"weights": "none", "config": {**card["encoder"]["config"], "dim": 1 << 40}}
        (home / "card.json").write_text(json.dumps(card))

    yield Attack("unit model cards", "a huge encoder without weights", built, lambda home: UnitModel.load(home))

    def linked(home: Path) -> None:
        mfcc_model(4).save(home)
        (home / "quantizer.safetensors").unlink()
        (home / "quantizer.safetensors").symlink_to("/dev/zero")

    yield Attack("unit model cards", "endless quantizer", linked, lambda home: UnitModel.load(home))


def _codebook(dim: int) -> Any:
    from speechssl.quantizers.kmeans import KMeans

    return KMeans(torch.randn(4, dim, generator=torch.Generator().manual_seed(0)))


def attacks() -> Iterator[Attack]:
    for group in (pickled, torch_files, codebooks, special_files, huggingface, fairseq, fairseq2, unit_models):
        yield from group()


CONTROLS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "torch file": (
        file("x.pt", pickle_attacks.torch_zip(torch_attacks.tensor())),
        lambda home: read_pickle_file(home / "x.pt"),
    ),
    "codebook": (
        file("x.npy", npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }\n")),
        lambda home: load_kmeans(home / "x.npy"),
    ),
    "safetensors": (
        file("x.safetensors", safetensors({"centroids": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}})),
        lambda home: load_kmeans(home / "x.safetensors"),
    ),
    "faiss": (file("x.index", faiss()), lambda home: load_kmeans(home / "x.index")),
    "Hugging Face folder": (
        lambda home: export.write(home, tiny(), "huggingface"),
        lambda home: convert.load(home, normalize=False),
    ),
    "fairseq2 folder": (
        lambda home: export.write(home, tiny(), "fairseq2"),
        lambda home: convert.load(home, normalize=False),
    ),
    "unit model": (lambda home: mfcc_model(4).save(home), UnitModel.load),
    "embedded unit model": (lambda home: UnitModel(tiny(), 1, _codebook(8)).save(home), UnitModel.load),
}

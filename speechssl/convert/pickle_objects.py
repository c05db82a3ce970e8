"""The few functions that a model file may call, rewritten: tensors, numpy arrays and plain containers.

`KNOWN` is closed: a name outside it becomes a stub. Every function checks its arguments against the bytes that are
there before anything is made; nothing is allocated by a number in the file alone. Parameters come as plain tensors,
OrderedDict and defaultdict as dict. Arrays are read-only views of the bytes where their byte order is the machine's.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl.convert.pickle_machine import Machine, Pending
from speechssl.convert.pickle_values import Budget, Stub, safe_keys
from speechssl.errors import CheckpointError

STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_TORCH_DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("complex64", "complex128"),
]
CONSTANTS = {("torch", name): getattr(torch, name) for name in _TORCH_DTYPES}
_SCALAR_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9}|O8?)")


@dataclass(frozen=True, eq=False)
class Storage:
    """Bytes of a torch storage and what they hold."""

    data: Tensor  # uint8 [num_bytes]
    dtype: torch.dtype

    def check(self) -> None:
        """Refuse truth values other than 0 and 1, whose meaning compilers leave open."""
        if self.dtype == torch.bool and bool(self.data.gt(1).any()):
            raise CheckpointError("a tensor of truth values in it holds other bytes than 0 and 1")


def rebuild_tensor(args: tuple[Any, ...], budget: Budget) -> Tensor:
    """A view into a storage from (storage, offset, sizes, strides, ...), all in elements; nothing is copied."""
    storage, offset, sizes, strides, *_ = args
    numbers = (offset, *sizes, *strides)
    if not isinstance(storage, Storage) or len(sizes) != len(strides) or len(sizes) > 64:
        raise CheckpointError("a tensor in it has no storage, or strides that do not fit its shape")
    if any(type(n) is not int or not 0 <= n < 1 << 40 for n in numbers):
        raise CheckpointError("a tensor in it has an impossible size, stride or offset")
    flat = storage.data.view(storage.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    count = math.prod(sizes)
    if count and (last >= flat.numel() or count > flat.numel()):
        raise CheckpointError(f"a tensor in it of shape {list(sizes)} reaches beyond its storage of {flat.numel()}")
    return flat.as_strided(sizes, strides, offset) if count else flat.new_empty(sizes)


def _rebuild_parameter(args: tuple[Any, ...], budget: Budget) -> Any:
    return args[0]


def _rebuild_from_type(args: tuple[Any, ...], budget: Budget) -> Any:
    """Tensors with Python attributes: (function, class, arguments, state); class and state are left out."""
    function, _, inner, _ = args
    if (function.module, function.name) not in _TENSOR_FUNCTIONS or not isinstance(inner, tuple):
        return Stub("torch._tensor", "_rebuild_from_type_v2", args)
    return _TENSOR_FUNCTIONS[function.module, function.name](inner, budget)


class PendingDtype(Pending):
    """numpy.dtype(code, align, copy), whose byte order comes with its state."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        code = args[0]
        self.code = code if isinstance(code, str) and _SCALAR_DTYPE.fullmatch(code) else None

    def build(self, state: Any, machine: Machine) -> Any:
        """A numpy.dtype; a Stub for structured, datetime and other kinds that no model needs."""
        order, subarray, names, fields = state[1:5]
        if self.code is None or (subarray, names, fields) != (None, None, None) or order not in ("<", ">", "|", "="):
            return Stub("numpy", "dtype", (self.code,), state=state)
        return np.dtype(self.code).newbyteorder(order)


class PendingArray(Pending):
    """numpy's _reconstruct(ndarray, (0,), b"b"), filled by its state."""

    def build(self, state: Any, machine: Machine) -> Any:
        """A numpy array; a Stub for a dtype that is one."""
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, np.dtype):
            return Stub("numpy", "ndarray", state=state)
        return make_array(raw, dtype, shape, "F" if fortran else "C", machine.budget)


class PendingJoblibArray(Pending):
    """joblib's NumpyArrayWrapper: the array's bytes follow in the stream right behind the wrapper's state."""

    def build(self, state: Any, machine: Machine) -> Any:
        """A numpy array; object arrays are a pickle of their own at this place."""
        dtype, shape = state["dtype"], state["shape"]
        if not isinstance(dtype, np.dtype):
            raise CheckpointError("an array in it has a structured or unknown dtype")
        if dtype.hasobject:
            return machine.run_nested()
        count = _count(shape)
        if count * dtype.itemsize > 1 << 48:
            raise CheckpointError(f"an array in it claims the impossible shape {shape}")
        if state.get("numpy_array_alignment_bytes") is not None:
            machine.stream.read(machine.stream.read(1)[0])  # a length byte and that much padding
        raw = machine.stream.read(count * dtype.itemsize)
        return make_array(raw, dtype, shape, state["order"], machine.budget)


def make_array(raw: Any, dtype: np.dtype, shape: Any, order: Any, budget: Budget) -> np.ndarray:
    """An array from its bytes (or its list of objects), which must fill the shape exactly."""
    count = _count(shape)
    if order not in ("C", "F"):
        raise CheckpointError(f"an array in it has the unknown order {order!r}")
    if dtype.hasobject:
        if not isinstance(raw, list) or len(raw) != count:
            raise CheckpointError(f"an array of objects in it does not fill its shape {shape}")
        budget.charge(count)
        flat = np.empty(count, object)
        for index, value in enumerate(raw):
            flat[index] = value
        return flat.reshape(shape, order=order)
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # a str in pickles of Python 2
    if (
        not isinstance(raw, bytes | bytearray)
        or len(raw) != count * dtype.itemsize
        or not (dtype.itemsize or not count)
    ):
        raise CheckpointError(f"an array in it does not fill its shape {shape} of {dtype}")
    flat = np.frombuffer(raw, dtype) if count else np.zeros(0, dtype)
    if not dtype.isnative:
        budget.charge(num_bytes=len(raw))
        flat = flat.astype(dtype.newbyteorder("="))
    return flat.reshape(shape, order=order)


def _count(shape: Any) -> int:
    """Elements of a shape. At most 32 axes, so that numpy 1 and 2 agree."""
    if not isinstance(shape, tuple) or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise CheckpointError(f"an array in it has the impossible shape {shape!r}")
    return math.prod(shape)


def _numpy_scalar(args: tuple[Any, ...], budget: Budget) -> Any:
    dtype, raw = args
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        return Stub("numpy", "scalar", args)
    return make_array(raw, dtype, (1,), "C", budget)[0]


def _numpy_frombuffer(args: tuple[Any, ...], budget: Budget) -> Any:
    raw, dtype, shape, order = args
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        return Stub("numpy", "ndarray", args)
    return make_array(raw, dtype, shape, order, budget)


def _copied(args: tuple[Any, ...], budget: Budget) -> list[Any]:
    """The elements of the one (or no) argument of a container's class."""
    items = args[0] if args else []
    if len(args) > 1 or not isinstance(items, list | tuple | set | frozenset):
        raise CheckpointError("a container in it is made from something else than a list")
    budget.charge(len(items))
    return list(items)


def _mapping(args: tuple[Any, ...], budget: Budget) -> dict[Any, Any]:
    if args and isinstance(args[0], dict):
        budget.charge(len(args[0]))
        return dict(args[0])
    pairs = _copied(args, budget)
    return dict(zip(safe_keys([key for key, _ in pairs]), [value for _, value in pairs], strict=True))


def _encode(args: tuple[Any, ...], budget: Budget) -> Any:
    """`_codecs.encode(text, "latin1")`: how protocol 2 writes bytes."""
    text, *encoding = args
    if not isinstance(text, str) or encoding not in (["latin1"], ["latin-1"]):
        return Stub("_codecs", "encode", args)
    budget.charge(num_bytes=len(text))
    return text.encode("latin-1")


def _bytearray(args: tuple[Any, ...], budget: Budget) -> Any:
    if len(args) != 1 or not isinstance(args[0], bytes):
        return Stub("builtins", "bytearray", args)
    budget.charge(num_bytes=len(args[0]))
    return bytearray(args[0])


def _old_style_instance(args: tuple[Any, ...], budget: Budget) -> Any:
    """`copyreg._reconstructor(class, base, state)`: how protocols 0 and 1 make instances."""
    cls, _, *state = args
    key = (cls.module, cls.name)
    return KNOWN[key]((), budget) if key in KNOWN and state == [None] else Stub(*key, tuple(state))


_TENSOR_FUNCTIONS: dict[tuple[str, str], Callable[[tuple[Any, ...], Budget], Any]] = {
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}
KNOWN: dict[tuple[str, str], Callable[[tuple[Any, ...], Budget], Any]] = {
    **_TENSOR_FUNCTIONS,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch", "Size"): lambda args, budget: tuple(_copied(args, budget)),
    **{
        (f"{package}.{name[0]}", name[1]): function
        for package in ("numpy.core", "numpy._core")
        for name, function in {
            ("multiarray", "_reconstruct"): lambda args, budget: PendingArray(),
            ("multiarray", "scalar"): _numpy_scalar,
            ("numeric", "_frombuffer"): _numpy_frombuffer,
        }.items()
    },
    ("numpy", "dtype"): lambda args, budget: PendingDtype(args),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): lambda args, budget: PendingJoblibArray(),
    ("collections", "OrderedDict"): _mapping,
    ("collections", "defaultdict"): lambda args, budget: _mapping(args[1:], budget),
    ("_codecs", "encode"): _encode,
    **{
        (builtins, name): function
        for builtins in ("builtins", "__builtin__")
        for name, function in {
            "set": lambda args, budget: set(safe_keys(_copied(args, budget))),
            "frozenset": lambda args, budget: frozenset(safe_keys(_copied(args, budget))),
            "list": _copied,
            "tuple": lambda args, budget: tuple(_copied(args, budget)),
            "dict": _mapping,
            "bytearray": _bytearray,
            "bytes": lambda args, budget: Stub("builtins", "bytes", args) if args else b"",
        }.items()
    },
    ("copyreg", "_reconstructor"): _old_style_instance,
    ("copy_reg", "_reconstructor"): _old_style_instance,
}

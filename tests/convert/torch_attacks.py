"""Malicious torch files: tensors, storages and records that lie, in all three formats that torch has had."""

import io
import pickle
import struct
import tarfile
import zipfile

from tests.convert.pickle_attacks import long, name, text, torch_zip


def tensor(
    *, storage: str = "FloatStorage", key: str = "0", count: int = 16, offset: int = 0,
    size: tuple[int, ...] = (4, 4), stride: tuple[int, ...] = (4, 1),
) -> bytes:  # fmt: skip
    """The pickle of one tensor over storage 0 (64 bytes), with any of its numbers changed."""
    pid = b"(" + text("storage") + name("torch", storage) + text(key) + text("cpu") + long(count) + b"tQ"

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(long, values)) + b"t"

    args = (
        b"("
        + pid
        + long(offset)
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
        "records-overlap": _overlapping(),
        "encrypted": _of_method(0, flags=1),
        **{f"method-{method}": _of_method(method) for method in (1, 6, 8, 9, 12, 14, 93, 95, 99)},
        "very-many-records": torch_zip(good, {f"archive/data/{i}": b"" for i in range(30_000)}),
    }


def _overlapping() -> bytes:
    """A zip of 300 records which are all the same megabyte."""
    first = io.BytesIO()
    with zipfile.ZipFile(first, "w") as archive:
        archive.writestr("archive/data.pkl", tensor())
        archive.writestr("archive/data/0", bytes(1 << 20))
        entry = archive.infolist()[1]
        for number in range(1, 300):
            twin = zipfile.ZipInfo(f"archive/data/{number}")
            twin.CRC, twin.file_size, twin.compress_size = entry.CRC, entry.file_size, entry.compress_size
            twin.header_offset = entry.header_offset
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True  # type: ignore[attr-defined]
    return first.getvalue()


def _of_method(method: int, flags: int = 0) -> bytes:
    """A torch zip whose directory says that its records are packed by `method` or encrypted."""
    raw = bytearray(torch_zip(tensor()))
    at = raw.find(b"PK\x01\x02")
    while at >= 0:
        raw[at + 8 : at + 12] = struct.pack("<HH", flags, method)
        at = raw.find(b"PK\x01\x02", at + 1)
    return bytes(raw)


def tars() -> dict[str, bytes]:
    """Torch files of before 0.1.10 were tars: such files, with members that leave the folder."""
    made = {}
    for key, member in {
        "plain": {"name": "pickle"}, "parent": {"name": "../../outside/precious"}, "absolute": {"name": "/etc/evil"},
        "symlink": {"name": "x", "type": tarfile.SYMTYPE, "linkname": "../outside/precious"},
        "hardlink": {"name": "x", "type": tarfile.LNKTYPE, "linkname": "../outside/precious"},
        "device": {"name": "x", "type": tarfile.CHRTYPE}, "fifo": {"name": "x", "type": tarfile.FIFOTYPE},
    }.items():  # fmt: skip
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name_, data in (("sys_info", b"."), ("tensors", b"."), ("storages", b".")):
                info = tarfile.TarInfo(name_)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            info = tarfile.TarInfo(member["name"])
            info.type, info.linkname = member.get("type", tarfile.REGTYPE), member.get("linkname", "")
            archive.addfile(info)
        made[f"tar-{key}"] = buffer.getvalue()
    return made


def streams() -> dict[str, bytes]:
    """Torch files of 0.1.10 to 1.5 whose storages lie."""

    def pid(count: int, view: bytes = b"N", storage: str = "FloatStorage") -> bytes:
        head = b"(" + text("storage") + name("torch", storage) + text("0") + text("cpu") + long(count)
        return b"\x80\x02" + head + view + b"tQ."

    def whole(payload: bytes, *, keys: object = ("0",), count: int = 4, data: bytes = bytes(16)) -> bytes:
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}]
        parts = [pickle.dumps(part, 2) for part in head] + [payload, pickle.dumps(list(keys), 2)]  # type: ignore[call-overload]
        return b"".join(parts) + struct.pack("<q", count) + data

    view = b"(" + text("v") + long(2) + long(1 << 40) + b"t"
    back = b"(" + text("v") + long(-1) + long(2) + b"t"
    return {
        "stream-storage-of-terabytes": whole(pid(1 << 40)),
        "stream-storage-negative": whole(pid(-4)),
        "stream-count-lies": whole(pid(4), count=1 << 40),
        "stream-count-negative": whole(pid(4), count=-4),
        "stream-view-beyond": whole(pid(4, view)),
        "stream-view-before": whole(pid(4, back)),
        "stream-two-kinds": whole(b"\x80\x02](" + pid(4)[2:-1] + pid(2, storage="DoubleStorage")[2:-1] + b"e."),
        "stream-unlisted": whole(pid(4), keys=()),
        "stream-cut": whole(pid(4), data=b"\0"),
        "stream-many-storages": whole(
            b"\x80\x02](" + b"".join(pid(1 << 20)[2:-1].replace(text("0"), text(str(i))) for i in range(2000)) + b"e."
        ),
    }

"""Pickles and archives written byte by byte: nothing that they name is imported here."""

from __future__ import annotations

import io
import struct
import zipfile

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def binary(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def whole(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def named(name: str) -> bytes:
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def stacked(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(name: str | bytes, *arguments: bytes) -> bytes:
    return (named(name) if isinstance(name, str) else name) + b"(" + b"".join(arguments) + b"tR"


def done(code: bytes) -> bytes:
    return b"\x80\x04" + code + b"."


def storage(count: int, kind: str = "torch.FloatStorage", key: str = "0") -> bytes:
    """The persistent id of a storage."""
    return b"(" + text("storage") + named(kind) + text(key) + text("cpu") + whole(count) + b"NtQ"


def tensor(of: bytes, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    sizes = [b"(" + b"".join(whole(value) for value in values) + b"t" for values in (size, stride)]
    tail = b"\x89" + call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", of, whole(offset), *sizes, tail)


def legacy(code: bytes, *, claimed: int | None = None, numbers: bytes = b"") -> bytes:
    """A file in torch's old format."""
    keys = b"\x80\x02]" + (text("0") + b"a" if claimed is not None else b"") + b"."
    head = struct.pack("<q", claimed) if claimed is not None else b""
    return MAGIC + SYSTEM + done(code) + keys + head + numbers


def zipped(files: dict[str, bytes], compress: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compress) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def torch_zip(code: bytes, **beside: bytes) -> bytes:
    """A file of ``torch.save``; ``beside``: the numbers of its storages, ``s0`` for the first."""
    return zipped(
        {"archive/data.pkl": done(code)}
        | {f"archive/data/{name.removeprefix('s')}": data for name, data in beside.items()}
    )

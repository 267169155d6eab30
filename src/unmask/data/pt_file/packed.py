"""A `.pt` file that lies in memory or is mapped into it, as part of a larger file."""

import io
import struct
import sys
from itertools import count
from zipfile import ZIP_STORED, ZipFile

import torch


class _Part(io.RawIOBase):
    """Bytes as a file, without a copy."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def load_packed(data: memoryview) -> object:
    """`torch.load(weights_only=True, mmap=True)` of bytes: tensors are views on them.

    Raises:
        Exception: of many kinds, where they are no such file.
    """
    rooms = _rooms(data)
    numbers = count()  # torch numbers the tensors in the order in which it meets them

    def place(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
        if not storage.nbytes():
            return storage
        start, size = rooms[f"data/{next(numbers)}"]
        if size != storage.nbytes():
            raise ValueError(f"a tensor of {storage.nbytes()} bytes lies in {size}")
        part = torch.frombuffer(data, dtype=torch.uint8, count=size, offset=start)
        return part.untyped_storage()

    with torch.serialization.skip_data():
        return torch.load(_Part(data), map_location=place, weights_only=True)  # type: ignore[arg-type]


def _rooms(data: memoryview) -> dict[str, tuple[int, int]]:
    """Where in a zip archive the bytes of each member lie, and how many they are."""
    rooms = {}
    with ZipFile(_Part(data)) as archive:
        for info in archive.infolist():
            if info.compress_type != ZIP_STORED:
                raise ValueError("the archive is compressed")
            at = info.header_offset
            name, extra = struct.unpack("<HH", data[at + 26 : at + 30])
            start = at + 30 + name + extra
            if start + info.file_size > len(data):
                raise ValueError("the archive breaks off")
            rooms[info.filename.partition("/")[2]] = start, info.file_size
    order = rooms.get("byteorder")
    if order and data[order[0] : sum(order)] != sys.byteorder.encode():
        raise ValueError("it is of a machine with another order of bytes")
    return rooms

"""Reads and decompresses files. A storage's error is a SourceUnavailableError; any other error means a damaged file."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from airflow_provider_milvus_rest.exceptions import MilvusRestError, SourceUnavailableError
from airflow_provider_milvus_rest.text import said_of, without_connection

_BUFFER_BYTES = 2**20
"""Lines with embeddings do not fit into Python's default buffer of 8 KiB, which makes reading them 8 times slower."""


@contextmanager
def storage(path: Any) -> Iterator[None]:
    """Raise SourceUnavailableError for any error of the storage's client, without credentials in path or message."""
    try:
        yield
    except MilvusRestError:
        raise
    except Exception as error:
        reason = f"cannot be read: {said_of(path, error)}"
        raise SourceUnavailableError(reason, position=f"{without_connection(str(path)):.500}") from None


class _Readable(io.RawIOBase):
    def readable(self) -> bool:
        return True


class _Stored(_Readable):
    """A file as it is stored, whose errors cannot be confused with a decoder's."""

    def __init__(self, path: Any, **options: Any) -> None:
        self._path = path
        with storage(path):
            self._file = path.open("rb", **options)
        self.seekable, self.fileno = self._file.seekable, self._file.fileno  # type: ignore[method-assign]

    def readinto(self, buffer: Any) -> int:
        with storage(self._path):
            return self._file.readinto(buffer)  # type: ignore[no-any-return]

    def seek(self, offset: int, whence: int = 0) -> int:
        with storage(self._path):
            return self._file.seek(offset, whence)  # type: ignore[no-any-return]

    def close(self) -> None:
        super().close()
        self._file.close()


class _Streams(_Readable):
    """Concatenated streams of bz2 or xz, all of which must be complete: Python's own readers ignore a damaged stream
    after a good one. An xz stream may be followed by NULs, a multiple of 4; a bz2 stream may not.
    """

    def __init__(self, raw: BinaryIO, make: Callable[[], Any], *, padded: bool) -> None:
        self._raw, self._make, self._padded = raw, make, padded
        self._decoder: Any = None

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            rest = b""
            if self._decoder is None or self._decoder.eof:
                if not (rest := self._next_stream()):
                    return 0
                self._decoder = self._make()
            elif self._decoder.needs_input and not (rest := self._raw.read(_BUFFER_BYTES)):
                raise EOFError("the file is truncated")
            data = self._decoder.decompress(rest, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next_stream(self) -> bytes:
        """The first bytes of the next stream; none at the end of the file."""
        rest = (self._decoder.unused_data if self._decoder else b"") or self._raw.read(_BUFFER_BYTES)
        padding = 0
        while self._padded and self._decoder and rest[:1] == b"\0":
            found = rest.lstrip(b"\0")
            padding += len(rest) - len(found)
            rest = found or self._raw.read(_BUFFER_BYTES)
        if padding % 4:
            raise EOFError(f"{padding} bytes of padding, which must be a multiple of 4")
        return rest


# Not zstandard, whose reader accepts a truncated file, and not zip, where fsspec reads only the first member.
OPENERS: dict[str | None, Callable[[BinaryIO], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
    "bz2": lambda raw: _Streams(raw, bz2.BZ2Decompressor, padded=False),
    **dict.fromkeys(("xz", "lzma"), lambda raw: _Streams(raw, lzma.LZMADecompressor, padded=True)),
}


class _Buffered(io.BufferedReader):
    """Always reads through its buffer. Python's own ``read1``, which TextIOWrapper calls, reads 8 KiB from the file."""

    def read1(self, size: int = -1) -> bytes:
        return self.read(size)


def open_streams(path: Any, compression: str | None, **options: Any) -> tuple[BinaryIO, BinaryIO]:
    """A file as it is stored, and its uncompressed content."""
    raw = _Buffered(_Stored(path, **options), _BUFFER_BYTES)
    opener = OPENERS.get(compression)
    return raw, _Buffered(opener(raw), _BUFFER_BYTES) if opener else raw

"""A request's body -> videos on the disk, in bounded memory and within the limits."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Protocol

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from unmask.serve.jobs import NewJob
from unmask.serve.service import UPLOAD, Service
from unmask.serve.sniffing import HEAD, media_type

FIELD = "file"  # of a form; others are passed over
_BLOCK = 2**20  # bytes that are written at once
_PATIENCE = 60.0  # seconds without a byte
_SLOWEST = 8192  # bytes a second, on the whole
_MAX_OTHER = 65536  # bytes of a form that are no file
_LINGER = 5.0  # seconds


def clean_name(name: str) -> str:
    """The last part of what a client calls a file, without what does not show; never a path."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "".join(filter(str.isprintable, last)).strip()[:200] or "video"


async def receive(
    request: Request, service: Service, name: str, admit: Callable[[], str]
) -> list[NewJob]:
    """Stream a body, which is a video or a form with videos, into folders of jobs.

    Args:
        request: whose body it is.
        service: that is to have them.
        name: what a video that is the body itself is called.
        admit: gives the id of a job for one more video; or raises QueueFullError.

    Raises:
        HTTPException: 400 empty, cut short or no form; 408 too slow, 413 too large, 415 no video,
            507 no space.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    is_form = kind == b"multipart/form-data"
    body: _Body = _Form(options.get(b"boundary", b"")) if is_form else _Plain(name)
    declared = request.headers.get("content-length", "")
    expected = int(declared) if declared.isdecimal() and not is_form else 0
    jobs: list[NewJob] = []
    upload: _Upload | None = None
    try:
        async with aclosing(_parts(request, body)) as parts:
            async for part in parts:
                if isinstance(part, str):
                    upload = _Upload(service, admit(), part, expected)
                elif upload is not None and part:
                    await upload.write(part)
                elif upload is not None and part is None:
                    jobs.append(await upload.finish())
                    upload = None
    except ClientDisconnect:
        raise HTTPException(400, "the upload was broken off") from None
    except FormParserError as error:
        raise HTTPException(400, f"no form: {error}") from None
    except TimeoutError:
        raise HTTPException(408, "the upload came too slowly") from None
    except OSError as error:
        raise HTTPException(507, f"cannot be stored: {error.strerror}") from None
    if not jobs:
        raise HTTPException(400, f'the form has no file in a field "{FIELD}"')
    return jobs


class Incoming:
    """The messages of a request, as ASGI's `receive`, which knows whether all have come."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._complete = receive, False

    async def __call__(self) -> Message:
        """The next one."""
        message = await self._receive()
        self._complete = not message.get("more_body")
        return message

    async def drain(self) -> None:
        """Take what is left of a body that was refused, for a while.

        A connection that is closed before is reset, and many clients then never see the answer.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while not self._complete:
                    await self()


class _Upload:
    """A video on its way to the disk."""

    def __init__(self, service: Service, job: str, name: str, expected: int) -> None:
        self._service, self._job, self._name = service, job, clean_name(name)
        self._path = service.folder(job) / UPLOAD
        self._size, self._expected = 0, expected
        self._block, self._known = bytearray(), False
        self._check()

    async def write(self, data: bytes) -> None:
        self._block += data
        self._size += len(data)
        if not self._known and len(self._block) >= HEAD:
            self._identify()
        if len(self._block) >= _BLOCK:
            await self._flush()

    async def finish(self) -> NewJob:
        if not self._size:
            raise HTTPException(400, "the video is empty")
        self._identify()
        await self._flush()
        return NewJob(self._job, self._name, None, self._size)

    def _identify(self) -> None:
        """Spare everybody the upload of what is surely no video; the worker decides."""
        if not self._known and media_type(bytes(self._block[:HEAD])) is None:
            raise HTTPException(415, "not a video of a format that is known")
        self._known = True

    def _check(self) -> None:
        size, limit = max(self._size, self._expected), self._service.settings.max_upload
        if size > limit:
            raise HTTPException(413, f"larger than {limit / 2**20:g} MB")
        if not self._service.reserve(self._job, size):
            raise HTTPException(507, "no space is left for it; delete finished jobs")

    async def _flush(self) -> None:
        self._check()
        await run_in_threadpool(self._append, bytes(self._block))
        self._block.clear()

    def _append(self, block: bytes) -> None:
        self._path.parent.mkdir(0o700, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(block)


# What a body is made of: the name of a file that begins, bytes of it, None where it ends.
_Part = str | bytes | None


class _Body(Protocol):
    def feed(self, chunk: bytes) -> Iterable[_Part]: ...
    def end(self) -> Iterable[_Part]: ...


async def _parts(request: Request, body: _Body) -> AsyncGenerator[_Part, None]:
    begun, size = time.monotonic(), 0
    stream = aiter(request.stream())
    while (chunk := await asyncio.wait_for(anext(stream, None), _PATIENCE)) is not None:
        size += len(chunk)
        if time.monotonic() - begun > _PATIENCE + size / _SLOWEST:
            raise TimeoutError
        for part in body.feed(chunk):
            yield part
    for part in body.end():
        yield part


class _Plain:
    """A body that is the video itself."""

    def __init__(self, name: str) -> None:
        self._name: str | None = name

    def feed(self, chunk: bytes) -> Iterable[_Part]:
        if self._name is not None:
            yield self._name
            self._name = None
        yield chunk

    def end(self) -> Iterable[_Part]:
        yield from self.feed(b"")
        yield None


class _Form:
    """A multipart/form-data body. Starlette's own parser has no limit to the size of a file."""

    def __init__(self, boundary: bytes) -> None:
        self._parts: list[_Part] = []
        self._header, self._value, self._disposition = b"", b"", b""
        self._in_file, self._complete, self._other = False, False, 0
        if not boundary:
            raise HTTPException(400, "no form: its boundary is missing")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._part_end,
                    "on_end": self._form_end,
                },
            )
        except FormParserError as error:
            raise HTTPException(400, f"no form: {error}") from None

    def feed(self, chunk: bytes) -> Iterable[_Part]:
        self._parser.write(chunk)
        parts, self._parts = self._parts, []
        return parts

    def end(self) -> Iterable[_Part]:
        if not self._complete:
            raise HTTPException(400, "the form is cut short")
        return ()

    def _begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._in_file = options.get(b"name") == FIELD.encode()
        if self._in_file:
            self._parts.append(options.get(b"filename", b"").decode(errors="replace"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._parts.append(data[start:end])
            return
        self._other += end - start
        if self._other > _MAX_OTHER:
            raise HTTPException(413, f'only the field "{FIELD}" may be large')

    def _part_end(self) -> None:
        if self._in_file:
            self._parts.append(None)
        self._in_file = False

    def _form_end(self) -> None:
        self._complete = True

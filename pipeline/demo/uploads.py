"""Uploads: bytes in memory, under names that this server makes up.

In: the body of an upload. Out: its content, once, for the name that was given for it. A name in a request is looked up
among these and nowhere else: no request can make the server read, copy or remove a file.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

# The largest picture in bytes, and the largest request around it.
MAX_UPLOAD = 50 * 2**20
ENVELOPE = 2**16
# Pictures kept until they are answered; beyond that the oldest is dropped.
WAITING = 8


@dataclass(frozen=True)
class Upload:
    """A picture as it was sent.

    Attributes:
        name: Its file name on the user's machine, for the page only.
        content: The encoded picture.
    """

    name: str
    content: bytes


class Uploads:
    """Pictures that wait for their answer.

    Args:
        folder: Gradio's upload folder, in which it wants names to lie; no file is ever made there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: OrderedDict[str, Upload] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, name: object) -> bool:
        return name in self._waiting

    def keep(self, upload: Upload) -> str:
        """Keep a picture; return a name for it that nobody can guess."""
        name = str(self._folder / secrets.token_urlsafe())
        with self._lock:
            self._waiting[name] = upload
            while len(self._waiting) > WAITING:
                self._waiting.popitem(last=False)
        return name

    def take(self, name: str) -> Upload | None:
        """Return the picture of a name and forget it; None if there is none."""
        with self._lock:
            return self._waiting.pop(name, None)

    async def receive(self, request: Request) -> Response:
        """Answer an upload: the list of the one name, as Gradio's page expects it."""
        if request.headers.get("content-type", "").split(";")[0] != "multipart/form-data":
            return PlainTextResponse("This is no upload.", status_code=400)
        parser = MultiPartParser(request.headers, _limited(request.stream()), max_files=1, max_fields=0)
        parser.spool_max_size = MAX_UPLOAD + ENVELOPE  # in memory, never in a file
        try:
            form = await parser.parse()
        except MultiPartException as error:
            return PlainTextResponse(error.message, status_code=413 if error.message == _TOO_LARGE else 400)
        pictures = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not pictures:
            return PlainTextResponse("This upload has no file.", status_code=400)
        name = PurePosixPath((pictures[0].filename or "").replace("\\", "/")).name or "picture"
        content = await pictures[0].read()
        await form.close()
        return JSONResponse([self.keep(Upload(name, content))])


async def progress(_: Request) -> Response:
    """Answer the page's question about an upload's progress: always done, because uploads are local."""
    return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")


_TOO_LARGE = f"The file is larger than {MAX_UPLOAD // 2**20} MB."


async def _limited(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_UPLOAD + ENVELOPE:
            raise MultiPartException(_TOO_LARGE)
        yield chunk

"""The gate in front of Gradio: it passes only the requests that this page makes, in the form it makes them.

In: a request. Out: the request reduced to its checked parts, or a refusal in one line.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.demo.uploads import Uploads

API = "/gradio_api"
UPLOAD, PROGRESS, JOIN = f"{API}/upload", f"{API}/upload_progress", f"{API}/queue/join"
# Requests that make Gradio read a file or contact another machine. The page uses none of them.
CLOSED = (f"{API}/file", f"{API}/proxy", f"{API}/stream")
MAX_QUESTION = 2**16


class Gate:
    """An ASGI application that passes the page's own requests on to another application.

    Args:
        app: That application.
        uploads: Pictures that a question may be about.
        examples: How many pictures are offered.
        upload: Number of Gradio's event that answers an upload.
        example: Number of the event that answers a click on an offered picture.
    """

    def __init__(self, app: ASGIApp, uploads: Uploads, examples: int, upload: int, example: int) -> None:
        self.app = app
        self.uploads = uploads
        self.examples = examples
        self.upload, self.example = upload, example

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http" or scope["path"].startswith(CLOSED):
            await _refuse(404, scope, receive, send)
        elif scope["path"] == JOIN and scope["method"] == "POST":
            question = self.checked(await _body(Request(scope, receive)))
            if question is None:
                await _refuse(400, scope, receive, send)
            else:
                await self.app(_with_length(scope, question), _replay(question, receive), send)
        elif scope["method"] in ("GET", "HEAD") or (scope["path"] == UPLOAD and scope["method"] == "POST"):
            await self.app(scope, receive, send)
        else:
            await _refuse(404, scope, receive, send)

    def checked(self, body: bytes) -> bytes | None:
        """The checked parts of a question as JSON; None if this page does not ask such a question."""
        try:
            asked = json.loads(body)
            event, session = asked["fn_index"], asked["session_hash"]
            if not isinstance(session, str):
                return None
            question: dict[str, Any] = {"fn_index": event, "session_hash": session, "event_data": None, "data": []}
            if type(asked.get("trigger_id")) is int:
                question["trigger_id"] = asked["trigger_id"]
            if event == self.upload:
                [file] = asked["data"]
                if file["path"] not in self.uploads:
                    return None
                question["data"] = [{"path": file["path"], "meta": {"_type": "gradio.FileData"}}]
            elif event == self.example:
                chosen = asked["event_data"]["chosen"]
                if type(chosen) is not int or not 0 <= chosen < self.examples:
                    return None
                question["event_data"] = {"chosen": chosen}
            else:
                return None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return json.dumps(question).encode()


async def _body(request: Request) -> bytes:
    """The body, or nothing if it is longer than a question."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_QUESTION:
            return b""
    return body


def _with_length(scope: Scope, body: bytes) -> Scope:
    others = [
        (name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")
    ]
    return {**scope, "headers": [*others, (b"content-length", str(len(body)).encode())]}


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


async def _refuse(code: int, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    words = "This page asks for nothing here." if code == 404 else "This is no question of this page."
    await PlainTextResponse(words, status_code=code)(scope, receive, send)

"""The requests that the page makes, and nothing else.

In: requests from this machine. Out: the page, and answers to pictures and inputs, all from memory. No request names a
file of this machine, so none can make the server read, copy or remove one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import PurePosixPath
from threading import BoundedSemaphore, Lock
from typing import Any
from urllib.parse import unquote

from pipeline.demo.page import MAX_UPLOAD, SCRIPT, STYLE, Demo

PICTURE, JSON = "application/octet-stream", "application/json"
MAX_QUESTION = 2**16
UPLOADS = 8
"""Uploads that are taken into memory at a time."""
LONGEST_NAME = 200
HEADERS = {
    # No script or style in the page itself, nothing from elsewhere, no frame around it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class RefusedError(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


class Answers:
    """What the page asks for.

    Args:
        demo: What the page shows.
    """

    def __init__(self, demo: Demo) -> None:
        # One at a time, because each takes all cores.
        self._demo, self._network, self.uploads = demo, Lock(), BoundedSemaphore(UPLOADS)
        self.pages: dict[str, tuple[str, Callable[[], str]]] = {
            "/": ("text/html", lambda: demo.page),
            "/page.css": ("text/css", lambda: STYLE),
            "/page.js": ("text/javascript", lambda: SCRIPT),
        }
        # For each question the type and the size of its body. The type is one that a page of another site can't send
        # without asking first, which is refused.
        self.questions: dict[str, tuple[str, int]] = {
            "/picture": (PICTURE, MAX_UPLOAD),
            "/example": (JSON, MAX_QUESTION),
            "/angles": (JSON, MAX_QUESTION),
        }

    def answer(self, path: str, body: bytes, name: str) -> dict[str, Any]:
        """Answer a question.

        Raises:
            RefusedError: if this page does not ask it.
        """
        try:
            if path == "/picture":
                with self._network:
                    return self._demo.answer(name, body)
            asked = json.loads(body)
            if path == "/example":
                chosen = asked["chosen"]
                if type(chosen) is not int or not 0 <= chosen < len(self._demo.examples):
                    raise ValueError("there is no such picture")
                with self._network:
                    return self._demo.answer_example(chosen)
            inputs = asked["inputs"]
            if not isinstance(inputs, list) or not all(type(each) in (int, float) for each in inputs):
                raise ValueError("inputs are a list of numbers")
            with self._network:
                return self._demo.answer_by_hand([float(each) for each in inputs])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"This is no question of this page: {error}") from error


def handler(answers: Answers, hosts: set[str]) -> type[BaseHTTPRequestHandler]:
    """A handler of requests for the server.

    Args:
        answers: What the page asks for.
        hosts: Names by which the server may be called; others resolve to this machine by a trick (DNS rebinding).
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60
        # Else the kernel holds an answer's second packet back for 40 ms.
        disable_nagle_algorithm = True
        server_version, sys_version = "demo", ""

        def do_GET(self) -> None:
            self._answered(self._page)

        def do_HEAD(self) -> None:
            self._answered(self._page)

        def do_POST(self) -> None:
            self._answered(self._question)

        def _answered(self, answer: Callable[[], tuple[str, str]]) -> None:
            status = HTTPStatus.OK
            try:
                if self.headers.get("Host", "") not in hosts:
                    raise RefusedError(HTTPStatus.BAD_REQUEST, "This page goes by another name.")
                kind, text = answer()
            except RefusedError as error:
                status, kind, text = error.status, "text/plain", str(error)
                # What is left of its body is not read.
                self.close_connection = True
            content = text.encode()
            self.send_response(status)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _page(self) -> tuple[str, str]:
            if self.path not in answers.pages:
                raise RefusedError(HTTPStatus.NOT_FOUND, "This page has no such part.")
            kind, text = answers.pages[self.path]
            return kind, text()

        def _question(self) -> tuple[str, str]:
            if self.path not in answers.questions:
                raise RefusedError(HTTPStatus.NOT_FOUND, "This page asks for nothing here.")
            kind, most = answers.questions[self.path]
            if self.headers.get_all("Content-Type") != [kind]:
                raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"This question is asked as {kind}.")
            lengths = self.headers.get_all("Content-Length") or []
            if "Transfer-Encoding" in self.headers or len(lengths) != 1 or not lengths[0].isdecimal():
                raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "This question has no length.")
            if int(lengths[0]) > most:
                raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"it is larger than {most // 2**20} MB")
            with answers.uploads:
                body = self.rfile.read(int(lengths[0]))
                if len(body) < int(lengths[0]):
                    raise RefusedError(HTTPStatus.BAD_REQUEST, "This question ends early.")
                return JSON, json.dumps(answers.answer(self.path, body, self._name()))

        def _name(self) -> str:
            """The picture's file name, for the page only."""
            given = unquote(self.headers.get("X-Name", ""), errors="replace").replace("\\", "/")
            return PurePosixPath(given.replace("\0", "")).name[-LONGEST_NAME:] or "picture"

        def log_message(self, *_: Any) -> None:
            """Say nothing in the terminal: each request gets an answer."""

    return Handler

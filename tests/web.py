"""Web servers on this machine, in a thread of the tests' own process."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Quiet(BaseHTTPRequestHandler):
    """Answers without a line for each request."""

    def log_message(self, *_: object) -> None:
        pass


class LocalServer:
    """A server that answers as ``handler`` does, until it is closed.

    Attributes:
        url: Where it is.
    """

    def __init__(self, handler: type[Quiet]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


class Web(LocalServer):
    """A web server on this machine that also knows how to fail.

    Attributes:
        files: What it serves, by name.
        lengths: Content-Length to claim instead of the true one, by name: the connection is cut short.
        hanging: Names of files that never come.
        on_request: Called at each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.lengths: dict[str, int] = {}
        self.hanging: set[str] = set()
        self.asked: list[str] = []
        self.on_request: Callable[[], object] = lambda: None
        self.stopped = threading.Event()
        web = self

        class Handler(Quiet):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/")
                web.asked.append(name)
                web.on_request()
                if name in web.hanging:
                    web.stopped.wait(30)
                    return
                if name not in web.files:
                    self.send_error(404)
                    return
                body = web.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(web.lengths.get(name, len(body))))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(Handler)

    def close(self) -> None:
        """End it, and whatever hangs."""
        self.stopped.set()
        super().close()
        # torch.hub leaves the connection of a failed download to the garbage collector.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients in this process and those that it starts ask servers of this machine directly."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

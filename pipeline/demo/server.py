"""``python -m pipeline demo``: serve the page to this machine alone, until Ctrl-C.

In: a run. Out: a page on a loopback address; nothing stays when it ends.
"""

from __future__ import annotations

import errno
import signal
import socket
import sys
import webbrowser
from http.server import ThreadingHTTPServer
from typing import Any

from features.util.errors import InputError
from pipeline.demo.config import DemoConfig
from pipeline.demo.examples import validation_examples
from pipeline.demo.handler import Answers, handler
from pipeline.demo.limits import limits_of
from pipeline.demo.page import Demo
from pipeline.inference.hybrid import HybridClassifier
from pipeline.inference.sources import run_backbone
from pipeline.training.run import load_run

HOST = "127.0.0.1"
# How many ports from --port on are tried.
PORTS = 100


def serve(config: DemoConfig) -> None:
    """Show the page until Ctrl-C.

    Raises:
        InputError: if the run or its backbone is not at hand, or no port is free.
    """
    run = load_run(config.run)
    with listen(config.port) as listening:
        backbone = run_backbone(run, config.weights)
        classifier = HybridClassifier(run, backbone, config.epoch, accept_other_weights=config.accept_other_weights)
        demo = Demo(classifier, validation_examples(run), limits_of(run, classifier.head))
        # Made now, so that the first visitor does not wait.
        _ = demo.page
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        # A kill (SIGTERM) ends it as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with Server(demo, listening) as server:
                print(
                    f"{run.path}: the head of epoch {run.epochs[config.epoch]} on {address} (Ctrl-C ends it)",
                    flush=True,
                )
                if config.open:
                    webbrowser.open(address)
                server.serve_forever()
        except KeyboardInterrupt:
            print("\nended; no upload is kept")


def listen(port: int) -> socket.socket:
    """A socket on the first free port from ``port`` on, which only this machine can reach.

    Raises:
        InputError: if none is free, or the user lacks the right to use it.
    """
    last = min(port + PORTS, 65536) - 1
    for candidate in range(port, last + 1):
        try:
            return socket.create_server((HOST, candidate))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise InputError(f"--port {candidate} can't be used ({error.strerror}); try --port 7860") from error
    raise InputError(f"the ports {port} to {last} are all in use; give another --port")


class Server(ThreadingHTTPServer):
    """The web server of a demo on a listening socket; a thread for each connection, none of which it waits for."""

    daemon_threads = True

    def __init__(self, demo: Demo, listening: socket.socket) -> None:
        port = listening.getsockname()[1]
        hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        super().__init__((HOST, port), handler(Answers(demo), hosts), bind_and_activate=False)
        self.socket.close()
        self.socket = listening

    def handle_error(self, request: Any, address: Any) -> None:
        """Say nothing of a connection that the browser has cut."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, address)

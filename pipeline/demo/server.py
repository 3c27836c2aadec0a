"""``python -m pipeline demo``: serve the page to this machine alone, until Ctrl-C.

In: a run. Out: a page on a loopback address; nothing stays when it ends.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import webbrowser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from features.util.errors import InputError
from pipeline.demo.config import DemoConfig
from pipeline.demo.examples import Example, validation_examples
from pipeline.inference.hybrid import HybridClassifier
from pipeline.inference.sources import run_backbone
from pipeline.training.run import load_run

HOST = "127.0.0.1"
# How many ports from --port on are tried.
PORTS = 100
# The first major version with all that the page uses.
GRADIO = 6


def serve(config: DemoConfig) -> None:
    """Show the page until Ctrl-C.

    Raises:
        InputError: if Gradio is not installed, the run or its backbone is not at hand, or no port is free.
    """
    _refuse_other_gradio()
    run = load_run(config.run)
    with listen(config.port) as listening, TemporaryDirectory(prefix="quantum-transfer-") as uploads:
        backbone = run_backbone(run, config.weights)
        classifier = HybridClassifier(run, backbone, config.epoch, accept_other_weights=config.accept_other_weights)
        server = make_server(classifier, validation_examples(run), Path(uploads))
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        # A kill (SIGTERM) ends it as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        start = server.startup

        async def announced(sockets: list[socket.socket] | None = None) -> None:
            # Only now does the server answer, and end cleanly at Ctrl-C.
            await start(sockets=sockets)
            print(f"{run.path}: the head of epoch {run.epochs[config.epoch]} on {address} (Ctrl-C ends it)", flush=True)
            if config.open:
                webbrowser.open(address)

        server.startup = announced
        try:
            server.run(sockets=[listening])
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


def make_server(classifier: HybridClassifier, examples: list[Example], uploads: Path) -> Any:
    """The web server.

    Args:
        classifier: The whole network.
        examples: Pictures to offer.
        uploads: An empty folder for Gradio, which stays empty.
    """
    # Variables of Gradio's could open the page to the network; only ours count. It reads them at import.
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_RUN_HISTORY": "False",
        "GRADIO_TEMP_DIR": str(uploads),
    }
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from pipeline.demo.gate import PROGRESS, UPLOAD, Gate
    from pipeline.demo.page import STYLE, make_page
    from pipeline.demo.uploads import MAX_UPLOAD, Uploads, progress

    # Silence its log of malformed uploads, because each of them gets an answer anyway.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    waiting = Uploads(uploads)
    page = make_page(classifier, waiting, examples)
    app = FastAPI(openapi_url=None)
    # These routes come before Gradio's own and replace them.
    app.add_route(UPLOAD, waiting.receive, methods=["POST"])
    app.add_route(PROGRESS, progress, methods=["GET"])
    app.add_middleware(Gate, uploads=waiting, examples=len(examples), upload=page.upload, example=page.example)
    # Refuse a foreign page whose name resolves to this machine (DNS rebinding).
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    gr.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        server_name=HOST,
        show_error=False,
        max_file_size=MAX_UPLOAD,
        footer_links=[],
        theme=theme,
        css=STYLE,
    )
    # At shutdown, cut the connection of an open browser tab after a second, without a log entry.
    return uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))


def _refuse_other_gradio() -> None:
    try:
        found = version("gradio")
    except PackageNotFoundError:
        found = "none"
    if found == "none" or int(found.split(".")[0]) < GRADIO:
        raise InputError(
            f"demo needs Gradio {GRADIO} or newer, found {found}; install it: {sys.executable} -m pip install "
            f"'gradio>={GRADIO}'  (make demo does)"
        )

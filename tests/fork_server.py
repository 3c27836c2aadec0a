"""A Python that starts at once, because it is forked from one that has imported torch and PennyLane already.

Importing them takes seconds, and the tests of the Makefile and of the READMEs start many processes. `interpreter` gives
them an executable that takes ``-m MODULE``, ``-c CODE`` or a file, as Python does. Only libraries are imported before
the fork: each process imports the project's own modules itself, from its working folder and its PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIBRARIES = (
    "numpy",
    "scipy.stats",
    "torch",
    "torch.utils.data",
    "pennylane",
    "pennylane_lightning.lightning_qubit",
    "h5py",
    "PIL.Image",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "sklearn.linear_model",
    "safetensors.torch",
    "jinja2",
    "joblib",
    "threadpoolctl",
    "tqdm",
    "tyro",
    "onnx",
)  # fmt: skip; not onnxruntime: a process forked from one that has imported it never ends


@contextlib.contextmanager
def interpreter() -> Iterator[Path]:
    """Start a server; yields the executable, named ``python``, alone in its folder. The server ends with the block."""
    # Not pytest's folders: the path of a socket has at most a hundred characters.
    with tempfile.TemporaryDirectory() as folder:
        address, executable = f"{folder}/server", Path(folder) / "bin/python"
        executable.parent.mkdir()
        command = shlex.join([sys.executable, "-IS", __file__, "client", address])
        executable.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        executable.chmod(0o755)
        # The server ends when its standard input does: with this process, however that ends.
        with subprocess.Popen(
            [sys.executable, __file__, "serve", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield executable
            server.communicate()


def serve(address: str) -> dict[str, Any]:
    """Fork a process for each client, until standard input ends; in that process, returns what the client asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes below
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        print("ready", flush=True)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    return _forked(connection)
    os._exit(0)


def _forked(connection: socket.socket) -> dict[str, Any]:
    """Stand between the client and the process that does its work: tells its number, then how it ended."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("r") as lines:
        request: dict[str, Any] = json.loads(lines.readline())
    process = os.fork()
    if process == 0:
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        return request
    for descriptor in (*range(3), *descriptors):
        os.close(descriptor)
    connection.sendall(f"{process}\n".encode())
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if select.select([connection], [], [], 0.01)[0]:  # the client was killed
            os.kill(process, signal.SIGKILL)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())
    os._exit(0)


def run(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be the process that ``python *arguments`` would be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # asks TMPDIR again
    more = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if arguments[0] == "-m":
        sys.path[:1] = [folder, *more]
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.path[:1] = ["", *more]
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[:1] = [str(Path(arguments[0]).parent), *more]
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def client(address: str, arguments: list[str]) -> int:
    """Let the server run this; returns the exit code. SIGINT and SIGTERM are passed on."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"\0"], [0, 1, 2])
        request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("r") as lines:
            process = int(lines.readline())
            for sign in (signal.SIGINT, signal.SIGTERM):
                signal.signal(sign, lambda sign, _: os.kill(process, sign))
            ended = int(lines.readline())
    if ended < 0:  # by a signal: end in the same way
        signal.signal(-ended, signal.SIG_DFL)
        os.kill(os.getpid(), -ended)
    return ended


def _import_torchvision() -> None:
    """As the project does, without torch's compiler: it brings Triton, which complains of what ``gc.freeze`` keeps."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    importlib.import_module("features.backbone.vision")
    for name in [name for name in sys.modules if name.split(".")[0] == "features"]:
        del sys.modules[name]
    del sys.path[0]


if __name__ == "__main__":
    role, address, *rest = sys.argv[1:]
    if role == "client":
        sys.exit(client(address, rest))
    _import_torchvision()
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # what is there now is left alone at the end of each process
    request = serve(address)
    run(**request)

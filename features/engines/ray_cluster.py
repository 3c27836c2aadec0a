"""A Ray cluster to work on: the one at an address, or one that is started on this machine.

In: ``--address``. Out: the module ``ray``, connected. Needs ``pip install 'ray[data]'``.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from features.util.errors import InputError


def connect(address: str | None, **how: Any) -> Any:
    """Ray, connected to the cluster at ``address``, or to one that is started on this machine.

    Args:
        address: HOST:PORT as ``ray start --head`` prints it; None starts one here.
        how: Further arguments of ``ray.init``.

    Raises:
        InputError: if Ray is not installed, or there is no cluster at ``address``.
    """
    # Ray's own messages go to its log files; the command reports what matters.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of a change in its next version
    try:
        import ray
    except ImportError as error:
        raise InputError("--engine ray needs Ray, which is not installed: pip install 'ray[data]'") from error
    if not ray.is_initialized():
        _refuse_unreachable(address)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
        try:
            ray.init(address=address or "local", **quiet, **how)
        except (ConnectionError, ValueError) as error:
            raise _no_cluster(address, error) from error
    return ray


def _refuse_unreachable(address: str | None) -> None:
    """Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:
        return  # "auto", which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: Exception) -> InputError:
    return InputError(
        f"there is no Ray cluster at --address {address} ({error}); give HOST:PORT as `ray start --head` prints it, "
        "with RAY_AUTH_MODE=token in the environment if the cluster asks for its token, or leave --address out to "
        "start one on this machine"
    )

"""Flags of ``demo``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from features.util.flags import Flags, between


@dataclass(frozen=True, kw_only=True)
class DemoConfig(Flags):
    """Open a local web page that classifies the pictures dropped on it, and shows what the circuit measures.

    The page can be reached from this machine only. Uploads stay in memory, and are forgotten with the answer. Ctrl-C
    ends it.
    """

    run: Path = Path("out/run")
    """The run folder that `train` made."""
    epoch: Literal["last", "best"] = "last"
    """Which epoch's head to use."""
    weights: str | None = None
    """The backbone's weights, if they are no longer where the features were made with them."""
    accept_other_weights: bool = False
    """Accept a backbone other than the one that made the features."""
    port: Annotated[int, between(1, 65535)] = 7860
    """The page's port; if it is in use, the next free one."""
    open: bool = False
    """Open the page in the default browser."""

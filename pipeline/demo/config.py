"""Flags of ``demo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from features.util.flags import between
from pipeline.inference.config import HeadFlags


@dataclass(frozen=True, kw_only=True)
class DemoConfig(HeadFlags):
    """Open a local web page that classifies the pictures dropped on it, and shows what the circuit measures.

    The page can be reached from this machine only. Uploads stay in memory, and are forgotten with the answer. Ctrl-C
    ends it.
    """

    port: Annotated[int, between(1, 65535)] = 7860
    """The page's port; if it is in use, the next free one."""
    open: bool = False
    """Open the page in the default browser."""

"""torchvision, without the seconds that it spends on importing torch's compiler: 0.2 s instead of 2 s or more.

One line of torchvision 0.21 to 0.29 (``ops/roi_align.py``) imports a function of ``torch._dynamo`` and calls it when
that operator runs, which no classification model has. While torchvision is imported, a stand-in takes the place of that
module; its functions import the real one when they are called. Other versions never meet the stand-in: they import what
they like, in their own time.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo.utils"
KNOWN = re.compile(r"0\.2[1-9]\.")


class _OnceAsked(ModuleType):
    """Each name in it is a function of the compiler's, which is imported when one is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def ask(*arguments: Any) -> Any:
            return getattr(import_module(COMPILER), name)(*arguments)

        return ask


if not {COMPILER, "torchvision"} & sys.modules.keys() and KNOWN.match(metadata.version("torchvision")):
    sys.modules[COMPILER] = _OnceAsked(COMPILER)
    try:
        import_module("torchvision")
    finally:
        del sys.modules[COMPILER]

from torchvision import models  # noqa: E402

__all__ = ["models"]

"""torchvision, without the two seconds that it spends on importing torch's compiler.

One line of it (``ops/roi_align.py``, in versions 0.21 to 0.29) imports ``torch._dynamo``, for a question that it asks
when that operator runs; none of the classification models has it. While torchvision is imported, a stand-in takes the
place of the compiler's module, and asks the question of the real one when it comes up.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo.utils"


class _OnceAsked(ModuleType):
    """Each name in it is a function of the compiler's, which is imported when one is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def ask(*arguments: Any) -> Any:
            return getattr(import_module(COMPILER), name)(*arguments)

        return ask


if COMPILER not in sys.modules and "torchvision" not in sys.modules:
    sys.modules[COMPILER] = _OnceAsked(COMPILER)
    try:
        import torchvision
    finally:
        del sys.modules[COMPILER]

from torchvision import models  # noqa: E402
from torchvision.transforms import InterpolationMode  # noqa: E402

__all__ = ["InterpolationMode", "models", "torchvision"]

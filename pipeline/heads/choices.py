"""Names that heads go by; light, so that a command line can check them before torch is imported."""

from __future__ import annotations

from typing import Literal, get_args

HeadName = Literal["quantum", "separable", "frozen", "classical", "mlp", "linear", "logistic"]

HEADS: tuple[HeadName, ...] = get_args(HeadName)

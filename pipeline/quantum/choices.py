"""Names that circuits and simulators go by; light, so that a command line can check them before torch is imported."""

from __future__ import annotations

from typing import Literal, get_args

Entangler = Literal["chain", "ring", "none"]
Simulator = Literal["lightning", "qnode", "dense"]
CDtype = Literal["complex128", "complex64"]

ENTANGLERS: tuple[Entangler, ...] = get_args(Entangler)
SIMULATORS: tuple[Simulator, ...] = get_args(Simulator)
C_DTYPES: tuple[CDtype, ...] = get_args(CDtype)

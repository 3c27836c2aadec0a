"""Choices of circuits and simulators, in a module without torch, so that a command line can check them at once."""

from __future__ import annotations

from typing import Literal, get_args

Entangler = Literal["chain", "ring", "none"]
Simulator = Literal["lightning", "qnode", "dense"]
CDtype = Literal["complex128", "complex64"]
PreNet = Literal["auto", "linear", "none"]

ENTANGLERS: tuple[Entangler, ...] = get_args(Entangler)
SIMULATORS: tuple[Simulator, ...] = get_args(Simulator)
C_DTYPES: tuple[CDtype, ...] = get_args(CDtype)

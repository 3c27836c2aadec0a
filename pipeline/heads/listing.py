"""``python -m pipeline heads``: all heads side by side."""

from __future__ import annotations

from dataclasses import replace

from features.util.flags import FlagError
from pipeline.heads.config import HeadsConfig
from pipeline.heads.registry import HEADS, HeadConfig, new_head
from pipeline.quantum.circuits import CIRCUITS


def list_heads(config: HeadsConfig) -> None:
    """Print what every head is made of and how many parameters it trains."""
    width = max(map(len, HEADS))
    print(f"{'head':{width}}  {'trained':>7}  {'without gradient':>16}  {'in the middle':>13}  made of")
    settings = HeadConfig(qubits=config.qubits, depth=config.depth, simulator="dense")
    for name in HEADS:
        try:
            head = new_head(replace(settings, head=name), config.n_features, config.n_classes)
        except FlagError as error:
            print(f"{name:{width}}  not at these sizes: {error}")
            continue
        middle = "" if head.n_middle is None else head.n_middle
        trained = head.n_trainable or "by rows"
        print(f"{name:{width}}  {trained:>7}  {_known(head.n_idle):>16}  {middle:13}  {head.description}")
    print("\ncircuits of the quantum head: --circuit NAME, or --circuit my_circuit.py:name for one of yours")
    for name, entry in CIRCUITS.items():
        head = new_head(replace(settings, circuit=name), config.n_features, config.n_classes)
        idle = f", {_known(head.n_idle)} of which never have a gradient" if head.n_idle != 0 else ""
        print(f"{name:21}  {entry.summary}; {head.n_middle} weights{idle}")


def _known(number: int | None) -> str:
    return "not known" if number is None else str(number)

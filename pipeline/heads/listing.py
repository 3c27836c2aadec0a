"""``python -m pipeline heads``: all heads side by side."""

from __future__ import annotations

from dataclasses import replace

from pipeline.heads.config import HeadsConfig
from pipeline.heads.registry import HEADS, HeadConfig, new_head
from pipeline.quantum.circuits import CIRCUITS


def list_heads(config: HeadsConfig) -> None:
    """Print what every head is made of and how many parameters it trains."""
    width = max(map(len, HEADS))
    print(f"{'head':{width}}  {'trained':>7}  {'in the middle':>13}  made of")
    settings = HeadConfig(qubits=config.qubits, depth=config.depth, simulator="dense")
    for name in HEADS:
        head = new_head(replace(settings, head=name), config.n_features, config.n_classes)
        middle = "" if head.n_middle is None else head.n_middle
        print(f"{name:{width}}  {head.n_trainable:7}  {middle:13}  {head.description}")
    print("\ncircuits of the quantum head: --circuit NAME, or --circuit my_circuit.py:name for one of yours")
    for name, entry in CIRCUITS.items():
        print(f"{name:21}  {entry.summary}")

"""Memory of one pass is there for the next: the C library does not return it to the system in between."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch, pennylane as qml
from pipeline import TorchLayer

torch.set_num_threads(1)

@qml.qnode(qml.device("default.qubit", wires=8))
def circuit(inputs, weights):
    for layer in range(6):
        for wire in range(8):
            qml.RY(inputs[..., wire], wires=wire)
            qml.Rot(*weights[layer, wire], wires=wire)
        for wire in range(7):
            qml.CNOT(wires=[wire, wire + 1])
    return [qml.expval(qml.Z(wire)) for wire in range(8)]

layer, inputs = TorchLayer(circuit, {"weights": (6, 8, 3)}), torch.rand(32, 8)

def faults(calls):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        layer(inputs).sum().backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls

faults(5)
print(faults(20))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_pass_asks_the_system_for_no_new_memory():
    # 900 pages of 4 KiB a call, and twice the time, where glibc returns what each call frees.
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 50

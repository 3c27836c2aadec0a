"""The contract with Lightning's C++ bindings: exactly what pipeline/lightning.py relies on."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
from pennylane_lightning import lightning_qubit_ops

from pipeline.quantum import lightning
from pipeline.quantum.circuit import COMPLEX_GATES, REAL_GATES, Gate
from pipeline.quantum.lightning import Register, bindings_problem

WIRES = {"CNOT": 2, "CY": 2, "CZ": 2, "SWAP": 2, "Toffoli": 3, "CSWAP": 3}


def amplitudes(n_wires, c_dtype, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=2**n_wires) + 1j * generator.normal(size=2**n_wires)).astype(c_dtype)


@pytest.mark.parametrize("c_dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", REAL_GATES + COMPLEX_GATES)
def test_each_gate_has_a_method_of_pennylanes_name_that_applies_it_and_its_inverse(name, c_dtype):
    wires = (2, 0, 1)[: WIRES.get(name, 1)]
    angle = 0.7 if name in ("RX", "RY", "RZ") else None
    operation = getattr(qml, name)(*(() if angle is None else (angle,)), wires=wires)
    start = amplitudes(3, c_dtype)
    register = Register([Gate(name, wires, angle=angle)], 3, c_dtype)
    seen = np.empty_like(start)
    register.load(start)
    register.apply([])
    register.read(seen)
    # Not of norm 1: the bindings must neither ask for that nor bring it about.
    np.testing.assert_allclose(seen, qml.matrix(operation, wire_order=range(3)) @ start, atol=1e-5)
    register.undo([])
    register.read(seen)
    np.testing.assert_allclose(seen, start, atol=1e-5)


@pytest.mark.parametrize("name", REAL_GATES)
def test_real_gates_are_real_to_the_last_bit(name):
    wires = (2, 0, 1)[: WIRES.get(name, 1)]
    register = Register([Gate(name, wires, angle=0.7 if name == "RY" else None)], 3, "complex128")
    start = amplitudes(3, "complex128").real.astype("complex128")
    seen = np.empty_like(start)
    register.load(start)
    register.apply([])
    register.read(seen)
    assert not seen.imag.any()


def test_weights_and_ranges_of_gates():
    gates = [Gate("RY", (0,), weight=1), Gate("CNOT", (0, 1)), Gate("RY", (1,), weight=0)]
    register = Register(gates, 2, "complex128")
    start, seen = amplitudes(2, "complex128"), np.empty(4, dtype="complex128")
    register.load(start)
    register.apply([[0.1], [0.2]], 0, 1)
    register.read(seen)
    np.testing.assert_allclose(seen, qml.matrix(qml.RY(0.2, 0), wire_order=[0, 1]) @ start)
    register.apply([[0.1], [0.2]], 1)
    register.undo([[0.1], [0.2]], 1, 3)
    register.undo([[0.1], [0.2]], 0, 1)
    register.read(seen)
    np.testing.assert_allclose(seen, start)


def test_a_state_is_copied_in_and_out():
    register = Register([], 2, "complex128")
    start, seen = amplitudes(2, "complex128"), np.empty(4, dtype="complex128")
    kept = start.copy()
    register.load(start)
    start[:] = 0
    register.read(seen)
    np.testing.assert_array_equal(seen, kept)
    seen[:] = 0
    register.read(seen)
    np.testing.assert_array_equal(seen, kept)


@pytest.fixture
def _fresh_check():
    bindings_problem.cache_clear()
    yield
    bindings_problem.cache_clear()


@pytest.mark.usefixtures("_fresh_check")
def test_the_bindings_are_as_expected():
    assert bindings_problem() is None


@pytest.mark.usefixtures("_fresh_check")
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda patch: patch.delattr(lightning_qubit_ops, "StateVectorC64"), "AttributeError: .*StateVectorC64"),
        (lambda patch: patch.setitem(lightning._STATE_VECTORS, "complex128", "compile_info"), "has no Hadamard"),
        (
            lambda patch: patch.setattr(lightning.Register, "apply", lambda *_: None),
            "RY and CNOT on StateVectorC64 gave",
        ),
        (lambda patch: patch.setattr(lightning.Register, "undo", lambda *_: None), "the inverses of RY and CNOT"),
    ],
)
def test_other_bindings_are_noticed(monkeypatch, change, problem):
    change(monkeypatch)
    assert bindings_problem() is not None
    bindings_problem.cache_clear()
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(bindings_problem())

"""The contract with Lightning's C++ bindings: exactly what pipeline/quantum/lightning.py relies on."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
from pennylane_lightning import lightning_qubit_ops

from pipeline.quantum import lightning
from pipeline.quantum.lightning import FIXED_GATES, ROTATIONS, Register, bindings_problem
from pipeline.quantum.program.tape import Gate

WIRES = {"CNOT": 2, "CY": 2, "CZ": 2, "SWAP": 2, "Toffoli": 3, "CSWAP": 3, "CRY": 2}
REAL = ("Hadamard", "PauliX", "PauliZ", "RY", "CNOT", "CZ", "SWAP", "Toffoli", "CSWAP", "CRY")


def amplitudes(n_wires, c_dtype, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=2**n_wires) + 1j * generator.normal(size=2**n_wires)).astype(c_dtype)


def bound(operation):
    """A gate as the tape's reader would give it, and the index of its angle: CRY goes in as a matrix."""
    wires = tuple(operation.wires)
    if operation.name in ROTATIONS:
        return Gate("rotation", wires, operation.name[1:]), 0
    return Gate(operation.name, wires, matrix=qml.matrix(operation)), None


@pytest.mark.parametrize("c_dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", [*ROTATIONS, *FIXED_GATES, "CRY"])
def test_each_gate_has_a_method_of_pennylanes_name_that_applies_it_and_its_inverse(name, c_dtype):
    wires = (2, 0, 1)[: WIRES.get(name, 1)]
    operation = getattr(qml, name)(*((0.7,) if name in (*ROTATIONS, "CRY") else ()), wires=wires)
    start = amplitudes(3, c_dtype)
    register = Register([bound(operation)], 3, c_dtype)
    seen = np.empty_like(start)
    register.load(start)
    register.apply([[0.7]])
    register.read(seen)
    # Not of norm 1: the bindings must neither ask for that nor bring it about.
    np.testing.assert_allclose(seen, qml.matrix(operation, wire_order=range(3)) @ start, atol=1e-5)
    register.undo([[0.7]])
    register.read(seen)
    np.testing.assert_allclose(seen, start, atol=1e-5)


@pytest.mark.parametrize("name", REAL)
def test_real_gates_are_real_to_the_last_bit(name):
    wires = (2, 0, 1)[: WIRES.get(name, 1)]
    register = Register([bound(getattr(qml, name)(*((0.7,) if "RY" in name else ()), wires=wires))], 3, "complex128")
    start = amplitudes(3, "complex128").real.astype("complex128")
    seen = np.empty_like(start)
    register.load(start)
    register.apply([[0.7]])
    register.read(seen)
    assert not seen.imag.any()


def test_weights_and_ranges_of_gates():
    gates = [(Gate("rotation", (0,), "Y"), 1), (Gate("CNOT", (0, 1)), None), (Gate("rotation", (1,), "Y"), 0)]
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
        (lambda patch: patch.setitem(lightning._STATE_VECTORS, "complex128", "compile_info"), "has no RX"),
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

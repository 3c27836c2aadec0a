"""A head's circuit on a PennyLane device: opened by its name, tried before any work, measured in batches.

In: angles of shape (N, n_qubits), in radians. Out: ⟨Z⟩ of every wire, of that shape, as the device measures it.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
import pennylane as qml

from features.util.errors import InputError, did_you_mean
from features.util.memory import physical_memory
from pipeline.devices.noise import Noise
from pipeline.heads.dressed import DressedQuantumNet

# Where devices come from that are not installed, by the beginning of their names.
PLUGINS = {
    "braket.": "amazon-braket-pennylane-plugin",
    "cirq.": "pennylane-cirq",
    "ionq.": "pennylane-ionq",
    "lightning.gpu": "pennylane-lightning-gpu",
    "lightning.kokkos": "pennylane-lightning-kokkos",
    "qiskit.": "pennylane-qiskit",
}
# A batch is one pass of a simulator, or one job of circuits; small enough to see progress.
LARGEST_BATCH = 64
# Measured peaks of PennyLane's simulators are 2 to 3 times the states and samples. More of them at once gains no time.
BATCH_BYTES, COPIES = 2**24, 3


def open_device(name: str, n_qubits: int, options: dict[str, Any], seed: int) -> tuple[Any, int | None]:
    """A PennyLane device with ``n_qubits`` wires.

    Args:
        name: As PennyLane knows it, such as ``default.mixed``.
        n_qubits: Wires, unless ``options`` name others.
        options: Further arguments of the device.
        seed: Of its random draws, for devices that take one as ``seed``.

    Returns:
        The device, and the seed that it took; None if it takes none.

    Raises:
        InputError: if no such device is installed, it can't be loaded, or it refuses the options.
    """
    maker = _load(_installed(name))
    arguments: dict[str, Any] = {"wires": n_qubits}
    accepted = inspect.signature(maker).parameters
    if "seed" in accepted:
        arguments["seed"] = seed
    arguments |= options
    try:
        return qml.device(name, **arguments), arguments.get("seed")
    except Exception as error:
        takes = ", ".join(option for option in accepted if option not in ("wires", "shots", "kwargs")) or "none"
        given = " ".join(f"{key}={value}" for key, value in options.items()) or "none"
        raise InputError(
            f"--q-device {name} can't be opened with --q-device-options {given}: {_reason(error)}; the options that it "
            f"names: {takes}. A device that takes more than text goes through pipeline.devices.levels.evaluate_on"
        ) from error


class DeviceCircuit:
    """The circuit of a trained head on a device, at one level of noise and shots.

    Args:
        head: The trained head.
        device: A PennyLane device.
        noise: The channels to put into the circuit.
        shots: Measurements of each sample; None for exact expectation values.

    Raises:
        InputError: if a sample takes more memory than there is.
    """

    def __init__(self, head: DressedQuantumNet, device: Any, noise: Noise, shots: int | None) -> None:
        self.device, self.noise, self.shots = device, noise, shots
        self.n_qubits, self._n_inputs = head.n_wires, head.circuit.n_inputs
        self._weights = head.q_params.detach().double().numpy()
        self._takes_batches = head.compiled.takes_batches
        circuit: Callable[..., Any] = head.circuit if noise.quiet else noise.apply_to(head.circuit)
        self._qnode = qml.set_shots(qml.QNode(circuit, device, diff_method=None), shots=shots)
        self._sample_bytes = COPIES * sample_bytes(device.name, self.n_qubits, shots)
        _check_memory(self._sample_bytes, self._words)

    @property
    def batch(self) -> int:
        """Samples to measure in one call: bounded by memory, and by the wish to see progress."""
        # Others than PennyLane's own simulators take the samples of a batch one after the other.
        together = self.device.name.startswith("default.")
        return max(1, min(LARGEST_BATCH, BATCH_BYTES // self._sample_bytes)) if together else LARGEST_BATCH

    def try_it(self) -> None:
        """Measure one sample.

        Raises:
            InputError: if the device can't run the circuit, or takes shots though none were asked for.
        """
        with qml.Tracker(self.device) as tracker, warnings.catch_warnings():
            # A device's warnings are errors here, or come again when it measures.
            warnings.simplefilter("ignore")
            self(np.ones((1, self._n_inputs)))
        taken = tracker.totals.get("shots", 0) or self.device.shots.total_shots
        if self.shots is None and taken:
            raise InputError(f"{self._words}: it has no exact values, and took {taken} shots unasked; give it --shots")

    def __call__(self, angles: np.ndarray) -> np.ndarray:
        """The circuit's outputs (B, n_outputs), ⟨Z⟩ of every wire of the paper's, from its inputs (B, n_inputs).

        Raises:
            InputError: with what the device says, if it fails.
        """
        try:
            if self._takes_batches:
                return self._measured(angles, len(angles))
            return np.concatenate([self._measured(sample, 1) for sample in angles])
        except Exception as error:
            hint = ""
            if not self.noise.quiet and self.device.name != "default.mixed":
                hint = "; channels of noise need a device of density matrices: --q-device default.mixed"
            elif self.shots is None and not self.device.name.startswith(("default.", "lightning.")):
                hint = "; if it measures by shots only, give it --shots"
            raise InputError(f"{self._words} fails: {_reason(error)}{hint}") from error

    def _measured(self, inputs: np.ndarray, n_samples: int) -> np.ndarray:
        """The outputs (n_samples, n_outputs) of a batch, or of one sample (n_inputs,)."""
        # Some devices leave out the axis of a batch of one.
        found = self._qnode(inputs, self._weights)
        outputs = found if isinstance(found, (list, tuple)) else [found]
        return np.concatenate([np.asarray(output).reshape(n_samples, -1) for output in outputs], axis=1)

    @property
    def _words(self) -> str:
        shots = "without shots" if self.shots is None else f"with {self.shots} shots"
        return f"the circuit of {self.n_qubits} wires on --q-device {self.device.name}, noise {self.noise}, {shots}"


def sample_bytes(name: str, n_qubits: int, shots: int | None) -> int:
    """What one sample takes on a simulator: its state, in complex128, and an integer for each measured bit."""
    state = 16 * (4**n_qubits if name == "default.mixed" else 2**n_qubits)
    return state + 8 * n_qubits * (shots or 0)


def _installed(name: str) -> EntryPoint:
    """PennyLane's entry for a device. It keeps them by name in this group, its own devices included."""
    found = {point.name: point for point in entry_points(group="pennylane.plugins")}
    if name in found:
        return found[name]
    hint = did_you_mean(name, found)
    package = next((package for start, package in PLUGINS.items() if name.startswith(start)), None)
    plugin = f". {name} would come with: pip install {package}" if package and not hint else ""
    raise InputError(f"--q-device is {name!r}; installed are {', '.join(sorted(found))}{hint}{plugin}")


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise InputError(
            f"--q-device {point.name} is listed by its plugin but can't be loaded: {_reason(error)}; update that "
            "plugin, or name another device"
        ) from error


def _check_memory(required: int, words: str) -> None:
    available = physical_memory()
    if required > available:
        raise InputError(
            f"{words} would take about {required / 2**30:,.0f} GiB for a single image, and this machine has "
            f"{available / 2**30:,.0f} GiB; take fewer shots, or a head with fewer qubits"
        )


def _reason(error: Exception) -> str:
    """What the device says, on one line and not too long."""
    text = " ".join(str(error).split()).rstrip(".") or "no reason given"
    text = text if len(text) <= 300 else f"{text[:300]} …"
    return f"{type(error).__name__}: {text}"

"""What each part of a trained circuit is worth: it is taken away, and nothing is trained again.

In: a trained head, features of shape (N, n_features), labels of shape (N,). Out: :class:`Ablations`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
import torch

from features.util.errors import first_line
from pipeline.heads.base import Head
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.quantum.compiled import compile_circuit
from pipeline.util.paired import paired_difference95

PARTS = {
    "mean": "the circuit's outputs replaced by their mean",
    "shuffled": "angles exchanged between images, all wires together",
    "affine": "the circuit replaced by the closest linear map",
    "unentangled": "gates on several wires left out",
}
"""What is taken away, in words."""
PERMUTATIONS = 20
BY_QNODE = 1000
"""Images for which a circuit is evaluated that runs sample by sample."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A trained head without one part.

    Attributes:
        name: ``mean``, ``shuffled``, ``affine`` or ``unentangled``.
        words: What was done.
        accuracy: Of what is left; None where it could not be done.
        cost: By how much less accurate that is than the whole head, a share.
        cost95: Its 95 % interval, for the same images.
        not_run: Why it could not be done.
    """

    name: str
    words: str
    accuracy: float | None = None
    cost: float | None = None
    cost95: tuple[float, float] | None = None
    not_run: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ablations:
    """All of them, on the same images.

    Attributes:
        images: Their number.
        accuracy: Of the whole head.
        permutations: How often angles were shuffled; ``seed`` decides how.
        parts: A part each.
    """

    images: int
    accuracy: float
    permutations: int
    seed: int
    parts: list[Ablation]


def ablations(
    head: Head, features: torch.Tensor, labels: torch.Tensor, *, seed: int = 0, permutations: int = PERMUTATIONS
) -> Ablations | str:
    """Take parts of a trained dressed circuit away, one at a time; or the reason why the head has none.

    - ``mean``: The circuit's outputs are replaced by their mean over these images, so all of them get one answer.
    - ``shuffled``: Angles are exchanged between images, all wires of an image together: exchanging one wire alone
      leaves what the other wires say of the image. The answers stay as they are spread, but belong to other images. So
      this is what the head would reach by guessing as it does.
    - ``affine``: The circuit is replaced by an affine map of its inputs: for each image by the one that is closest, by
      least squares, to the outputs of all other images. Of as few images as a map has numbers, one that had seen the
      image itself would fit any circuit. If this costs nothing, the circuit does no more than a linear layer does.
    - ``unentangled``: All gates on several wires are left out, those that load inputs too; a state that is loaded as a
      whole stays.

    None of them sees a label. Shuffling is for a circuit that answers image by image, as every one does here.

    Args:
        head: The trained head.
        features: Shape (N, n_features).
        labels: Shape (N,), int64.
        seed: Of the permutations.
        permutations: How many accuracies are averaged; their interval is that of a single one, which is wider.
    """
    if not isinstance(head, DressedQuantumNet):
        return "the head has no circuit between two layers"
    if head.simulator == "qnode" and len(labels) > BY_QNODE:
        return f"the circuit runs as an ordinary QNode, which takes too long for more than {BY_QNODE} images"
    with torch.no_grad():
        inputs = head.angles(features)
        values = head.expectation_values(inputs)
        guesses = head.post_net(values).argmax(dim=1)
        whole = (guesses == labels).numpy()

        def judged(name: str, outputs: Callable[[], torch.Tensor]) -> Ablation:
            try:
                found = outputs()
            except Exception as error:  # a circuit of the user's may raise anything
                return Ablation(name=name, words=PARTS[name], not_run=first_line(error))
            right = (head.post_net(found).argmax(dim=1) == labels).numpy()
            return _ablation(name, whole, right)

        generator = torch.Generator().manual_seed(seed)
        orders = [torch.randperm(len(labels), generator=generator) for _ in range(permutations)]
        shuffled = torch.stack([guesses[order] == labels for order in orders]).double().mean(dim=0).numpy()
        parts = [
            judged("mean", lambda: values.mean(0).expand_as(values)),
            _ablation("shuffled", whole, shuffled),
            judged("affine", lambda: _affine(inputs, values)),
            judged("unentangled", lambda: _unentangled_values(head, inputs)),
        ]
    return Ablations(
        images=len(labels), accuracy=float(whole.mean()), permutations=permutations, seed=seed, parts=parts
    )


def _ablation(name: str, whole: np.ndarray, right: np.ndarray) -> Ablation:
    """Of what the whole head and what is left have right, (N,): bool, or the share of permutations."""
    cost = float(whole.mean() - right.mean())
    return Ablation(
        name=name, words=PARTS[name], accuracy=float(right.mean()), cost=cost, cost95=paired_difference95(whole, right)
    )


def _affine(inputs: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The values (N, n_outputs) that affine maps of inputs (N, n_inputs) have, each fitted without the row it is for.

    Raises:
        ValueError: If the rows are so few that a map fits them whatever they are.
    """
    rows = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1).double().numpy()
    wanted = values.double().numpy()
    if len(rows) <= rows.shape[1]:
        raise ValueError(f"{len(rows)} images are too few to tell a circuit of {inputs.shape[1]} inputs from a map")
    basis, singular, _ = np.linalg.svd(rows, full_matrices=False)
    basis = basis[:, singular > singular[0] * len(rows) * np.finfo(np.float64).eps]
    fitted = basis @ (basis.T @ wanted)
    # What a row's own value adds to its fit; of 1 the other rows know nothing of its direction, and it keeps the fit.
    own = (basis**2).sum(axis=1, keepdims=True)
    others = fitted - own / np.maximum(1 - own, np.finfo(np.float64).eps) * (wanted - fitted)
    return torch.from_numpy(np.where(own < 1 - 1e-9, others, fitted)).to(values.dtype)


def _unentangled_values(head: DressedQuantumNet, inputs: torch.Tensor) -> torch.Tensor:
    """The circuit's outputs without its gates on several wires.

    Raises:
        ValueError: If it has none.
    """
    circuit = Unentangled(head.circuit)
    example = torch.ones_like(inputs[0]), head.q_params
    qml.tape.make_qscript(circuit)(*example)
    if not circuit.left_out:
        raise ValueError("none of its gates is on several wires")
    compiled = compile_circuit(
        circuit,
        {"weights": (head.circuit.n_weights,)},
        head.circuit.n_inputs,
        simulator=head.simulator,
        device=head.device_name,
        c_dtype=head.c_dtype,
    )
    return compiled(inputs, {"weights": head.q_params})


class Unentangled:
    """A quantum function of inputs and flat weights without its gates on several wires.

    Attributes:
        left_out: How many were left out when it was last called.
    """

    def __init__(self, circuit: Any) -> None:
        self.circuit, self.left_out = circuit, 0
        self.__name__ = f"{circuit.__name__} without entanglers"

    def __call__(self, inputs: Any, weights: Any) -> Any:
        """Queue the gates on one wire, and the measurements."""
        with qml.QueuingManager.stop_recording():
            tape = qml.tape.make_qscript(self.circuit)(inputs, weights)
        self.left_out = 0
        for operation in tape.operations:
            self._queue(operation)
        return [qml.apply(measurement) for measurement in tape.measurements]

    def _queue(self, operation: Any) -> None:
        if len(operation.wires) <= 1 or isinstance(operation, qml.operation.StatePrepBase):
            qml.apply(operation)
        elif operation.has_matrix or not operation.has_decomposition:
            self.left_out += 1
        else:
            # A template has no matrix of its own, but is made of gates.
            with qml.QueuingManager.stop_recording():
                gates = operation.decomposition()
            for gate in gates:
                self._queue(gate)

"""The circuit of a head as a picture that fits the page: rows of layers, one below the other.

In: :class:`pipeline.report.findings.Findings`. Out: a matplotlib figure, and in words what it shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from pipeline.heads.controls.ablations import Ablations
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.quantum.circuit import Circuit
from pipeline.quantum.circuits import CIRCUITS
from pipeline.report.findings import Findings
from pipeline.report.words import percent
from pipeline.util.markdown import counted

LAYERS_A_ROW = 13
"""Layers that fit side by side into the page of a desk at PennyLane's size of letters."""


def circuit(report: Findings) -> tuple[Figure, str] | None:
    """The circuit with its trained angles; None of a head without one."""
    head = report.run.head("last")
    if not isinstance(head, DressedQuantumNet):
        return None
    angles = head.q_params.detach().numpy()
    figure, words = circuit_of(head)
    if len(angles):
        start = report.run.untrained()
        moved = np.abs(angles - start.get_parameter("q_params").detach().numpy()).max()
        kind = "trained" if head.q_params.requires_grad else "frozen"
        words += (
            f" The {len(angles)} {kind} angles lie between {angles.min():.2f} and {angles.max():.2f} rad; training "
            f"moved them by at most {moved:.2f} rad."
        )
    return figure, words


def ablation_words(found: Ablations) -> list[str]:
    """What taking parts of the circuit away shows, a sentence each."""
    parts = {part.name: part for part in found.parts}
    guessing, linear, unentangled = (parts[name] for name in ("shuffled", "affine", "unentangled"))
    words = [
        f"Parts of the trained head were taken away, and nothing was trained again. The whole head is right on "
        f"{percent(found.accuracy)} of these {counted(found.images, 'image')}; answering as often for each class, but "
        f"at random, it would be on {percent(guessing.accuracy or 0)}."
    ]
    for part, subject, thing in (
        (linear, "Replacing the circuit by the closest linear map", "what it does beyond that is"),
        (unentangled, "Leaving out its gates on several wires", "they are"),
    ):
        if part.cost is None or part.cost95 is None:
            words.append(f"{subject} was not possible: {part.not_run}.")
            continue
        low, high = (100 * end for end in part.cost95)
        verdict = (
            "which these images can't tell from nothing"
            if low <= 0 <= high
            else f"so {thing} {'needed' if low > 0 else 'harmful'} here"
        )
        words.append(
            f"{subject} costs {100 * part.cost:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}), {verdict}."
        )
    return [line.replace("-", "\u2212") for line in words]


def circuit_of(head: DressedQuantumNet, layers: int = LAYERS_A_ROW) -> tuple[Figure, str]:
    """The circuit of a head with its weights, and what it does in words.

    Args:
        head: The head.
        layers: Layers in a row, at most.
    """
    # Amplitudes can't all be zero.
    is_paper = isinstance(head.circuit, Circuit)
    inputs = np.zeros(head.circuit.n_qubits) if is_paper else np.ones(head.circuit.n_inputs)
    figure = in_rows(head.circuit, inputs, head.q_params.detach().numpy(), layers)
    if is_paper:
        embedding = [text for text in figure.axes[0].texts if text.get_text().startswith("RY")]
        for wire, text in enumerate(embedding[: head.circuit.n_qubits]):
            text.set_text(f"RY\n({x_of(wire)})")
    return figure, _words(head)


def x_of(index: int) -> str:
    """The name of an input: x₀, x₁, …"""
    return "x" + "".join(chr(ord("₀") + int(digit)) for digit in str(index))


def in_rows(function: Any, inputs: np.ndarray, weights: np.ndarray, layers: int = LAYERS_A_ROW) -> Figure:
    """PennyLane's drawing of a quantum function, folded into as few rows as hold so many layers each.

    Args:
        function: Of inputs (n_inputs,) and flat weights (n_weights,).
        inputs: What the inputs are drawn as.
        weights: What the weights are drawn as.
        layers: Layers in a row, at most.
    """
    import pennylane as qml

    def draw(length: int) -> _Rows:
        figure: Any = plt.figure(FigureClass=_Rows)
        figure.keeps = True
        qml.draw_mpl(function, decimals=2, style="rcParams", max_length=length, fig=figure)(inputs, weights)
        return figure

    figure = draw(layers)
    rows = len(figure.axes)
    if rows > 1:
        # Rows of about the same length look better than full ones and a short last one.
        total = layers * (rows - 1) + round(figure.axes[-1].get_xlim()[1] - 1)
        plt.close(figure)
        figure = draw(-(-total // rows))
    figure.fold()
    return figure


class _Rows(Figure):
    """A figure that keeps what PennyLane, which clears it before each row, has drawn into it."""

    keeps = False

    def clear(self, keep_observers: bool = False) -> None:
        """Keep everything once ``keeps`` is set."""
        if not self.keeps:
            super().clear(keep_observers)

    def fold(self) -> None:
        """Put the rows one below the other, all in the same scale."""
        rows, height = self.axes, self.get_figheight()
        left = min(axis.get_xlim()[0] for axis in rows)
        right = max(axis.get_xlim()[1] for axis in rows)
        for k, axis in enumerate(rows):
            axis.set_xlim(left, right)
            axis.set_position((0, 1 - (k + 1) / len(rows), 1, 1 / len(rows)))
        self.set_size_inches(right - left, height * len(rows))


def _words(head: DressedQuantumNet) -> str:
    wires = counted(head.n_wires, "wire")
    if isinstance(head.circuit, Circuit):
        entangler = "no CNOTs" if head.circuit.entangler == "none" else f"a {head.circuit.entangler} of CNOTs"
        return (
            f"The circuit: {wires}, each with H and a rotation RY by the sample's own angle x, then "
            f"{counted(head.circuit.depth, 'layer')} of {entangler} and RY rotations, then a measurement of Z on each "
            "wire."
        )
    named = CIRCUITS.get(head.circuit.name)
    made_of = f", {named.summary}, depth {head.circuit.arguments['depth']}" if named else ""
    return (
        f"The circuit {head.circuit.name}{made_of}: {wires}, {counted(head.circuit.n_inputs, 'input')} a sample, "
        f"all drawn as 1, and {counted(head.compiled.n_outputs, 'output')}."
    )

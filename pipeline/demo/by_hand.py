"""The circuit with inputs set by hand: what it gives, and the classes' probabilities.

In: a head and its circuit's inputs. Out: the circuit's outputs and the probabilities; and the circuit's picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from pipeline.heads.base import EXPECTATION, TANH, Head
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.report.circuit import circuit_of, x_of
from pipeline.util.drawing import Drawing, style

SLIDERS = 32
"""Inputs that can be set by hand, at most."""
LAYERS_A_ROW = 8
"""Layers of the circuit that fit beside the sliders."""
LARGEST_DRAWN = 2000
"""Inputs and weights of the largest circuit that is drawn."""


class ByHand:
    """A circuit and what follows it.

    Args:
        head: A head with a circuit that takes ``SLIDERS`` inputs at most.

    Attributes:
        inputs: Names of the circuit's inputs.
        outputs: Names of its outputs.
        of_wires: Whether these are ⟨Z⟩ of each wire.
        half_turns: Whether a picture's own inputs are angles from -π/2 to π/2, behind a tanh.
    """

    def __init__(self, head: DressedQuantumNet) -> None:
        self._head = head
        self.inputs = [x_of(index) for index in range(head.circuit.n_inputs)]
        with torch.inference_mode():
            hidden = head.hidden_values(torch.ones(1, head.n_features))
        self.of_wires, self.half_turns = EXPECTATION in hidden, TANH in hidden
        *_, outputs = hidden.values()
        self.outputs = [str(index) for index in range(outputs.shape[1])]

    def __call__(self, inputs: Sequence[float]) -> tuple[list[float], list[float]]:
        """The circuit's outputs and the probabilities of the classes for these inputs.

        Raises:
            ValueError: if the circuit does not take them.
        """
        with torch.inference_mode():
            outputs = self._head.expectation_values(torch.tensor([list(inputs)], dtype=torch.float32))
            return outputs[0].tolist(), self._head.post_net(outputs)[0].softmax(dim=0).tolist()

    @cached_property
    def drawing(self) -> Drawing | None:
        """The circuit; None of one too large to be drawn."""
        if len(self.inputs) + len(self._head.q_params) > LARGEST_DRAWN:
            return None
        with style():
            figure, words = circuit_of(self._head, LAYERS_A_ROW)
            drawing = Drawing(figure, words)
            _ = drawing.wide
            return drawing


def by_hand(head: Head) -> ByHand | str:
    """The circuit of a head, or why there is none to set by hand."""
    if not isinstance(head, DressedQuantumNet):
        return "This head has no circuit, so there are no angles to set by hand."
    if head.circuit.n_inputs > SLIDERS:
        return f"The circuit takes {head.circuit.n_inputs} inputs; at most {SLIDERS} can be set by hand."
    return ByHand(head)

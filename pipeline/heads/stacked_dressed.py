"""Many dressed heads side by side in dense matrix products: the fast way to train them, without autograd.

In and out: as :mod:`pipeline.heads.stacked`, of which this is the one override.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.heads.base import QUARTER_TURN, Head
from pipeline.heads.dressed import DressedQuantumNet, check_memory
from pipeline.heads.fused import cross_entropy_gradients, dressed_logits
from pipeline.heads.stacked import StackedHeads
from pipeline.quantum.autograd import NonFiniteError, non_finite
from pipeline.quantum.mari import dense


class StackedDressed(StackedHeads):
    """Dressed heads of one shape, whatever their simulators.

    Raises:
        ValueError: If there is no head, they differ in shape, or their circuit is too large for dense matrices.
    """

    head: DressedQuantumNet

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__(heads)
        check_memory(self.head.circuit.n_qubits, "dense", "complex128")

    def forward(self, features: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """As in :class:`StackedHeads`."""
        batches, circuit, parameters = self._prepared(features, rows)
        if batches.is_cpu:
            try:
                return dressed_logits(circuit, batches, parameters)
            except NonFiniteError:
                # Of shared features the row is named, not a place in some head's batch.
                raise non_finite(features) from None
        pre_weight, pre_bias, q_params, post_weight, post_bias = parameters
        activations = torch.baddbmm(pre_bias[:, None], batches, pre_weight.mT)
        values = circuit.expectation_values(torch.tanh(activations) * QUARTER_TURN, q_params)
        return torch.baddbmm(post_bias[:, None], values, post_weight.mT)

    def backward_cross_entropy(
        self, features: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As in :class:`StackedHeads`; on the CPU."""
        batches, circuit, parameters = self._prepared(features, rows)
        try:
            return cross_entropy_gradients(circuit, batches, labels, parameters)
        except NonFiniteError:
            raise non_finite(features) from None

    def _prepared(
        self, features: torch.Tensor, rows: torch.Tensor | None
    ) -> tuple[torch.Tensor, dense.DenseCircuit, list[torch.Tensor]]:
        """Each head's features, of shape (heads, B, n_features), the circuit in their dtype, and the parameters."""
        circuit = dense.dense_circuit(self.head.circuit, str(features.dtype).removeprefix("torch."))
        return self.batches(features, rows), circuit, self.head.parameters_in_order

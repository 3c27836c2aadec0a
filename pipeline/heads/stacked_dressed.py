"""Many dressed heads side by side, their circuits at once: the fast way to train them, without autograd.

In and out: as :mod:`pipeline.heads.stacked`; this is its one override.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.func import functional_call, vmap

from pipeline.heads.base import QUARTER_TURN, Head, refuse_non_finite
from pipeline.heads.dressed import DressedQuantumNet, compiled_circuit
from pipeline.heads.fused import cross_entropy_gradients, dressed_logits
from pipeline.heads.stacked import StackedHeads
from pipeline.quantum.autograd import NonFiniteError, non_finite
from pipeline.quantum.compiled import CompiledCircuit


def stack(heads: Sequence[Head]) -> StackedHeads:
    """Heads of one shape as one module that trains them together, by the fastest way for their kind.

    Raises:
        ValueError: If there is no head, or they differ in shape.
    """
    dressed = bool(heads) and isinstance(heads[0], DressedQuantumNet)
    return StackedDressed(heads) if dressed else StackedHeads(heads)


class StackedDressed(StackedHeads):
    """Dressed heads of one shape, whatever their simulators.

    Raises:
        ValueError: If there is no head, or they differ in shape.
    """

    head: DressedQuantumNet

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__(heads)
        head = self.head
        self._circuit = head.compiled
        if self._circuit.simulator == "qnode" and self._circuit.fallback_reason is None:
            # Asked for, not needed: many QNodes, one after the other, would take hours.
            self._circuit = compiled_circuit(head.circuit, "dense", head.device_name, head.c_dtype)

    def forward(self, features: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """As in :class:`StackedHeads`."""
        if self.head.without_circuit:
            return super().forward(features, rows)
        if not self.head.is_plain:
            return self._by_layers(features, rows)
        batches, circuit, parameters = self._prepared(features, rows)
        if batches.is_cpu:
            try:
                return dressed_logits(circuit, batches, parameters)
            except NonFiniteError:
                # The message names the row of the shared features, not the place in a head's batch.
                raise non_finite(features) from None
        pre_weight, pre_bias, q_params, post_weight, post_bias = parameters
        angles = torch.tanh(torch.baddbmm(pre_bias[:, None], batches, pre_weight.mT)) * QUARTER_TURN
        values = circuit.heads(angles, q_params)
        return torch.baddbmm(post_bias[:, None], values, post_weight.mT)

    def backward_cross_entropy(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        rows: torch.Tensor | None = None,
        shares: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As in :class:`StackedHeads`."""
        if not (self.head.is_plain and features.is_cpu):
            return super().backward_cross_entropy(features, labels, rows, shares)
        batches, circuit, parameters = self._prepared(features, rows)
        try:
            return cross_entropy_gradients(circuit, batches, labels, parameters, shares)
        except NonFiniteError:
            raise non_finite(features) from None

    def _prepared(
        self, features: torch.Tensor, rows: torch.Tensor | None
    ) -> tuple[torch.Tensor, CompiledCircuit, list[torch.Tensor]]:
        """Each head's features, of shape (heads, B, n_features), the circuit, and the parameters."""
        return self.batches(features, rows), self._circuit, self.head.parameters_in_order

    def _by_layers(self, features: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """Ends by ``torch.vmap``, and all heads' circuits at once between them."""
        batches = self.batches(features, rows)
        hidden = self.head.circuit_inputs(_each(self.head.pre_net, batches))
        values = self._circuit.heads(hidden, self.head.q_params)
        logits = _each(self.head.post_net, values)
        refuse_non_finite(features, hidden, values, logits)
        return logits


def _each(end: nn.Module, batches: torch.Tensor) -> torch.Tensor:
    """A module of stacked parameters, applied to each head's batch."""
    tensors = {**dict(end.named_parameters()), **dict(end.named_buffers())}
    return vmap(partial(functional_call, end))(tensors, (batches,)) if tensors else end(batches)

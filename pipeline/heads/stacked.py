"""Many heads of one shape, trained side by side: seeds, folds, repetitions.

In: features of shape (heads, B, n_features), or shared ones and the rows that each head takes of them.
Out: logits of shape (heads, B, n_classes).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from pipeline.heads.base import Head, check_features, cross_entropy, refuse_non_finite


class StackedHeads(nn.Module):
    """Heads with parameters stacked along a leading axis, so that one optimiser over a few tensors serves all of them.

    They share no gradient: each trains as it would alone. Where :meth:`Head.steps` does not carry the axis through by
    itself, ``torch.vmap`` does.

    Args:
        heads: Heads alike in everything but their parameters, which are copied.

    Attributes:
        head: A head whose parameters and buffers are the stacked ones, under their own names.

    Raises:
        ValueError: If there is no head, or they differ in more than their parameters' values.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        kinds = {_kind(head) for head in heads}
        if len(kinds) != 1:
            words = "; ".join(sorted(f"{name}: {description}" for name, description, *_ in kinds))
            raise ValueError(
                f"{len(heads)} heads of {len(kinds)} kinds{f' ({words})' if words else ''}; heads that are stacked "
                "must be at least one, and alike in everything but the values of their parameters"
            )
        parameters, buffers = stack_module_state(list(heads))
        self.head = copy.deepcopy(heads[0])
        for name, tensor in (*self.head.named_parameters(), *self.head.named_buffers()):
            tensor.data = {**parameters, **buffers}[name].data
        self._n_heads = len(heads)

    def __len__(self) -> int:
        return self._n_heads

    def forward(self, features: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of shape (heads, B, n_classes).

        Args:
            features: Shape (heads, B, n_features), or (N, n_features) of the samples that all heads share.
            rows: Which of the shared samples make up each head's batch, int64 of shape (heads, B); all if None.

        Raises:
            ValueError: If the features are of another width or dtype, empty, or not finite.
        """
        batches = self.batches(features, rows)
        *hidden, logits = self.head.steps(batches) if self.head.takes_heads_axis else self._mapped(batches)
        # The message names the row of the shared features, not the place in a head's batch.
        refuse_non_finite(features, *hidden, logits)
        return logits

    def backward_cross_entropy(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        rows: torch.Tensor | None = None,
        shares: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of each head's own mean cross-entropy, which replace those of the step before.

        Args:
            features: As for ``forward``.
            labels: Class indices, int64 of shape (heads, B).
            rows: As for ``forward``.
            shares: What each row's loss counts for its head, of shape (heads, B); 1 / B by default.

        Returns:
            Each head's loss, of shape (heads,), and the logits (heads, B, n_classes), both detached.

        Raises:
            ValueError: If the features are of another width or dtype, empty, or not finite, or labels no classes.
        """
        self.zero_grad()
        logits = self(features, rows)
        losses = cross_entropy(logits, labels, shares)
        losses.sum().backward()
        return losses.detach(), logits.detach()

    def prepare(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        rows: torch.Tensor,
        seeds: Sequence[int],
        class_weights: torch.Tensor | None = None,
    ) -> None:
        """:meth:`Head.prepare` of each head on its own rows.

        Args:
            features: Shape (N, n_features), which all heads share.
            labels: Shape (N,).
            rows: Which of the samples each head is trained on, int64 of shape (heads, n).
            seeds: One a head.
            class_weights: As of :meth:`Head.prepare`, of shape (heads, n_classes).
        """
        single = copy.deepcopy(self.head)
        places = (*self.head.named_parameters(), *self.head.named_buffers())
        for index, (own, seed) in enumerate(zip(rows, seeds, strict=True)):
            tensors = dict((*single.named_parameters(), *single.named_buffers()))
            for name, stacked in places:
                tensors[name].data = stacked.data[index]
            # Of a view of the stacked tensors, which it changes in place.
            weights = None if class_weights is None else class_weights[index]
            single.prepare(features[own], labels[own], seed, weights)

    def head_state(self, index: int) -> dict[str, torch.Tensor]:
        """The ``state_dict`` of one of the heads: a copy."""
        return {name: tensor[index].detach().clone() for name, tensor in self.head.state_dict().items()}

    def batches(self, features: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """Each head's own features, of shape (heads, B, n_features), from what ``forward`` takes."""
        check_features(features, self.head.n_features, next(self.parameters()).dtype, dimensions=(2, 3))
        if not features.numel():
            raise ValueError(f"features have shape {tuple(features.shape)}; heads side by side need samples")
        if rows is not None:
            return features.index_select(0, rows.reshape(-1)).view(len(self), -1, features.shape[-1])
        return features.expand(len(self), -1, -1)

    def _mapped(self, batches: torch.Tensor) -> tuple[torch.Tensor, ...]:
        steps = _Steps(self.head)
        tensors = {**dict(steps.named_parameters()), **dict(steps.named_buffers())}
        return vmap(partial(functional_call, steps))(tensors, (batches,))


class _Steps(nn.Module):
    """A head whose ``forward`` is ``steps``: ``functional_call`` calls nothing else."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.head.steps(features)


def _kind(head: Head) -> tuple:
    tensors = ((name, tuple(p.shape), p.requires_grad) for name, p in head.named_parameters())
    return type(head).__name__, head.description, *tensors

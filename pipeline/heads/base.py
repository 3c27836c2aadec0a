"""The interface of a head, and the checks of its inputs.

In: features of shape (B, n_features), float32 or float64. Out: logits of shape (B, n_classes), in the features' dtype.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import nn

from pipeline.quantum.autograd import non_finite

QUARTER_TURN = math.pi / 2
"""The rotation angle of a wire whose tanh is 1, in radians: angles are ``tanh(pre_net(x)) · QUARTER_TURN``."""
TANH, EXPECTATION, OUTPUTS = "tanh", "⟨Z⟩", "outputs"
"""Names of the values between the two linear layers."""


class Head(nn.Module):
    """Interface of a head, used by training, the run folder and ``HybridClassifier``.

    A subclass sets ``n_features`` and implements ``description`` and ``steps``.

    Attributes:
        n_features: Width of the input.
        takes_heads_axis: Whether ``steps`` also carries a leading axis of heads through, in the features and in all
            parameters. Heads of plain layers need not: ``torch.vmap`` adds the axis, for about 0.3 ms a step.
        compiled: Its circuit; None of a head without one.
    """

    n_features: int
    compiled: Any = None
    takes_heads_axis: ClassVar[bool] = False

    @property
    def description(self) -> str:
        """The layers in a few words. Heads that differ in it are not stacked."""
        raise NotImplementedError

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs of the layers in order, the logits (B, n_classes) last.

        Values that a later layer could hide, an infinity before a tanh, are among them. Use plain torch operations that
        branch on no value, so that ``torch.vmap`` can stack heads.
        """
        raise NotImplementedError

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, n_classes) from features of shape (B, n_features).

        Raises:
            ValueError: If the features are of another width or dtype, or not finite.
        """
        check_features(features, self.n_features, next(self.parameters()).dtype)
        *hidden, logits = self.steps(features)
        refuse_non_finite(features, *hidden, logits)
        return logits

    def backward_cross_entropy(
        self, features: torch.Tensor, labels: torch.Tensor, shares: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Set the gradients that ``cross_entropy(head(features), labels).backward()`` sets.

        They replace those of the step before, so no ``zero_grad`` is needed.

        Args:
            features: Shape (B, n_features).
            labels: Class indices, int64 of shape (B,).
            shares: What each row's loss counts, of shape (B,); 1 / B by default.

        Returns:
            The loss Σ share · loss, of shape (), and the logits (B, n_classes), both detached.

        Raises:
            ValueError: If the features are of another width or dtype, empty, or not finite, or labels no classes.
        """
        self.zero_grad()
        logits = self(features)
        loss = cross_entropy(logits, labels, shares)
        loss.backward()
        return loss.detach(), logits.detach()

    def prepare(
        self, features: torch.Tensor, labels: torch.Tensor, seed: int, class_weights: torch.Tensor | None = None
    ) -> None:
        """Take what the head needs of all training rows, once and before the first step; nothing by default.

        Only a head that the registry calls ``prepared`` is given them. One that takes no steps is fitted here.

        Args:
            features: Shape (N, n_features).
            labels: Class indices, int64 of shape (N,).
            seed: Of random draws.
            class_weights: What each class counts in the loss, of shape (n_classes,); None where all count the same.
        """

    def begin(self, phase: int) -> None:
        """Change to what is trained in a phase, numbered from 0; a new head is in its last one."""

    def hidden_values(self, features: torch.Tensor) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """Values between the first and the last layer, each (B, n_hidden); empty if there are none.

        ``tanh`` is the output of the first layer, ``⟨Z⟩`` that of a circuit that measures Z of each wire in order, as
        the paper's does, and ``outputs`` that of another circuit.
        """
        return {}

    def for_export(self) -> nn.Module:
        """The trained head in plain torch operations, (B, n_features) → (B, n_classes), for ONNX.

        Raises:
            InputError: If it can't be written so.
        """
        return self

    @property
    def n_trainable(self) -> int:
        """The number of parameters that training changes."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    @property
    def n_idle(self) -> int | None:
        """The number of them that never have a gradient, whatever the inputs; None where it is not known."""
        return 0

    @property
    def n_middle(self) -> int | None:
        """The number of them between ``pre_net`` and ``post_net``; None for a head without these two layers."""
        if not hasattr(self, "post_net"):
            return None
        ends = ("pre_net.", "post_net.")
        return sum(p.numel() for name, p in self.named_parameters() if p.requires_grad and not name.startswith(ends))


class Affine(nn.Linear):
    """A linear layer that also takes stacked weights: a leading heads axis is carried through."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (…, B, in_features) to (…, B, out_features)."""
        # In this order the gradient of the weights has their memory layout, and needs no copy. ``mT`` would say the
        # same, but has no counterpart in ONNX.
        product = (self.weight @ features.transpose(-2, -1)).transpose(-2, -1)
        return product if self.bias is None else product + self.bias[..., None, :]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, shares: torch.Tensor | None = None) -> torch.Tensor:
    """Σ share · loss over the rows of logits (…, B, n_classes), of shape (…); the mean by default."""
    if shares is None and logits.ndim == 2:
        return nn.functional.cross_entropy(logits, labels)
    each = nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").view_as(labels)
    return each.mean(dim=-1) if shares is None else (each * shares).sum(dim=-1)


def check_features(
    features: torch.Tensor, n_features: int, dtype: torch.dtype, dimensions: tuple[int, ...] = (2,)
) -> None:
    """Raise a ValueError unless a head of this width and dtype takes the features."""
    if features.ndim not in dimensions or features.shape[-1] != n_features:
        raise ValueError(
            f"features have shape {tuple(features.shape)}; this head takes (B, {n_features}): "
            "give it features of the backbone it was built for"
        )
    if features.dtype != dtype:
        raise ValueError(
            f"features are {features.dtype} and the head is {dtype}; convert one: "
            f"features.to({dtype}) or head.to({features.dtype})"
        )


def refuse_non_finite(features: torch.Tensor, *computed: torch.Tensor) -> None:
    """Raise a NonFiniteError unless all that was computed from the features is finite."""
    if not all(tensor.isfinite().all() for tensor in computed):
        raise non_finite(features)

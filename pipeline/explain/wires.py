"""What each hidden value adds to the logit of a class: the value times its weight in the last layer.

In: a head. Out: its last layer, above the mean of the classes, because what all logits share decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn


@dataclass(frozen=True)
class LastLayer:
    """A linear last layer, minus its mean over the classes.

    Attributes:
        weight: Shape (n_classes, n_hidden).
        bias: Shape (n_classes,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def added(self, values: np.ndarray) -> np.ndarray:
        """What hidden values (…, n_hidden) add to each logit, (…, n_classes, n_hidden); with the bias, their sum is the
        logit above the mean of all logits."""
        return values[..., None, :] * self.weight


def last_layer(head: nn.Module) -> LastLayer | None:
    """The last layer of a head; None where it is not one linear layer."""
    layer = getattr(head, "post_net", None)
    if type(layer) is not nn.Linear:
        return None
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return LastLayer(weight - weight.mean(axis=0), bias - bias.mean())

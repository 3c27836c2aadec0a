"""Adam over all parameters of a module as one flat vector.

A head has five small tensors. ``torch.optim.Adam`` spends 50 µs a step on bookkeeping over them, as much as the circuit
takes, and its first step imports torch's compiler, which takes two seconds. Here the kernel of its ``fused=True`` runs
once over one vector.

That kernel, ``torch._fused_adam_`` (for the CPU since torch 2.4), is private. The public ``torch.optim.adam.adam``
sorts the tensors by device and dtype again at each step, which takes 14 µs instead of 5: 4 % of a step of the paper's
head. So only this module calls the kernel, and its test holds it to ``torch.optim.Adam``.
"""

from __future__ import annotations

import torch
from torch import nn


class FlatAdam:
    """Adam with the default betas and epsilon of ``torch.optim.Adam``, whose steps it equals.

    The module's parameters become views of :attr:`values`: change them in place only, as ``load_state_dict`` does.

    Source: D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980, algorithm 1.

    Args:
        module: Its parameters, all of one dtype and on the CPU, are optimised in place; those that require no gradient
            are left alone.
        lr: Learning rate; may be changed between steps.

    Attributes:
        values: All parameters that are optimised, flat.
        steps: How many steps were done.
    """

    def __init__(self, module: nn.Module, lr: float) -> None:
        self.lr = lr
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.values = torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])
        sizes = [parameter.numel() for parameter in self._parameters]
        for parameter, piece in zip(self._parameters, self.values.split(sizes), strict=True):
            parameter.data = piece.view_as(parameter)
        self._gradient = torch.zeros_like(self.values)
        self._mean = torch.zeros_like(self.values)
        self._square = torch.zeros_like(self.values)
        self._steps = torch.zeros(())
        self.steps = 0

    def step(self) -> None:
        """Move the parameters against their gradients. One without, a weight that the circuit doesn't use, stays."""
        self._steps += 1
        self.steps += 1
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in self._parameters]
        torch.cat([gradient.reshape(-1) for gradient in gradients], out=self._gradient)
        torch._fused_adam_(
            [self.values],
            [self._gradient],
            [self._mean],
            [self._square],
            [],
            [self._steps],
            lr=self.lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state that a resumed run needs; its learning rate follows from the epoch."""
        return {"mean": self._mean, "square": self._square, "steps": self._steps}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore :meth:`state_dict`."""
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
        self._steps.copy_(state["steps"])
        self.steps = int(self._steps)

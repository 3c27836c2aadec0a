"""Adam over the parameters of a module, with little bookkeeping.

A head has five small tensors. ``torch.optim.Adam`` spends 50 µs a step on bookkeeping over them, as much as the circuit
takes, and its first step imports torch's compiler, which takes two seconds. Here the kernel of its ``fused=True`` is
called as it is, which takes 4 µs.

That kernel, ``torch._fused_adam_`` (for the CPU since torch 2.4), is private. The public ``torch.optim.adam.adam``
sorts the tensors by device and dtype again at each step, which takes 14 µs. So only this module calls the kernel, and
its test holds it to ``torch.optim.Adam``.
"""

from __future__ import annotations

import torch
from torch import nn


class Adam:
    """Adam with the default betas and epsilon of ``torch.optim.Adam``, whose steps it equals.

    Source: D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980, algorithm 1.

    Args:
        module: Its parameters, all of one dtype and on the CPU, are optimised in place; those that require no gradient
            are left alone.
        lr: Learning rate; may be changed between steps.

    Attributes:
        steps: How many steps were done.
    """

    def __init__(self, module: nn.Module, lr: float) -> None:
        self.lr = lr
        self._parameters: list[torch.Tensor] = [
            parameter for parameter in module.parameters() if parameter.requires_grad
        ]
        for parameter in self._parameters:
            # The kernel goes through memory as it lies, whatever the strides.
            parameter.data = parameter.data.contiguous()
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = torch.zeros(())
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters against their gradients. One without, a weight that the circuit doesn't use, stays."""
        self._steps += 1
        self.steps += 1
        torch._fused_adam_(
            self._parameters,
            [torch.zeros_like(one) if one.grad is None else one.grad.contiguous() for one in self._parameters],
            self._means,
            self._squares,
            [],
            [self._steps] * len(self._parameters),
            lr=self.lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state that a resumed run needs, flat; its learning rate follows from the epoch."""
        mean, square = (torch.cat([one.reshape(-1) for one in all_of]) for all_of in (self._means, self._squares))
        return {"mean": mean, "square": square, "steps": self._steps}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore :meth:`state_dict`."""
        # A head that is fitted has grown since; it takes no steps.
        sizes = [mean.numel() for mean in self._means]
        for all_of, name in ((self._means, "mean"), (self._squares, "square")):
            for one, piece in zip(all_of, state[name].split(sizes), strict=True):
                one.copy_(piece.view_as(one))
        self._steps.copy_(state["steps"])
        self.steps = int(self._steps)

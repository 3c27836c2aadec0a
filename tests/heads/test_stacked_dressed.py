"""Many dressed heads in dense products: each trains as it would alone."""

from __future__ import annotations

import math

import pytest
import torch
from gradients import gradients, rows
from torch import nn

from pipeline.heads.dressed import DressedQuantumNet
from pipeline.heads.stacked_dressed import StackedDressed, stack


def make(seed=0, **options):
    torch.manual_seed(seed)
    return DressedQuantumNet(**{"n_features": 6, "n_qubits": 3, "depth": 2, "q_delta": 1.0} | options)


def made(n_heads=3, **options):
    singles = [make(seed=seed, **options) for seed in range(n_heads)]
    return singles, StackedDressed(singles)


@pytest.mark.parametrize("entangler", ["chain", "ring", "none"])
def test_many_heads_as_each_alone(entangler):
    singles, together = made(entangler=entangler)
    shared = rows(20)
    order = torch.stack([torch.randperm(20, generator=torch.Generator().manual_seed(k))[:4] for k in range(3)])
    upstream = torch.randn(3, 4, 2)
    for logits in (together(shared, order), together(shared[order])):
        together.zero_grad()
        logits.backward(upstream)
        stacked = dict(together.head.named_parameters())
        for k, single in enumerate(singles):
            expected, _ = gradients(single, shared[order[k]], upstream[k])
            torch.testing.assert_close(logits[k].detach(), expected, rtol=1e-5, atol=1e-5)
            for name, parameter in single.named_parameters():
                torch.testing.assert_close(stacked[name].grad[k], parameter.grad, rtol=1e-5, atol=1e-5)
    labels = torch.arange(20) % 2
    losses, _ = together.backward_cross_entropy(shared, labels[order], order)
    for k, single in enumerate(singles):
        loss, _ = single.backward_cross_entropy(shared[order[k]], labels[order[k]])
        torch.testing.assert_close(losses[k], loss)
        for name, parameter in single.named_parameters():
            torch.testing.assert_close(stacked[name].grad[k], parameter.grad, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        everything = together(shared)
    assert everything.shape == (len(together), 20, 2) == (3, 20, 2)
    torch.testing.assert_close(everything[1], singles[1](shared).detach(), rtol=1e-5, atol=1e-5)


def test_many_heads_train_as_each_alone():
    singles, together = made()
    shared, labels = rows(20), torch.arange(20) % 2
    optimizer = torch.optim.Adam(together.parameters(), 0.05, fused=True)
    optimizers = [torch.optim.Adam(single.parameters(), 0.05, fused=True) for single in singles]
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        order = torch.randint(0, 20, (3, 4), generator=generator)
        optimizer.zero_grad()
        (nn.functional.cross_entropy(together(shared, order).flatten(0, 1), labels[order].flatten()) * 3).backward()
        optimizer.step()
        for k, (single, own) in enumerate(zip(singles, optimizers, strict=True)):
            own.zero_grad()
            nn.functional.cross_entropy(single(shared[order[k]]), labels[order[k]]).backward()
            own.step()
    for k, single in enumerate(singles):
        taken = make(seed=9)
        taken.load_state_dict(together.head_state(k))
        for name, parameter in taken.named_parameters():
            torch.testing.assert_close(parameter, single.get_parameter(name), rtol=0, atol=1e-3)


def test_many_heads_gradcheck():
    _, together = made(2)
    together.double()
    assert torch.autograd.gradcheck(together, (rows(4, dtype=torch.float64).requires_grad_(),))


def test_many_heads_refuse():
    with pytest.raises(ValueError, match="0 heads of 0 kinds; heads that are stacked must be at least one"):
        stack([])
    with pytest.raises(ValueError, match=r"2 heads of 2 kinds .*depth 2.*depth 3"):
        stack([make(), make(depth=3)])
    _, together = made()
    with pytest.raises(ValueError, match=r"features have shape \(3, 5\)"):
        together(torch.zeros(3, 5))
    features = rows()
    features[4, 1] = math.nan
    with pytest.raises(ValueError, match=r"row 4 of the features holds nan in column 1"):
        together(features)
    with pytest.raises(ValueError, match=r"row 4 of the features holds nan in column 1"):
        together.backward_cross_entropy(features, torch.zeros(3, 2, dtype=torch.int64), torch.tensor([[0, 4]] * 3))

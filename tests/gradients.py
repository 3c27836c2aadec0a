"""Rows of features, and the gradients of a head on them."""

from __future__ import annotations

import torch


def rows(n_samples=5, n_features=6, dtype=torch.float32, seed=1):
    return torch.randn(n_samples, n_features, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(head, features, upstream):
    head.zero_grad()
    logits = head(features)
    logits.backward(upstream)
    return logits.detach(), [parameter.grad for parameter in head.parameters()]

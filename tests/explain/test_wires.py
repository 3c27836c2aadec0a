"""pipeline.explain.wires."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import DressedQuantumNet
from pipeline.explain.wires import last_layer


def test_what_the_wires_add_sums_up_to_the_logit_above_the_mean():
    torch.manual_seed(0)
    head = DressedQuantumNet(20, 3, n_qubits=5, depth=1, q_delta=1)
    features = torch.randn(7, 20)
    with torch.no_grad():
        logits, values = head(features), head.hidden_values(features)["⟨Z⟩"].numpy()
    last = last_layer(head)
    added = last.added(values)
    assert added.shape == (7, 3, 5)
    above = (logits - logits.mean(dim=1, keepdim=True)).numpy()
    assert added.sum(axis=2) + last.bias == pytest.approx(above, abs=1e-6)
    assert np.abs(last.weight.sum(axis=0)).max() < 1e-6


def test_a_head_without_one_linear_layer_at_its_end_has_none():
    assert last_layer(nn.Linear(3, 2)) is None
    three = DressedQuantumNet(20, 3, n_qubits=5, depth=1, post_net=nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)))
    assert last_layer(three) is None

"""The dense form in a head: tables made in inference mode, and half precision."""

from __future__ import annotations

import pytest
import torch
from gradients import gradients, rows

from pipeline import DressedQuantumNet


@pytest.mark.parametrize("simulator", ["lightning", "dense"])
@pytest.mark.parametrize("n_qubits", [3, 5])
def test_inference_mode_before_training(simulator, n_qubits):
    # Of sizes that no other test has: the first call makes tables for later ones.
    head, features = DressedQuantumNet(6, 2, n_qubits, 7, q_delta=1.0, simulator=simulator), rows()
    with torch.inference_mode():
        seen = head(features)
    logits, _ = gradients(head, features, torch.ones(5, 2))
    torch.testing.assert_close(logits, seen)


def test_autocast_keeps_weights_in_their_precision():
    head, angles = DressedQuantumNet(6, 2, 3, 2, q_delta=1.0, simulator="dense"), rows(5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = head.expectation_values(angles.bfloat16())
    torch.testing.assert_close(rounded, head.expectation_values(angles.bfloat16().float()).bfloat16())

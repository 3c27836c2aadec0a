"""Entangling capability: how entangled a circuit's states are, in the mean over random weights.

In: states. Out: Meyer and Wallach's Q = 2 (1 - mean over wires of tr ρ²), ρ being the state of one wire alone: 0 for
product states, 1 where every wire alone is fully mixed, as in a Bell or GHZ state.

Sources: D. A. Meyer, N. R. Wallach, "Global entanglement in multiparticle systems", J. Math. Phys. 43, 4273 (2002),
arXiv:quant-ph/0108104, in the form of G. K. Brennen, arXiv:quant-ph/0305094; its mean as a capability: S. Sim,
P. D. Johnson, A. Aspuru-Guzik, arXiv:1905.10876, section 3.2.
"""

from __future__ import annotations

import numpy as np


def meyer_wallach(states: np.ndarray) -> np.ndarray:
    """Q of each state, (count,), from states of norm 1, (count, 2ⁿ)."""
    count, size = states.shape
    n_wires = size.bit_length() - 1
    purity = np.zeros(count)
    for wire in range(n_wires):
        # Rows: |0⟩ and |1⟩ of this wire; columns: all other wires.
        zero, one = np.moveaxis(states.reshape(count, 2**wire, 2, -1), 2, 0).reshape(2, count, -1)
        populations = (np.abs(zero) ** 2).sum(axis=1), (np.abs(one) ** 2).sum(axis=1)
        coherence = (zero.conj() * one).sum(axis=1)
        purity += populations[0] ** 2 + populations[1] ** 2 + 2 * np.abs(coherence) ** 2
    return 2 * (1 - purity / n_wires)

"""Seven tetromino states on four qubits, and the same under noise: the data of the rows QC and QQ.

A tetromino is a picture of 4 × 4 pixels, four of them lit. Two qubits hold the row, two the column, and the state is
the superposition of the lit pixels, each with amplitude 1/2. Noise turns every qubit by RY of a random angle. All
states are real: an array of shape (…, 16), float32.

The paper (Mari et al., arXiv:1912.08278, sections 5.4 and 5.5) works with continuous variables instead: the two modes
of light hold row and column as photon numbers from 0 to 3, a network pretrained by Killoran et al. (arXiv:1806.06871)
turns seven coherent states into the seven tetrominoes, and noise displaces the coherent states at random.
"""

from __future__ import annotations

import numpy as np

N_QUBITS = 4
PICTURES = {
    "L": ("1...", "1...", "11..", "...."),
    "O": ("11..", "11..", "....", "...."),
    "T": ("111.", ".1..", "....", "...."),
    "I": ("1...", "1...", "1...", "1..."),
    "S": (".11.", "11..", "....", "...."),
    "J": (".1..", ".1..", "11..", "...."),
    "Z": ("11..", ".11.", "....", "...."),
}
CLASSES = tuple(PICTURES)


def templates() -> np.ndarray:
    """The seven states without noise, shape (7, 16)."""
    pixels = [[pixel == "1" for row in rows for pixel in row] for rows in PICTURES.values()]
    return np.asarray(pixels, dtype=np.float32) / 2


def noisy_states(n_each: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """States of all classes in turns: L, O, T, I, S, J, Z, L, …

    Args:
        n_each: States of each class.
        noise: Standard deviation of the angles, in radians.
        rng: Draws one angle for every qubit of every state.

    Returns:
        States (7 · n_each, 16), float32, and labels (7 · n_each,), int64.
    """
    labels = np.tile(np.arange(len(CLASSES)), n_each)
    angles = rng.normal(0, noise, (len(labels), N_QUBITS)) / 2
    states = templates().astype(np.float64)[labels]
    for wire in range(N_QUBITS):
        cos, sin = np.cos(angles[:, wire, None, None]), np.sin(angles[:, wire, None, None])
        zero, one = np.moveaxis(states.reshape(len(labels), 2**wire, 2, -1), 2, 0)
        states = np.stack([cos * zero - sin * one, sin * zero + cos * one], axis=2).reshape(len(labels), -1)
    return states.astype(np.float32), labels

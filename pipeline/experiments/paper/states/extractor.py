"""Network A of the rows QC and QQ: a circuit pretrained to recognise tetromino states, cut, and its measured features.

In: seeds. Out: the layers that are kept after the cut, as angles; and a feature cache of stage 1's own format, whose
frozen backbone is this circuit: every command that takes ``--features`` takes it.

Network A learns the seven states under weak noise; network B, whose place a head takes, the same under strong noise.
As in the paper (arXiv:1912.08278, section 5.4) the last layers of A, made for its own task, are cut off; what the rest
leaves is measured in the basis of Z, and the square roots of the probabilities are the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from features.cache.featureset import FeatureFile, Split
from features.cache.records import Provenance
from features.cache.writer import write_features
from features.util.provenance import canonical_json, tensors_sha256, versions
from pipeline.experiments.paper.fit import fit
from pipeline.experiments.paper.networks import StateClassifier, unitaries
from pipeline.experiments.paper.states.tetrominoes import CLASSES, N_QUBITS, noisy_states
from pipeline.heads.stacked_dressed import stack
from pipeline.quantum.circuit import Circuit
from pipeline.training.samples import Samples

WHOLE = Circuit(n_qubits=N_QUBITS, depth=8)
KEPT = Circuit(n_qubits=N_QUBITS, depth=6)
WEAK_NOISE, STRONG_NOISE = 0.1, 0.6
N_EACH = 1000
"""States of each class, for training and for testing: every training state is seen once, in 1000 batches of 7."""
BATCH, STEPS, LR = len(CLASSES), N_EACH, 0.01


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """What is kept of network A, one for each seed.

    Attributes:
        weights: Angles of the kept layers, shape (seeds, n_weights), in radians.
        pretrained: Whether they were trained, or are as they were drawn.
        accuracies: Of the whole network A on its own task, a number a seed; empty if it was not trained.
    """

    weights: torch.Tensor
    pretrained: bool
    accuracies: list[float]

    @property
    def unitaries(self) -> torch.Tensor:
        """The kept layers as orthogonal matrices, shape (seeds, 16, 16)."""
        with torch.no_grad():
            return unitaries(KEPT, self.weights)


def extractor(seeds: Sequence[int], pretrained: bool = True) -> Extractor:
    """Network A, trained on weakly noisy states and cut; or cut as it was before training."""
    network = stack([StateClassifier(seed, WHOLE, len(CLASSES)) for seed in seeds])
    accuracies: list[float] = []
    if pretrained:
        train, test = samples(seeds, WEAK_NOISE)
        accuracies = fit(network, train, test, seeds=seeds, lr=LR, batch=BATCH, steps=STEPS, every=STEPS).last
    kept = network.head.get_parameter("q_params").detach()[:, : KEPT.n_weights].clone()
    return Extractor(weights=kept, pretrained=pretrained, accuracies=accuracies)


def samples(seeds: Sequence[int], noise: float) -> tuple[Samples, Samples]:
    """Training and test states of every seed: (seeds, 7000, 16) each, drawn from seed and noise alone."""
    rngs = [np.random.default_rng([seed, round(1000 * noise)]) for seed in seeds]
    draws = [[noisy_states(N_EACH, noise, rng) for rng in rngs] for _ in ("train", "test")]
    both = [
        Samples(
            features=torch.from_numpy(np.stack([states for states, _ in of_split])),
            labels=torch.from_numpy(np.stack([labels for _, labels in of_split])),
        )
        for of_split in draws
    ]
    return both[0], both[1]


def measured(unitary: torch.Tensor, states: torch.Tensor) -> np.ndarray:
    """The features of states (N, 16): square roots of the probabilities of the 16 basis states, float32."""
    return (states @ unitary.mT).abs().numpy()


def write_cache(path: Path, seed: int, of: Extractor, index: int, train: Samples, test: Samples) -> FeatureFile:
    """Cache the measured features of one seed's strongly noisy states.

    Args:
        path: The file to make.
        seed: The seed, for the record.
        of: The extractors.
        index: Which of them, and which of the samples' networks.
        train: Training states.
        test: Test states; they become the split ``val``.
    """
    splits, states = {}, {}
    for name, part in (("train", train), ("val", test)):
        states[name] = part.features[index]
        labels = part.labels[index].numpy()
        paths = tuple(f"{name}/{CLASSES[label]}/{row // len(CLASSES):04}" for row, label in enumerate(labels))
        splits[name] = Split(features=measured(of.unitaries[index], states[name]), labels=labels, paths=paths)
    transform = {"measurement": "square roots of the probabilities of the basis states", "layers kept": KEPT.depth}
    provenance = Provenance(
        classes=CLASSES,
        backbone=f"quantum circuit of {N_QUBITS} qubits, the first {KEPT.depth} of {WHOLE.depth} layers",
        weights=f"{'pretrained' if of.pretrained else 'untrained'}, seed {seed}",
        weights_sha256=tensors_sha256({"q_params": of.weights[index]}),
        transform=canonical_json(transform),
        data=f"tetromino states, noise {STRONG_NOISE}, seed {seed}",
        images_sha256=tensors_sha256(states),
        data_location="generated by python -m pipeline.experiments.paper",
        weights_location="trained by python -m pipeline.experiments.paper",
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note="no images and no ResNet18: states of four qubits, measured after a frozen circuit",
    )
    return write_features(path, provenance, splits)
